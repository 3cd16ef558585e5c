"""Online calibration: errors it corrects, costs it must not have, and properties for any forecasts and truths."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.conformal import FIRST_STEPS, MOST_LOG_WIDTH, Bands, OnlineCalibration
from models.evaluation.losses import crps_from_quantiles
from models.forecast import Forecast, ModelInfo
from tests.models.known_outcomes import LEVELS, SCORES
from tests.properties import examples

FloatArray = npt.NDArray[np.float64]
HORIZONS = (1, 6)


def calibration() -> OnlineCalibration:
    return OnlineCalibration(horizons=HORIZONS, levels=LEVELS)


@st.composite
def episodes(draw: st.DrawFn) -> list[tuple[FloatArray, FloatArray]]:
    """Raw quantiles (H, Q), ascending, some equal, and truths (H,), some unknown."""
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


def after(learned: list[tuple[FloatArray, FloatArray]]) -> OnlineCalibration:
    made = calibration()
    for quantiles, truth in learned:
        made.learn(quantiles, truth)
    return made


def walked(scale: float, *, hours: int = 3000, series: int = 10, heavy: bool = False) -> tuple[FloatArray, ...]:
    """Raw and calibrated quantiles (T, S, 1, Q) of forecasts ``scale`` times the true width, and truths."""
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
def test_a_model_of_the_wrong_width_reaches_nominal_coverage(scale: float) -> None:
    """From half to twice the true width, in a market whose width drifts: every band ends near nominal coverage."""
    raw, calibrated, truth = walked(scale)
    for level in (0.025, 0.05, 0.1, 0.25):
        nominal = 1 - 2 * level
        before = coverage(raw[-1000:], truth[-1000:], level)
        now = coverage(calibrated[-1000:], truth[-1000:], level)
        assert abs(now - nominal) < min(0.012, 0.5 * abs(before - nominal))
    assert cost(raw, calibrated, truth) < {0.5: 0.93, 0.7: 0.98, 1.4: 0.97, 2.0: 0.87}[scale]


def test_a_tail_heavier_than_forecast_is_widened_while_the_middle_narrows() -> None:
    """Student t of 4 forecast as a normal of the same variance: the middle is too wide, the outermost band is not."""
    raw, calibrated, truth = walked(1.0, heavy=True)
    assert coverage(raw, truth, 0.25) > 0.55
    for level in (0.025, 0.05, 0.1, 0.25):
        assert abs(coverage(calibrated[-1000:], truth[-1000:], level) - (1 - 2 * level)) < 0.012
    assert cost(raw, calibrated, truth) < 0.995


def test_calibrating_a_calibrated_model_costs_almost_nothing() -> None:
    """CRPS stays within a tenth of a percent, also over the first month, and coverage stays as good."""
    raw, calibrated, truth = walked(1.0)
    assert cost(raw, calibrated, truth) < 1.001
    assert cost(raw[:720], calibrated[:720], truth[:720]) < 1.0015
    for level in (0.025, 0.1, 0.25):
        assert abs(coverage(calibrated, truth, level) - (1 - 2 * level)) < 0.005


def test_a_change_of_the_model_is_followed() -> None:
    """The forecast width halves after 2,000 hours, when steps are small; 1,500 hours correct nine tenths of it."""
    random = np.random.default_rng(3)
    made = OnlineCalibration(horizons=(1,), levels=LEVELS, shape=(20,))
    held = []
    for hour in range(3500):
        raw = np.broadcast_to((1.0 if hour < 2000 else 0.5) * SCORES, (20, 1, 9))
        truth = random.standard_normal((20, 1))
        learned = made.calibrated(raw)
        held.append((learned[..., 2] <= truth) & (truth <= learned[..., 6]))
        made.learn(raw, truth)
    assert 0.48 < np.mean(held[2000:2020]) < 0.65
    assert np.mean(held[-500:]) == pytest.approx(0.8, abs=0.035)


@examples(150)
@given(episodes(), st.integers(0, 2**32 - 1))
def test_quantiles_stay_ordered_and_the_median_unchanged_for_any_truths(
    learned: list[tuple[FloatArray, FloatArray]], seed: int
) -> None:
    """Quantiles are finite, never cross, and are widened or narrowed at most fourfold."""
    made = after(learned)
    raw = np.sort(np.random.default_rng(seed).standard_t(2, (len(HORIZONS), len(LEVELS))))
    calibrated = made.calibrated(raw)
    assert np.isfinite(calibrated).all()
    assert (np.diff(calibrated) >= 0).all()
    np.testing.assert_array_equal(calibrated[:, 4], raw[:, 4])
    assert (np.abs(made.log_widths) <= MOST_LOG_WIDTH).all()
    width, now = raw[:, -1] - raw[:, 0], calibrated[:, -1] - calibrated[:, 0]
    assert ((now <= 4.0001 * width) & (now >= width / 4.0001)).all()


@examples(60)
@given(episodes(), st.data())
def test_a_restart_anywhere_changes_nothing(learned: list[tuple[FloatArray, FloatArray]], data: st.DataObject) -> None:
    """The state is bit for bit the same after a JSON round trip, and after further truths."""
    stop = data.draw(st.integers(0, len(learned)))
    text = json.dumps(after(learned[:stop]).to_json())
    resumed = OnlineCalibration.from_json(json.loads(text), horizons=HORIZONS, levels=LEVELS)
    assert json.dumps(resumed.to_json()) == text
    for quantiles, truth in learned[stop:]:
        resumed.learn(quantiles, truth)
    assert resumed.to_json() == after(learned).to_json()


@examples(60)
@given(episodes())
def test_horizons_and_forecasters_are_calibrated_independently(learned: list[tuple[FloatArray, FloatArray]]) -> None:
    """Each horizon alone, or one of two forecasters in one array, gives the same numbers."""
    apart = calibration()
    for row in reversed(range(len(HORIZONS))):
        for quantiles, truth in learned:
            apart.learn(quantiles, np.where(np.arange(len(HORIZONS)) == row, truth, np.nan))
    together = OnlineCalibration(horizons=HORIZONS, levels=LEVELS, shape=(2,))
    for quantiles, truth in learned:
        together.learn(np.stack([2.0 * quantiles, quantiles]), np.stack([truth, truth]))
    np.testing.assert_array_equal(apart.log_widths, after(learned).log_widths)
    np.testing.assert_array_equal(together.log_widths[1], after(learned).log_widths)


@examples(60)
@given(episodes(), st.sampled_from((2.0**-10, 2.0**7)))
def test_the_unit_does_not_matter(learned: list[tuple[FloatArray, FloatArray]], factor: float) -> None:
    """Forecasts and truths times a constant give the same widths, whose unit is the width of the forecast."""
    scaled = after([(factor * quantiles, factor * truth) for quantiles, truth in learned])
    np.testing.assert_array_equal(scaled.log_widths, after(learned).log_widths)


def test_before_the_first_truth_not_a_bit_is_changed() -> None:
    """Calibrated quantiles equal the raw ones."""
    raw = np.sort(np.random.default_rng(0).standard_normal((2, 9)))
    np.testing.assert_array_equal(calibration().calibrated(raw), raw)
    made = forecast(raw)
    assert calibration().calibrated_forecast(made) is made


def test_no_single_truth_moves_a_band_by_more_than_one_step() -> None:
    """A crash has the effect of one miss."""
    made = calibration()
    made.learn(np.tile(0.01 * SCORES, (2, 1)), np.array([-0.9, 1e6]))
    assert (made.log_widths > 0).all()
    assert made.log_widths.max() < 1 / FIRST_STEPS / 0.1
    np.testing.assert_array_equal(made.count, [1, 1])


def test_a_band_without_width_learns_nothing() -> None:
    """In a flat market forecast as flat, the bands would otherwise move to their bounds."""
    made = calibration()
    for _ in range(50):
        made.learn(np.zeros((2, 9)), np.array([0.01, 0.02]))
    assert not made.log_widths.any()


def test_missing_forecasts_and_unknown_truths_are_not_learned() -> None:
    """NaN in either leaves widths and count unchanged."""
    made = calibration()
    made.learn(np.full((2, 9), np.nan), np.array([0.01, 0.02]))
    made.learn(np.tile(SCORES, (2, 1)), np.full(2, np.nan))
    assert not made.log_widths.any()
    assert not made.count.any()


def test_levels_without_a_mirror_are_bands_of_their_own() -> None:
    """0.3 alone: 30% of truths are expected below it; ``widths`` does not list it."""
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
    """Other levels are an error at construction."""
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
    """The median is above zero, so wider intervals lower the probability of a rise; the volatility is unchanged."""
    made = calibration()
    raw = np.tile(0.002 + 0.01 * SCORES, (2, 1))
    for _ in range(40):
        made.learn(raw, np.full(2, 0.5))
    learned = made.calibrated_forecast(forecast(raw))
    np.testing.assert_array_equal(learned.quantiles, made.calibrated(raw))
    assert (learned.quantiles[:, -1] > raw[:, -1]).all()
    assert ((learned.prob_up > 0.5) & (learned.prob_up < 0.58)).all()
    same = replace(learned, quantiles=raw, prob_up=np.full(2, 0.5))
    for name in ("venue", "symbol", "close_time_us", "horizons", "levels", "model"):
        assert getattr(same, name) == getattr(forecast(raw), name)
    np.testing.assert_array_equal(learned.volatility, [0.01, 0.01])


def test_quantiles_that_would_overflow_are_left_unchanged() -> None:
    """If a calibrated quantile is not finite, the raw forecast is returned."""
    made = calibration()
    for _ in range(40):
        made.learn(np.tile(SCORES, (2, 1)), np.full(2, 9.0))
    huge = forecast(np.tile(5e307 * SCORES, (2, 1)))
    assert made.calibrated_forecast(huge) is huge
    made.learn(huge.quantiles, np.full(2, 0.1))
    assert np.isfinite(made.log_widths).all()


def test_a_forecast_of_other_horizons_is_rejected() -> None:
    """Otherwise a row would be calibrated with the widths of another horizon."""
    with pytest.raises(ValueError, match="horizons"):
        calibration().calibrated_forecast(forecast(np.tile(SCORES, (2, 1)), (1, 24)))


def test_a_changed_configuration_keeps_the_state_that_still_applies() -> None:
    """An unchanged horizon keeps its state, a new one starts at zero; with other levels all start at zero."""
    made = calibration()
    made.learn(np.tile(SCORES, (2, 1)), np.array([5.0, 5.0]))
    state = made.to_json()
    other = OnlineCalibration.from_json(state, horizons=(6, 24), levels=LEVELS)
    np.testing.assert_array_equal(other.log_widths[0], made.log_widths[1])
    assert not other.log_widths[1].any()
    np.testing.assert_array_equal(other.count, [1, 0])
    assert not OnlineCalibration.from_json(state, horizons=HORIZONS, levels=LEVELS[1:]).log_widths.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 5.0])
def test_a_damaged_state_is_rejected(bad: float) -> None:
    """Widths out of range are an error."""
    state = calibration().to_json()
    state["horizons"]["1"]["log_widths"][0] = bad
    with pytest.raises(ValueError, match="out of range"):
        OnlineCalibration.from_json(state, horizons=HORIZONS, levels=LEVELS)
