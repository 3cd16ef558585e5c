"""Tests of the forecast engine: which forecaster is issued, the reason, and the baselines beside it."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from features.market import Bar
from models.artifacts.artifact import ArtifactDamaged
from models.specification import BASELINE_KINDS
from tests.daemon.forecasting.engine_builders import (
    INSTRUMENTS,
    NOW_US,
    FailingChampion,
    bars_closing_at,
    history,
    make_engine,
)
from tests.models.synthetic import HOUR_US
from tests.paths import ROOT

NEXT_US = NOW_US + HOUR_US


def test_without_a_champion_har_is_issued() -> None:
    """Before the first training HAR's forecast is issued as a baseline, with the reason."""
    engine = make_engine()
    engine.load_history(history())
    assert engine.model is None
    made = engine.close_bars(NEXT_US, bars_closing_at(NEXT_US))
    assert [(each.issued.symbol, each.source, each.issued.model.kind) for each in made.forecasts] == [
        (instrument.symbol, "baseline", "har") for instrument in INSTRUMENTS
    ]
    assert made.forecasts[0].reason == "no model is trained yet"
    assert made.failure is None


def test_a_champion_forecasts_from_the_next_round_on(tiny_artifact: Path) -> None:
    """A served champion's forecasts have the source "model", attention, and both baselines beside them."""
    engine = make_engine()
    engine.load_history(history())
    engine.serve(engine.load_champion(tiny_artifact))
    made = engine.close_bars(NEXT_US, bars_closing_at(NEXT_US))
    for each in made.forecasts:
        assert (each.source, each.reason, each.window_bars_missing) == ("model", None, 0)
        assert each.issued.attention is not None
        assert each.issued.close_time_us == NEXT_US
        assert [baseline.model.kind for baseline in each.baselines] == ["har", "random_walk"]
    assert engine.model == made.forecasts[0].issued.model
    assert made.features_ms > 0
    assert made.inference_ms > 0


@pytest.mark.parametrize("kind", BASELINE_KINDS)
def test_a_configured_baseline_is_the_model(kind: str) -> None:
    """A configured baseline is issued as the model, with HAR and the random walk beside it."""
    engine = make_engine(kind)
    engine.load_history(history())
    [made, _] = engine.close_bars(NEXT_US, bars_closing_at(NEXT_US)).forecasts
    assert (made.source, made.issued.model.kind, made.reason) == ("model", kind, None)
    assert {baseline.model.kind for baseline in made.baselines} == {"har", "random_walk", kind}


def test_a_short_history_leaves_the_random_walk_and_a_shorter_one_no_forecast() -> None:
    """With 100 bars the random walk is issued; with 10 no forecast is, and each instrument is named with the reason."""
    engine = make_engine()
    engine.load_history(history(100))
    first_us = NOW_US - (1300 - 101) * HOUR_US
    made = engine.close_bars(first_us, bars_closing_at(first_us))
    assert {each.issued.model.kind for each in made.forecasts} == {"random_walk"}
    engine.load_history(history(10))
    early_us = NOW_US - (1300 - 11) * HOUR_US
    made = engine.close_bars(early_us, bars_closing_at(early_us))
    assert made.forecasts == ()
    assert [instrument for instrument, _ in made.unforecast] == list(INSTRUMENTS)
    assert "needs 24" in made.unforecast[0][1]


def test_an_engine_without_any_history_takes_bars() -> None:
    """A new venue or interval starts without history and without forecasts."""
    made = make_engine().close_bars(NEXT_US, bars_closing_at(NEXT_US))
    assert made.forecasts == ()
    assert len(made.unforecast) == 2


def test_missing_hours_are_counted_and_forecasting_continues(tiny_artifact: Path) -> None:
    """After an outage of two hours the model still forecasts, and two bars of its window count as missing."""
    engine = make_engine()
    engine.load_history(history())
    engine.serve(engine.load_champion(tiny_artifact))
    later_us = NOW_US + 3 * HOUR_US
    made = engine.close_bars(later_us, bars_closing_at(later_us))
    assert [each.window_bars_missing for each in made.forecasts] == [2, 2]


def test_baselines_replace_a_network_that_raises(tiny_artifact: Path) -> None:
    """Whatever the network raises, each instrument gets HAR's forecast and the round holds the reason."""
    engine = make_engine()
    engine.load_history(history())
    engine.serve(FailingChampion(engine.load_champion(tiny_artifact), RuntimeError("out of memory")))
    made = engine.close_bars(NEXT_US, bars_closing_at(NEXT_US))
    assert {(each.source, each.issued.model.kind) for each in made.forecasts} == {("baseline", "har")}
    assert made.failure == made.forecasts[0].reason == "RuntimeError: out of memory"


def test_a_rejected_input_does_not_affect_other_instruments(tiny_artifact: Path) -> None:
    """The champion rejects the input of the instrument with an empty bar, and only that one."""
    engine = make_engine()
    engine.load_history(history())
    engine.serve(engine.load_champion(tiny_artifact))
    first, second = bars_closing_at(NEXT_US)
    empty = replace_prices(second)
    made = engine.close_bars(NEXT_US, [first, empty])
    assert [each.source for each in made.forecasts] == ["model", "baseline"]
    assert made.forecasts[1].reason == "the newest bar lacks a feature"


def test_streaming_equals_loading(tiny_artifact: Path) -> None:
    """Ten hours streamed bar by bar give the same forecast as the same history loaded at once."""
    streamed, loaded = make_engine(), make_engine()
    streamed.load_history(history())
    loaded.load_history(history(1309))
    for engine in (streamed, loaded):
        engine.serve(engine.load_champion(tiny_artifact))
    for hour in range(1, 10):
        streamed.close_bars(NOW_US + hour * HOUR_US, bars_closing_at(NOW_US + hour * HOUR_US))
    last_us = NOW_US + 10 * HOUR_US
    pairs = zip(
        *(engine.close_bars(last_us, bars_closing_at(last_us)).forecasts for engine in (streamed, loaded)), strict=True
    )
    for first, second in pairs:
        np.testing.assert_allclose(first.issued.quantiles, second.issued.quantiles, rtol=1e-5, atol=1e-9)


def test_a_revision_changes_the_next_forecast(tiny_artifact: Path) -> None:
    """The next forecast uses the revised bar."""
    plain, revised = make_engine(), make_engine()
    for engine in (plain, revised):
        engine.load_history(history())
        engine.close_bars(NEXT_US, bars_closing_at(NEXT_US))
    bar = bars_closing_at(NEXT_US)[0]
    wilder = {"high": bar.high * 1.1, "low": bar.low * 0.9, "revision": 1}
    revised.revise(type(bar)(**{name: getattr(bar, name) for name in bar.__struct_fields__} | wilder))
    after_us = NEXT_US + HOUR_US
    calm, wild = (e.close_bars(after_us, bars_closing_at(after_us)).forecasts[0].issued for e in (plain, revised))
    assert wild.volatility[0] > calm.volatility[0]


def test_a_champion_for_another_configuration_is_refused(tiny_artifact: Path) -> None:
    """Other horizons than configured are named, and nothing is served."""
    engine = make_engine()
    engine.horizons = (1, 2)
    with pytest.raises(ValueError, match=r"horizons \(1, 3\) \(configured \(1, 2\)\)"):
        engine.load_champion(tiny_artifact)


def test_a_damaged_champion_is_refused(tmp_path: Path) -> None:
    """A folder that is no artifact raises ArtifactDamaged."""
    with pytest.raises(ArtifactDamaged):
        make_engine().load_champion(tmp_path)


def test_an_unknown_kind_is_refused() -> None:
    """A kind that does not exist is named with those that do."""
    with pytest.raises(ValueError, match="crystal_ball"):
        make_engine("crystal_ball")


def test_a_baseline_daemon_never_imports_torch() -> None:
    """A whole round with each baseline as the configured one leaves torch out of the process."""
    code = (
        "import sys\n"
        "from tests.daemon.forecasting.engine_builders import *\n"
        "import daemon.forecasting.inference\n"
        f"for kind in {BASELINE_KINDS!r}:\n"
        "    engine = make_engine(kind); engine.load_history(history())\n"
        "    engine.close_bars(NOW_US + HOUR_US, bars_closing_at(NOW_US + HOUR_US))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


def replace_prices(bar: Bar) -> Bar:
    """The bar as if nothing had traded."""
    return msgspec.structs.replace(
        bar, open=None, high=None, low=None, close=None, volume=0.0, quote_volume=0.0, trades=0
    )


def test_a_baseline_computes_no_features() -> None:
    """Features are a network's input: without one they cost most of a round of hundreds of instruments."""
    engine = make_engine("har")
    engine.load_history(history())
    assert engine._buffer.rows.is_empty()
    network = make_engine()
    network.load_history(history())
    assert not network._buffer.rows.is_empty()


def test_numpy_has_one_thread() -> None:
    """Idle threads of its linear algebra spin, which slows down a fit tenfold on two busy cores."""
    code = "import daemon, os, numpy; print(os.environ['OPENBLAS_NUM_THREADS'])"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    assert done.stdout.strip() == "1"
