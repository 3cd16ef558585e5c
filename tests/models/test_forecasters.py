"""Properties of every forecaster, baseline or network: one suite over all kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.frames import PRICES
from models.baselines import BoostedTrees, Ewma, Garch, Har, RandomWalk, Reversal
from models.evaluation.candidates import RIVALS, Candidate, Settings, fit
from models.evaluation.inputs import PastInputs
from models.evaluation.walkforward import try_forecasts
from models.forecast import Forecast
from models.networks.network_forecaster import NetworkForecaster
from tests.models.synthetic import HOUR_US, START_US, garch_bars
from tests.models.tiny_artifacts import HORIZONS, LEVELS

BARS = garch_bars(2800)
CUT_US = START_US + 2600 * HOUR_US  # what the fits know
SETTINGS = Settings(interval_us=HOUR_US, horizons=HORIZONS, levels=LEVELS)
STATES: dict[str, Any] = {
    "random_walk": RandomWalk, "reversal": Reversal, "har": Har, "ewma": Ewma, "garch": Garch, "lightgbm": BoostedTrees,
}  # fmt: skip
KINDS = (*RIVALS, "attention_lstm")
ASKED_US = tuple(CUT_US + hour * HOUR_US for hour in (1, 2, 50, 150))


def known(bars: pl.DataFrame = BARS) -> pl.DataFrame:
    return bars.filter(pl.col("open_time_us") < CUT_US)


@pytest.fixture(scope="module")
def candidates(tiny_artifact: Path) -> dict[str, Candidate]:
    fitted = {kind: fit(kind, known(), SETTINGS) for kind in RIVALS}
    network = NetworkForecaster.load(tiny_artifact)
    return {**fitted, "attention_lstm": Candidate(network, network.manifest.feature_names, network.rejection_reason)}


def forecasts(candidate: Candidate, bars: pl.DataFrame = BARS, times: tuple[int, ...] = ASKED_US) -> list[Forecast]:
    """Forecasts of both series at each time."""
    past = PastInputs(bars, interval_us=HOUR_US, window=48)
    closes = [(series, time_us) for series in past.histories for time_us in times]
    answers = try_forecasts(candidate, past.inputs(closes, candidate.feature_names))
    assert None not in answers
    return [answer for answer in answers if answer is not None]


def assert_same(left: list[Forecast], right: list[Forecast], *, rtol: float = 0.0) -> None:
    assert [(each.symbol, each.close_time_us) for each in left] == [(each.symbol, each.close_time_us) for each in right]
    for one, other in zip(left, right, strict=True):
        for name in ("quantiles", "volatility", "prob_up"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, atol=rtol * 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_is_valid(candidates: dict[str, Candidate], kind: str) -> None:
    """Requested shapes, finite, ordered, a spread above zero, a probability between the outer levels."""
    for forecast in forecasts(candidates[kind]):
        assert forecast.model.kind == kind
        assert (forecast.horizons, forecast.levels) == (HORIZONS, LEVELS)
        assert forecast.quantiles.shape == (len(HORIZONS), len(LEVELS))
        assert np.isfinite(forecast.quantiles).all()
        assert (np.diff(forecast.quantiles, axis=1) > 0).all()
        assert (forecast.volatility > 0).all()
        assert ((forecast.prob_up >= 1 - LEVELS[-1]) & (forecast.prob_up <= 1 - LEVELS[0])).all()


@pytest.mark.parametrize("kind", KINDS)
def test_two_calls_give_the_same_forecasts(candidates: dict[str, Candidate], kind: str) -> None:
    """A forecast depends on its input alone, not on chance or earlier calls."""
    assert_same(forecasts(candidates[kind]), forecasts(candidates[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_is_the_same_alone_and_in_a_batch(candidates: dict[str, Candidate], kind: str) -> None:
    """One input's forecast does not depend on the others of its call, beyond the rounding of a batch."""
    together = forecasts(candidates[kind], times=ASKED_US[:2])
    alone = [forecasts(candidates[kind], times=(time_us,)) for time_us in ASKED_US[:2]]
    one_by_one = [each for pair in zip(*alone, strict=True) for each in pair]
    assert_same(together, one_by_one, rtol=1e-4 if kind == "attention_lstm" else 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_changes_no_forecast(candidates: dict[str, Candidate], kind: str) -> None:
    """If the bars after a close are missing or altered, the forecast of that close is the same."""
    time_us = ASKED_US[1]
    later = pl.col("open_time_us") >= time_us
    spoiled = BARS.with_columns(pl.when(later).then(5.0 * pl.col(name)).otherwise(name).alias(name) for name in PRICES)
    whole = forecasts(candidates[kind], times=(time_us,))
    for bars in (BARS.filter(~later), spoiled):
        assert_same(whole, forecasts(candidates[kind], bars, (time_us,)), rtol=1e-5)


@pytest.mark.parametrize("kind", RIVALS)
def test_a_refit_on_the_same_bars_gives_the_same_forecasts(candidates: dict[str, Candidate], kind: str) -> None:
    """A fit is a function of its bars."""
    assert_same(forecasts(candidates[kind]), forecasts(fit(kind, known(), SETTINGS)))


@pytest.mark.parametrize("kind", RIVALS)
def test_its_state_survives_json(candidates: dict[str, Candidate], kind: str) -> None:
    """A forecaster read back gives bit for bit the same forecasts, under the same id."""
    candidate = candidates[kind]
    state = json.loads(json.dumps(candidate.forecaster.to_json()))  # type: ignore[attr-defined]  # every baseline has it
    again = STATES[kind].from_json(state)
    assert again.info == candidate.forecaster.info
    assert_same(forecasts(candidate), forecasts(Candidate(again, candidate.feature_names)))


@pytest.mark.parametrize("kind", [kind for kind in RIVALS if kind not in {"random_walk", "reversal"}])
def test_too_little_history_is_rejected(kind: str) -> None:
    """A fit on eight days of hours raises and says what it needs."""
    with pytest.raises(ValueError, match="need"):
        fit(kind, garch_bars(200), SETTINGS)


@pytest.mark.parametrize("kind", RIVALS)
def test_a_short_past_is_rejected(candidates: dict[str, Candidate], kind: str) -> None:
    """With ten bars of the past every forecaster raises."""
    bars = BARS.filter(pl.col("open_time_us") >= CUT_US - 9 * HOUR_US)
    past = PastInputs(bars, interval_us=HOUR_US, window=48)
    closes = [(series, CUT_US + HOUR_US) for series in past.histories]
    candidate = candidates[kind]
    with pytest.raises(ValueError, match="BTC-USDT"):
        candidate.forecaster.forecast(past.inputs(closes, candidate.feature_names))
    assert try_forecasts(candidate, past.inputs(closes, candidate.feature_names)) == [None, None]


def test_an_unknown_kind_is_named_with_those_that_are_known() -> None:
    """The error lists the known kinds."""
    with pytest.raises(ValueError, match=r"no kind .arima.; there are .*lightgbm"):
        fit("arima", known(), SETTINGS)
