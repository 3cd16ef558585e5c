"""Rounds of bars through the engine: who speaks, why, and what stands beside it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.artifacts.artifact import ArtifactDamaged
from models.specification import BASELINE_KINDS
from tests.daemon.forecasting.rounds import (
    INSTRUMENTS,
    NOW_US,
    Failing,
    bars_closing_at,
    history,
    make_engine,
)
from tests.models.synthetic import HOUR_US

NEXT_US = NOW_US + HOUR_US
ROOT = Path(__file__).parents[3]


def test_without_a_champion_har_stands_in() -> None:
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


def test_a_champion_speaks_from_the_next_round_on(tiny_artifact: Path) -> None:
    """Served, its forecasts are issued as the model's, with attention, beside both baselines."""
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
    """Who configures a baseline gets it as the model, with HAR and the random walk beside it."""
    engine = make_engine(kind)
    engine.load_history(history())
    [made, _] = engine.close_bars(NEXT_US, bars_closing_at(NEXT_US)).forecasts
    assert (made.source, made.issued.model.kind, made.reason) == ("model", kind, None)
    assert {baseline.model.kind for baseline in made.baselines} == {"har", "random_walk", kind}


def test_short_history_leaves_the_random_walk_and_none_leaves_silence() -> None:
    """With 100 bars the random walk speaks; with 10 nobody does, and each instrument is named with the reason."""
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
    """A fresh venue at a fresh interval starts from nothing and is silent until it knows something."""
    made = make_engine().close_bars(NEXT_US, bars_closing_at(NEXT_US))
    assert made.forecasts == ()
    assert len(made.unforecast) == 2


def test_a_missed_hour_is_counted_and_forecasting_goes_on(tiny_artifact: Path) -> None:
    """After an outage of two hours the model still speaks, and says that two bars of its window are missing."""
    engine = make_engine()
    engine.load_history(history())
    engine.serve(engine.load_champion(tiny_artifact))
    later_us = NOW_US + 3 * HOUR_US
    made = engine.close_bars(later_us, bars_closing_at(later_us))
    assert [each.window_bars_missing for each in made.forecasts] == [2, 2]


def test_a_network_that_raises_is_answered_for(tiny_artifact: Path) -> None:
    """Whatever the network raises, each instrument gets HAR's forecast and the round says why."""
    engine = make_engine()
    engine.load_history(history())
    engine.serve(Failing(engine.load_champion(tiny_artifact), RuntimeError("out of memory")))
    made = engine.close_bars(NEXT_US, bars_closing_at(NEXT_US))
    assert {(each.source, each.issued.model.kind) for each in made.forecasts} == {("baseline", "har")}
    assert made.failure == made.forecasts[0].reason == "RuntimeError: out of memory"


def test_one_unfit_instrument_leaves_the_others_their_model(tiny_artifact: Path) -> None:
    """An empty bar makes its own instrument unfit, and only that one."""
    engine = make_engine()
    engine.load_history(history())
    engine.serve(engine.load_champion(tiny_artifact))
    first, second = bars_closing_at(NEXT_US)
    empty = replace_prices(second)
    made = engine.close_bars(NEXT_US, [first, empty])
    assert [each.source for each in made.forecasts] == ["model", "baseline"]
    assert made.forecasts[1].reason == "the newest bar lacks a feature"


def test_streaming_equals_loading(tiny_artifact: Path) -> None:
    """Ten hours streamed bar by bar give the forecast that the same history loaded at once gives."""
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


def test_a_revision_changes_what_comes_after(tiny_artifact: Path) -> None:
    """A revised bar is what the next forecast is made from."""
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


@pytest.mark.parametrize("kind", BASELINE_KINDS)
def test_a_baseline_daemon_never_imports_torch(kind: str) -> None:
    """A whole round with a configured baseline leaves torch out of the process."""
    code = (
        "import sys\n"
        "from tests.daemon.forecasting.rounds import *\n"
        "import daemon.forecasting.inference\n"
        f"engine = make_engine({kind!r}); engine.load_history(history())\n"
        "engine.close_bars(NOW_US + HOUR_US, bars_closing_at(NOW_US + HOUR_US))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


def replace_prices(bar):  # a struct, not a dataclass
    fields = {name: getattr(bar, name) for name in bar.__struct_fields__}
    gone = dict.fromkeys(("open", "high", "low", "close"))
    return type(bar)(**fields | gone | {"volume": 0.0, "quote_volume": 0.0, "trades": 0})
