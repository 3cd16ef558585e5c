"""Online calibration: what it must mend, what it must not cost, and what must hold for any forecast and any truth."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.conformal import FIRST_STEPS, MOST_LOG_WIDTH, Bands, OnlineCalibration
from models.evaluation.losses import crps_from_quantiles
from models.forecast import Forecast, ModelInfo
from tests.models.told import LEVELS, SCORES

FloatArray = npt.NDArray[np.float64]
HORIZONS = (1, 6)


def calibration() -> OnlineCalibration:
    return OnlineCalibration(horizons=HORIZONS, levels=LEVELS)


@st.composite
def episodes(draw: st.DrawFn) -> list[tuple[FloatArray, FloatArray]]:
    """Raw quantiles (H, Q), ascending and here and there equal, and truths (H,), some not known."""
    count = draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from((1e-12, 0.01, 10.0)))
    made = []
    for _ in range(count):
        quantiles = np.sort(size * random.standard_t(2, (len(HORIZONS), len(LEVELS))))
        if random.random() < 0.2:
            quantiles[0, 3:7] = quantiles[0, 4]
        truth = size * random.standard_t(1, len(HORIZONS))
        truth[random.random(len(HORIZONS)) < 0.2] = np.nan
        made.append((quantiles, truth))
    return made


def after(told: list[tuple[FloatArray, FloatArray]]) -> OnlineCalibration:
    made = calibration()
    for quantiles, truth in told:
        made.learn(quantiles, truth)
    return made


def walked(scale: float, *, hours: int = 3000, series: int = 10, heavy: bool = False) -> tuple[FloatArray, ...]:
    """Raw and calibrated quantiles (T, S, 1, Q) of forecasters that tell ``scale`` times the true width, and truths."""
    random = np.random.default_rng(7)
    sigma = 0.01 * np.exp(np.cumsum(0.02 * random.standard_normal((hours, series, 1)), axis=0))
    noise = random.standard_t(4, sigma.shape) / np.sqrt(2) if heavy else random.standard_normal(sigma.shape)
    truth = sigma * noise
    raw = scale * sigma[..., None] * SCORES
    made = OnlineCalibration(horizons=(1,), levels=LEVELS, shape=(series,))
    calibrated: FloatArray = np.empty_like(raw)
    for hour in range(hours):
        calibrated[hour] = made.calibrated(raw[hour])
        made.learn(raw[hour], truth[hour])
    return raw, calibrated, truth


def coverage(quantiles: FloatArray, truth: FloatArray, level: float) -> float:
    lower, upper = LEVELS.index(level), LEVELS.index(round(1 - level, 9))
    return float(np.mean((quantiles[..., lower] <= truth) & (truth <= quantiles[..., upper])))


def cost(raw: FloatArray, calibrated: FloatArray, truth: FloatArray) -> float:
    """CRPS after over CRPS before."""
    before, now = (crps_from_quantiles(truth, quantiles, LEVELS) for quantiles in (raw, calibrated))
    return float(now.mean() / before.mean())


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.4, 2.0])
def test_a_model_of_the_wrong_width_comes_to_cover_what_it_promises(scale: float) -> None:
    """Half to twice as wide as the truth, in a market whose own width wanders: every band ends near its nominal."""
    raw, calibrated, truth = walked(scale)
    for level in (0.025, 0.05, 0.1, 0.25):
        nominal = 1 - 2 * level
        before = coverage(raw[-1000:], truth[-1000:], level)
        now = coverage(calibrated[-1000:], truth[-1000:], level)
        assert abs(now - nominal) < min(0.012, 0.5 * abs(before - nominal))
    assert cost(raw, calibrated, truth) < {0.5: 0.93, 0.7: 0.98, 1.4: 0.97, 2.0: 0.87}[scale]


def test_a_tail_that_is_heavier_than_told_is_widened_while_the_middle_narrows() -> None:
    """Student t of 4 told as a normal of the same variance: the middle is too wide, and the outermost band is not."""
    raw, calibrated, truth = walked(1.0, heavy=True)
    assert coverage(raw, truth, 0.25) > 0.55
    for level in (0.025, 0.05, 0.1, 0.25):
        assert abs(coverage(calibrated[-1000:], truth[-1000:], level) - (1 - 2 * level)) < 0.012
    assert cost(raw, calibrated, truth) < 0.995


def test_a_calibrated_model_pays_next_to_nothing() -> None:
    """CRPS within a tenth of a percent, over the first month as well, and coverage as good as it was."""
    raw, calibrated, truth = walked(1.0)
    assert cost(raw, calibrated, truth) < 1.001
    assert cost(raw[:720], calibrated[:720], truth[:720]) < 1.0015
    for level in (0.025, 0.1, 0.25):
        assert abs(coverage(calibrated, truth, level) - (1 - 2 * level)) < 0.005


def test_a_change_of_the_model_is_followed() -> None:
    """The width told halves after 2,000 hours, in which steps have become small: 1,500 more mend nine tenths of it."""
    random = np.random.default_rng(3)
    made = OnlineCalibration(horizons=(1,), levels=LEVELS, shape=(20,))
    held = []
    for hour in range(3500):
        raw = np.broadcast_to((1.0 if hour < 2000 else 0.5) * SCORES, (20, 1, 9))
        truth = random.standard_normal((20, 1))
        told = made.calibrated(raw)
        held.append((told[..., 2] <= truth) & (truth <= told[..., 6]))
        made.learn(raw, truth)
    assert 0.48 < np.mean(held[2000:2020]) < 0.65
    assert np.mean(held[-500:]) == pytest.approx(0.8, abs=0.035)


@settings(max_examples=150, deadline=None)
@given(episodes(), st.integers(0, 2**32 - 1))
def test_whatever_came_quantiles_stay_in_order_and_the_median_where_it_was(
    told: list[tuple[FloatArray, FloatArray]], seed: int
) -> None:
    """Finite, never crossing, nothing wider or narrower than fourfold."""
    made = after(told)
    raw = np.sort(np.random.default_rng(seed).standard_t(2, (len(HORIZONS), len(LEVELS))))
    calibrated = made.calibrated(raw)
    assert np.isfinite(calibrated).all()
    assert (np.diff(calibrated) >= 0).all()
    np.testing.assert_array_equal(calibrated[:, 4], raw[:, 4])
    assert (np.abs(made.log_widths) <= MOST_LOG_WIDTH).all()
    width, now = raw[:, -1] - raw[:, 0], calibrated[:, -1] - calibrated[:, 0]
    assert ((now <= 4.0001 * width) & (now >= width / 4.0001)).all()


@settings(max_examples=60, deadline=None)
@given(episodes(), st.data())
def test_a_restart_anywhere_changes_nothing(told: list[tuple[FloatArray, FloatArray]], data: st.DataObject) -> None:
    """Through JSON and back, to the last bit, and again after it goes on."""
    stop = data.draw(st.integers(0, len(told)))
    text = json.dumps(after(told[:stop]).to_json())
    resumed = OnlineCalibration.from_json(json.loads(text), horizons=HORIZONS, levels=LEVELS)
    assert json.dumps(resumed.to_json()) == text
    for quantiles, truth in told[stop:]:
        resumed.learn(quantiles, truth)
    assert resumed.to_json() == after(told).to_json()


@settings(max_examples=60, deadline=None)
@given(episodes())
def test_horizons_and_several_at_once_do_not_touch_one_another(told: list[tuple[FloatArray, FloatArray]]) -> None:
    """Horizon by horizon, and as one of two forecasters in one array: the same numbers."""
    apart = calibration()
    for row in reversed(range(len(HORIZONS))):
        for quantiles, truth in told:
            apart.learn(quantiles, np.where(np.arange(len(HORIZONS)) == row, truth, np.nan))
    together = OnlineCalibration(horizons=HORIZONS, levels=LEVELS, shape=(2,))
    for quantiles, truth in told:
        together.learn(np.stack([2.0 * quantiles, quantiles]), np.stack([truth, truth]))
    np.testing.assert_array_equal(apart.log_widths, after(told).log_widths)
    np.testing.assert_array_equal(together.log_widths[1], after(told).log_widths)


@settings(max_examples=60, deadline=None)
@given(episodes(), st.sampled_from((2.0**-10, 2.0**7)))
def test_the_unit_does_not_matter(told: list[tuple[FloatArray, FloatArray]], factor: float) -> None:
    """Forecasts and truths times a constant: the same widths, for they count in the forecast's own width."""
    scaled = after([(factor * quantiles, factor * truth) for quantiles, truth in told])
    np.testing.assert_array_equal(scaled.log_widths, after(told).log_widths)


def test_before_the_first_truth_not_a_bit_is_changed() -> None:
    """Nothing is known, so nothing is said."""
    raw = np.sort(np.random.default_rng(0).standard_normal((2, 9)))
    np.testing.assert_array_equal(calibration().calibrated(raw), raw)
    made = forecast(raw)
    assert calibration().calibrated_forecast(made) is made


def test_no_single_truth_moves_a_band_by_more_than_one_step() -> None:
    """A crash counts as one miss."""
    made = calibration()
    made.learn(np.tile(0.01 * SCORES, (2, 1)), np.array([-0.9, 1e6]))
    assert (made.log_widths > 0).all()
    assert made.log_widths.max() < 1 / FIRST_STEPS / 0.1
    np.testing.assert_array_equal(made.count, [1, 1])


def test_what_has_no_width_teaches_nothing() -> None:
    """A flat market told as flat: the bands would run to their bounds, and none could ever hold a move."""
    made = calibration()
    for _ in range(50):
        made.learn(np.zeros((2, 9)), np.array([0.01, 0.02]))
    assert not made.log_widths.any()


def test_a_silent_forecaster_and_an_unknown_truth_teach_nothing() -> None:
    """NaN in either."""
    made = calibration()
    made.learn(np.full((2, 9), np.nan), np.array([0.01, 0.02]))
    made.learn(np.tile(SCORES, (2, 1)), np.full(2, np.nan))
    assert not made.log_widths.any()
    assert not made.count.any()


def test_levels_without_a_mirror_are_bands_of_their_own() -> None:
    """0.3 alone: 30% belong outside, below it; its factor is no interval's."""
    bands = Bands.of((0.1, 0.3, 0.5, 0.9))
    np.testing.assert_allclose(bands.missed, [0.2, 0.3])
    made = OnlineCalibration(horizons=(1,), levels=(0.1, 0.3, 0.5, 0.9))
    random = np.random.default_rng(5)
    for _ in range(4000):
        made.learn(np.array([[-0.64, -0.26, 0.0, 0.64]]), random.standard_normal((1, 1))[0])
    calibrated = made.calibrated(np.array([[-0.64, -0.26, 0.0, 0.64]]))[0]
    np.testing.assert_allclose(calibrated, [-1.28, -0.524, 0.0, 1.28], atol=0.12)
    assert set(made.widths(1)) == {0.8}


@pytest.mark.parametrize("levels", [(0.1, 0.9), (0.5, 0.1), (0.5, 0.5)])
def test_levels_need_a_median_and_an_order(levels: tuple[float, ...]) -> None:
    """Said before anything is learned."""
    with pytest.raises(ValueError, match="ascend"):
        Bands.of(levels)


def forecast(quantiles: FloatArray, horizons: tuple[int, ...] = HORIZONS) -> Forecast:
    return Forecast(
        venue="binance",
        symbol="BTC-USDT",
        close_time_us=0,
        interval_us=3_600_000_000,
        horizons=horizons,
        levels=LEVELS,
        quantiles=quantiles,
        volatility=np.full(len(horizons), 0.01),
        prob_up=np.full(len(horizons), 0.5),
        attention=None,
        model=ModelInfo("m-1", "m", None),
    )


def test_a_forecast_keeps_all_but_its_quantiles_and_the_chance_of_a_rise() -> None:
    """The median is above zero; wider intervals make a rise less sure. Volatility has a loss of its own."""
    made = calibration()
    raw = np.tile(0.002 + 0.01 * SCORES, (2, 1))
    for _ in range(40):
        made.learn(raw, np.full(2, 0.5))
    told = made.calibrated_forecast(forecast(raw))
    np.testing.assert_array_equal(told.quantiles, made.calibrated(raw))
    assert (told.quantiles[:, -1] > raw[:, -1]).all()
    assert ((told.prob_up > 0.5) & (told.prob_up < 0.58)).all()
    same = replace(told, quantiles=raw, prob_up=np.full(2, 0.5))
    for name in ("venue", "symbol", "close_time_us", "horizons", "levels", "model"):
        assert getattr(same, name) == getattr(forecast(raw), name)
    np.testing.assert_array_equal(told.volatility, [0.01, 0.01])


def test_numbers_at_the_edge_of_what_there_is_are_left_alone() -> None:
    """Four times the largest number is none: the raw forecast is for the message's own check to refuse."""
    made = calibration()
    for _ in range(40):
        made.learn(np.tile(SCORES, (2, 1)), np.full(2, 9.0))
    huge = forecast(np.tile(5e307 * SCORES, (2, 1)))
    assert made.calibrated_forecast(huge) is huge
    made.learn(huge.quantiles, np.full(2, 0.1))
    assert np.isfinite(made.log_widths).all()


def test_another_forecasts_horizons_are_refused() -> None:
    """Rows would be calibrated with another horizon's widths."""
    with pytest.raises(ValueError, match="horizons"):
        calibration().calibrated_forecast(forecast(np.tile(SCORES, (2, 1)), (1, 24)))


def test_a_changed_configuration_keeps_what_still_fits() -> None:
    """The same horizon goes on, a new one starts anew; with other levels all do."""
    made = calibration()
    made.learn(np.tile(SCORES, (2, 1)), np.array([5.0, 5.0]))
    state = made.to_json()
    other = OnlineCalibration.from_json(state, horizons=(6, 24), levels=LEVELS)
    np.testing.assert_array_equal(other.log_widths[0], made.log_widths[1])
    assert not other.log_widths[1].any()
    np.testing.assert_array_equal(other.count, [1, 0])
    assert not OnlineCalibration.from_json(state, horizons=HORIZONS, levels=LEVELS[1:]).log_widths.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 5.0])
def test_a_damaged_state_is_refused(bad: float) -> None:
    """Never served."""
    state = calibration().to_json()
    state["horizons"]["1"]["log_widths"][0] = bad
    with pytest.raises(ValueError, match="out of range"):
        OnlineCalibration.from_json(state, horizons=HORIZONS, levels=LEVELS)
