"""Calibration in the daemon: learned from truths, applied before publishing, scored before and after."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from daemon.forecasting.calibration import Calibration, MaturedForecast
from daemon.forecasting.records import CalibrationState
from daemon.forecasting.scoreboard import Scoreboard
from features.market import HOUR_US, Bar, Completeness, Instrument
from models.evaluation.calibrated_walkforward import with_calibrated
from models.evaluation.outcomes import Answers, Outcomes
from models.forecast import Forecast
from tests.daemon.forecasting.forecast_builders import LEVELS, SHAPE, START_US, bar, forecast, issue

BTC = Instrument("binance", "BTC-USDT")
HORIZONS = (1, 2)
FloatArray = npt.NDArray[np.float64]


def calibration() -> Calibration:
    return Calibration(interval_us=HOUR_US, horizons=HORIZONS, levels=LEVELS)


def board() -> Scoreboard:
    return Scoreboard(interval_us=HOUR_US, levels=LEVELS, calibration=calibration())


def log_closes(hours: int, *, seed: int = 1) -> FloatArray:
    """A random walk with a standard deviation of 1% an hour."""
    return np.asarray(np.log(100.0) + np.cumsum(0.01 * np.random.default_rng(seed).standard_normal(hours)))


def made(kind: str, hour: int, width: float, symbol: str = "BTC-USDT") -> Forecast:
    """A forecast whose width grows with the square root of the horizon."""
    one = forecast(kind, hour, width=width, symbol=symbol)
    return replace(one, quantiles=one.quantiles * np.sqrt([[1.0], [2.0]]))


def play(
    scores: Scoreboard,
    closes: FloatArray,
    *,
    kind: str = "tft",
    width: float = 0.005,
    first: int = 0,
    symbol: str = "BTC-USDT",
) -> dict[int, FloatArray]:
    """Scores a network of this width beside HAR of 1% over these closes; returns the published quantiles by hour."""
    published = {}
    assert scores.calibration is not None
    for hour, close in enumerate(closes, start=first):
        scores.bar_closed(bar(hour, float(np.exp(close)), symbol=symbol))
        raw = made(kind, hour, width, symbol)
        issued = issue(scores.calibration.calibrated(raw), float(np.exp(close)))
        scores.register(msgspec.structs.replace(issued, raw=raw), [made("har", hour, 0.01, symbol)])
        published[hour] = issued.forecast.quantiles
    return published


def test_a_backtest_equals_the_published_forecasts() -> None:
    """The live scoreboard and the walk-forward give the same quantiles for the same forecasts and truths."""
    closes = log_closes(200)
    live = play(board(), closes)
    returns = np.full((200, 2), np.nan)
    returns[:-1, 0], returns[:-2, 1] = closes[1:] - closes[:-1], closes[2:] - closes[:-2]
    raw = np.tile(0.005 * SHAPE * np.sqrt([[1.0], [2.0]]), (200, 1, 1))
    past = with_calibrated(
        Outcomes(
            interval_us=HOUR_US,
            horizons=HORIZONS,
            levels=LEVELS,
            series=((BTC.venue, BTC.symbol),),
            index=np.zeros(200, np.int64),
            close_time_us=START_US + HOUR_US * np.arange(200),
            fold=np.zeros(200, np.int64),
            log_close=closes,
            returns=returns,
            variances=returns**2,
            answers={"tft": Answers(raw, np.full((200, 2), 0.005), None)},
        )
    )
    np.testing.assert_array_equal(past.calibrated["tft"], np.stack([live[hour] for hour in range(200)]))
    assert live[199][0, -1] > 1.2 * live[0][0, -1]


def test_skill_holds_the_figures_before_and_after_calibration() -> None:
    """At half the true width the raw intervals cover too little, the published ones about their nominal share."""
    scores = board()
    play(scores, log_closes(1500))
    skill = scores.skill(*BTC)
    assert skill.scored == 720
    for raw, published, nominal in (
        (skill.raw_coverage_80, skill.coverage_80, 0.8),
        (skill.raw_coverage_95, skill.coverage_95, 0.95),
    ):
        assert raw is not None
        assert published is not None
        assert raw < nominal - 0.2
        assert published == pytest.approx(nominal, abs=0.03)
    assert skill.crps_vs_raw is not None
    assert skill.crps_vs_raw_se is not None
    assert skill.crps_vs_raw + 3 * skill.crps_vs_raw_se < 1.0
    assert skill.crps_bp is not None
    assert skill.raw_crps_bp is not None
    assert skill.crps_bp / skill.raw_crps_bp == pytest.approx(skill.crps_vs_raw)
    widths = scores.widths(BTC, 1)
    assert set(widths) == {0.8, 0.95}
    assert 1.7 < widths[0.8] < 2.4


def test_baselines_are_scored_uncalibrated() -> None:
    """HAR's row equals that of a scoreboard without calibration and has no raw figures."""
    with_it, without = board(), Scoreboard(interval_us=HOUR_US, levels=LEVELS)
    closes = log_closes(100)
    play(with_it, closes)
    for hour, close in enumerate(closes):
        without.bar_closed(bar(hour, float(np.exp(close))))
        without.register(issue(made("tft", hour, 0.005), float(np.exp(close))), [made("har", hour, 0.01)])
    rows = [{row.horizon_bars: row for row in scores.table() if row.kind == "har"} for scores in (with_it, without)]
    assert rows[0] == rows[1]
    assert rows[0][1].raw_crps_bp is None


def test_without_calibration_there_are_no_raw_figures() -> None:
    """The raw figures are None and there are no widths."""
    scores = Scoreboard(interval_us=HOUR_US, levels=LEVELS)
    for hour in range(40):
        scores.bar_closed(bar(hour, 100.0 + hour % 3))
        scores.register(issue(forecast("tft", hour)), [forecast("har", hour)])
    skill = scores.skill(*BTC)
    assert skill.coverage_80 is not None
    assert skill.crps_bp is not None
    before = (skill.raw_coverage_80, skill.raw_coverage_95, skill.raw_crps_bp, skill.crps_vs_raw, skill.crps_vs_raw_se)
    assert before == (None,) * 5
    assert scores.widths(BTC, 1) == {}
    assert scores.take_changes().calibrations == ()


def test_har_as_the_model_is_compared_with_uncalibrated_har() -> None:
    """The ratio of the published forecast to itself would always be 1."""
    scores = board()
    play(scores, log_closes(300), kind="har", width=0.01)
    skill = scores.skill(*BTC)
    assert skill.pinball_vs_har not in (None, 1.0)


def test_a_baseline_that_replaces_the_network_is_calibrated_at_once() -> None:
    """Its state was learned from its own errors, not the network's."""
    scores = board()
    play(scores, log_closes(300), width=0.005)
    assert scores.calibration is not None
    har, network = (scores.calibration.widths(BTC, kind, 1)[0.8] for kind in ("har", "tft"))
    assert network > 1.4
    assert 0.8 < har < 1.2
    raw = made("har", 300, 0.01)
    assert not np.array_equal(scores.calibration.calibrated(raw).quantiles, raw.quantiles)
    np.testing.assert_array_equal(scores.calibration.calibrated(made("ewma", 300, 0.01)).quantiles, raw.quantiles)


def test_a_retrained_model_continues_with_the_state_of_its_kind() -> None:
    """Another id of the same kind with other widths: calibration widths are relative."""
    scores = board()
    play(scores, log_closes(300))
    assert scores.calibration is not None
    old = scores.calibration.calibrated(made("tft", 300, 0.005))
    new = scores.calibration.calibrated(made("tft", 300, 0.5))
    np.testing.assert_allclose(new.quantiles, 100 * old.quantiles, rtol=1e-12)


def test_bars_without_a_price_change_no_state() -> None:
    """A bar without a price leaves its forecasts unscored and the calibration unchanged."""
    scores = board()
    play(scores, log_closes(50))
    scores.take_changes()
    scores.bar_closed(bar(50, None, completeness=Completeness.GAP))
    assert scores.take_changes().calibrations == ()


def test_only_the_first_truth_counts() -> None:
    """A revision of a known bar changes no calibration state."""
    scores = board()
    play(scores, log_closes(50))
    scores.bar_closed(bar(50, 90.0))
    scores.take_changes()
    scores.bar_closed(bar(50, 110.0, revision=1))
    assert scores.take_changes().calibrations == ()


def test_the_order_of_symbols_does_not_matter() -> None:
    """Two instruments in either order, and each alone, give the same states."""
    closes = {"BTC-USDT": log_closes(80), "ETH-USDT": log_closes(80, seed=2)}

    def states(*symbols: str) -> tuple[CalibrationState, ...]:
        scores = board()
        for hour in range(80):
            for symbol in symbols:
                play(scores, closes[symbol][hour : hour + 1], first=hour, symbol=symbol)
        return scores.take_changes().calibrations

    both = states("BTC-USDT", "ETH-USDT")
    assert states("ETH-USDT", "BTC-USDT") == both
    assert states("BTC-USDT") + states("ETH-USDT") == both


def test_a_horizon_that_is_no_longer_configured_is_ignored() -> None:
    """Its forecasts may still be pending after a change of the configuration."""
    made_one = calibration()
    made_one.learn(BTC, [MaturedForecast("tft", 24, 0.01 * SHAPE, 0.5)])
    assert made_one.take_changes() == ()
    made_one.learn(BTC, [MaturedForecast("tft", 24, 0.01 * SHAPE, 0.5), MaturedForecast("tft", 2, 0.01 * SHAPE, 0.5)])
    assert made_one.widths(BTC, "tft", 1) == {0.8: 1.0, 0.95: 1.0}
    assert made_one.widths(BTC, "tft", 2)[0.8] > 1.0


def test_states_of_another_interval_are_ignored() -> None:
    """A state of hourly bars does not apply to bars of minutes."""
    learned = calibration()
    learned.learn(BTC, [MaturedForecast("tft", 1, 0.01 * SHAPE, 0.5)])
    [state] = learned.take_changes()
    assert learned.take_changes() == ()
    other = calibration()
    other.load([msgspec.structs.replace(state, interval_us=60_000_000)])
    assert other.widths(BTC, "tft", 1)[0.8] == 1.0
    other.load([state])
    assert other.widths(BTC, "tft", 1) == learned.widths(BTC, "tft", 1)


@pytest.mark.parametrize("text", ["nonsense", "{}", '{"levels": [0.025, 0.1, 0.5, 0.9, 0.975], "horizons": {"1": {}}}'])
def test_an_invalid_state_is_refused(text: str) -> None:
    """A damaged state raises an error."""
    state = CalibrationState(venue="binance", symbol="BTC-USDT", interval_us=HOUR_US, kind="tft", state=text)
    with pytest.raises((msgspec.DecodeError, KeyError)):
        calibration().load([state])


def test_empty_bars_count_as_an_unchanged_price() -> None:
    """A bar proven to hold no trade has the last known close as its truth, as for the scores."""
    scores = board()
    play(scores, log_closes(10))
    scores.take_changes()
    quiet: Bar = bar(10, None, completeness=Completeness.EMPTY)
    scores.bar_closed(quiet)
    assert {each.kind for each in scores.take_changes().calibrations} == {"tft", "har"}
