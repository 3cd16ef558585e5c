"""The measures against values known by hand or by construction."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from models.evaluation.measures import Measures, central_intervals, horizon_measures, pit_densities
from models.evaluation.outcomes import Answers
from tests.models.known_outcomes import LEVELS, normal, outcomes, with_baselines

COUNT = 4000
RANDOM = np.random.default_rng(1)
SIGMA = 0.01 * np.exp(0.5 * RANDOM.standard_normal(COUNT))
RETURNS = SIGMA * RANDOM.standard_normal(COUNT)
VARIANCES = SIGMA**2 * np.exp(0.3 * RANDOM.standard_normal(COUNT) - 0.045)


def measured(name: str = "model", **answers: Answers) -> Measures:
    scored = outcomes(RETURNS, with_baselines(RETURNS, 0.0113, **answers), variances=VARIANCES)
    [board] = horizon_measures(scored)
    return board.by_kind[name]


@pytest.fixture(scope="module")
def truth() -> Measures:
    """Measures of forecasts of the true distribution."""
    return measured(model=normal(SIGMA, RETURNS))


def test_forecasts_of_the_true_distribution_are_calibrated(truth: Measures) -> None:
    """Coverage is nominal within its error, and every gap between quantiles holds its share."""
    assert set(truth.coverage) == {50, 80, 90, 95}
    for percent, share in truth.coverage.items():
        assert abs(share.value - percent / 100) < 3 * share.standard_error
        expected = math.sqrt(percent / 100 * (1 - percent / 100) / COUNT)
        assert share.standard_error == pytest.approx(expected, rel=0.35)
    assert len(truth.pit) == len(LEVELS) + 1
    assert all(abs(density - 1) < 0.35 for density in truth.pit)


def test_pinball_and_crps_are_those_of_a_normal_distribution() -> None:
    """For N(0, s^2) forecast exactly the CRPS is s / sqrt(pi), up to the trapezoids of nine levels."""
    returns = 0.01 * np.random.default_rng(2).standard_normal(20_000)
    [board] = horizon_measures(outcomes(returns, with_baselines(returns, 0.01, model=normal(0.01, returns))))
    measures = board.by_kind["model"]
    assert measures.crps_bp.value == pytest.approx(100 / math.sqrt(math.pi), rel=0.04)
    # The expected pinball loss of the quantile z at level a is s phi(z), the normal density.
    densities = [math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) for z in normal(1.0, np.zeros(1)).quantiles[0, 0]]
    assert measures.pinball_bp.value == pytest.approx(100 * float(np.mean(densities)), rel=0.02)


def test_skill_is_the_ratio_of_losses(truth: Measures) -> None:
    """Knowing each hour's width beats a constant one, by a known share and beyond its error."""
    ratio = truth.pinball_vs["har"]
    sharp, flat = truth.pinball_bp.value, measured("har", model=normal(SIGMA, RETURNS)).pinball_bp.value
    assert ratio.value == pytest.approx(sharp / flat)
    assert ratio.value + 5 * ratio.standard_error < 1.0


def test_the_same_forecaster_twice_has_the_ratio_one_without_error() -> None:
    """HAR compared with a copy of itself."""
    measures = measured(model=normal(0.0113, RETURNS))
    assert measures.pinball_vs["har"] == pytest.approx((1.0, 0.0), abs=1e-12)


def test_r2_of_log_variance_is_what_the_noise_leaves(truth: Measures) -> None:
    """log v = log s^2 + 0.3 noise: the true s leaves 0.09 of 1.09, and a constant factor has no effect."""
    assert truth.r2_log_variance is not None
    assert truth.r2_log_variance.value == pytest.approx(1 - 0.09 / 1.09, abs=0.01)
    louder = measured(model=normal(3 * SIGMA, RETURNS))
    assert louder.r2_log_variance == pytest.approx(truth.r2_log_variance)
    flat = measured("random_walk")
    assert flat.r2_log_variance == pytest.approx((0.0, 0.0), abs=1e-9)


def test_qlike_by_hand() -> None:
    """v/f - log(v/f) - 1 with v/f of 1 and 4 in turn: 0 and 3 - log 4, whose mean is 0.807."""
    returns = np.random.default_rng(3).standard_normal(1000)
    variances = np.tile([1.0, 4.0], 500)
    scored = outcomes(returns, with_baselines(returns, 1.0), variances=variances)
    [board] = horizon_measures(scored)
    measures = board.by_kind["har"]
    assert measures.qlike is not None
    assert measures.qlike.value == pytest.approx((3 - math.log(4)) / 2)


def test_unknown_variances_are_left_out() -> None:
    """A bar without range is left out of the mean; if no bar has one, the measure is None."""
    returns = np.random.default_rng(3).standard_normal(1000)
    variances = np.tile([1.0, np.nan], 500)
    [board] = horizon_measures(outcomes(returns, with_baselines(returns, 1.0), variances=variances))
    assert board.by_kind["har"].qlike == pytest.approx((0.0, 0.0))
    [board] = horizon_measures(outcomes(returns, with_baselines(returns, 1.0), variances=np.full(1000, np.nan)))
    assert board.by_kind["har"].qlike is None
    assert board.by_kind["har"].r2_log_variance is None


def test_a_median_of_zero_has_the_random_walks_rmse_and_no_direction() -> None:
    """Its ratio is exactly one; its direction is None."""
    measures = measured("har")
    assert measures.rmse_vs_random_walk == (1.0, 0.0)
    assert measures.direction is None
    assert measures.direction_over_reversal is None


def test_rmse_ratio_and_direction_of_a_partly_informed_median() -> None:
    """A median of a tenth of the return leaves 0.9 of the error and always has the sign."""
    measures = measured(model=normal(SIGMA, RETURNS, centre=0.1 * RETURNS))
    assert measures.rmse_vs_random_walk.value == pytest.approx(0.9)
    assert measures.direction is not None
    assert measures.direction.value == 1.0
    rule = measured("reversal")
    assert rule.direction is not None
    assert measures.direction_over_reversal is not None
    assert measures.direction_over_reversal.value == pytest.approx(1.0 - rule.direction.value, abs=1e-3)


def test_the_reversal_rule_is_right_where_returns_reverse() -> None:
    """On an AR(1) of -0.3 it has 1/2 + asin(0.3) / pi = 59.7% right signs (the orthant probability of two normals)."""
    random = np.random.default_rng(4)
    returns = np.empty(20_000)
    returns[0] = 0.0
    for index in range(1, len(returns)):
        returns[index] = -0.3 * returns[index - 1] + random.standard_normal()
    [board] = horizon_measures(outcomes(returns, with_baselines(returns, 1.0)))
    direction = board.by_kind["reversal"].direction
    assert direction is not None
    assert abs(direction.value - (0.5 + math.asin(0.3) / math.pi)) < 3 * direction.standard_error


def test_pit_by_hand() -> None:
    """Quantiles at -1, 0, 1 of levels 0.25, 0.5, 0.75: truths below, between and above, over a quarter each."""
    quantiles = np.tile([-1.0, 0.0, 1.0], (4, 1))
    truth = np.array([-2.0, -0.5, -0.7, 3.0])
    assert pit_densities(truth, quantiles, (0.25, 0.5, 0.75)) == (1.0, 2.0, 0.0, 1.0)


def test_central_intervals_are_pairs_around_the_median() -> None:
    """Levels without a mirror give none."""
    assert central_intervals((0.05, 0.1, 0.25, 0.5, 0.75, 0.95)) == [(50, 2, 4), (90, 0, 5)]


def test_all_are_scored_on_common_targets() -> None:
    """A target that one kind did not forecast is scored for none, and ``silent`` counts it."""
    quiet = normal(SIGMA, RETURNS)
    quiet.quantiles[:100], quiet.volatility[:100] = np.nan, np.nan
    scored = outcomes(RETURNS, with_baselines(RETURNS, 0.0113, model=quiet), variances=VARIANCES)
    scored.returns[-1] = np.nan
    [board] = horizon_measures(scored)
    assert board.scored == COUNT - 101
    assert board.silent == {"model": 100, "random_walk": 0, "reversal": 0, "har": 0}


def test_too_few_targets_have_no_measures() -> None:
    """Below 24 targets the record holds their number and no measures."""
    scored = outcomes(RETURNS[:23], with_baselines(RETURNS[:23], 0.01))
    [board] = horizon_measures(scored)
    assert (board.scored, board.by_kind) == (23, {})


def test_a_panel_counts_an_instant_once() -> None:
    """Three copies of one series have its figures and its errors, not errors divided by the root of three."""
    three = np.tile(RETURNS, 3)
    last = np.tile(np.concatenate([[0.0], RETURNS[:-1]]), 3)
    answers = {
        "model": normal(np.tile(SIGMA, 3), three),
        "random_walk": normal(0.0113, three),
        "reversal": normal(0.0113, three, centre=-1e-7 * np.sign(last)),
        "har": normal(0.0113, three),
    }
    boards = horizon_measures(outcomes(three, answers, series=3))
    assert [board.series for board in boards] == ["binance:BTC-USDT", "binance:ETH-USDT", "binance:SOL-USDT", "all"]
    one, everything = boards[0].by_kind["model"], boards[3].by_kind["model"]
    assert everything.pinball_vs["har"] == pytest.approx(one.pinball_vs["har"])
    assert everything.coverage[80] == pytest.approx(one.coverage[80])
    assert boards[3].scored == 3 * COUNT


def test_dimensionless_measures_do_not_depend_on_the_unit() -> None:
    """Returns in percent have the same ratios: scaling lowers no figure, as it does a min-max scaled error."""
    answers = with_baselines(100 * RETURNS, 1.13, model=normal(100 * SIGMA, 100 * RETURNS, centre=5 * RETURNS))
    [percent] = horizon_measures(outcomes(100 * RETURNS, answers, variances=1e4 * VARIANCES))
    plain = measured(model=normal(SIGMA, RETURNS, centre=0.05 * RETURNS))
    scaled = percent.by_kind["model"]
    for name in ("rmse_vs_random_walk", "qlike", "r2_log_variance", "direction"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name))
    assert scaled.pinball_bp.value == pytest.approx(100 * plain.pinball_bp.value)


def test_nothing_is_measured_on_the_price_level() -> None:
    """No field holds R2, MAPE or RMSE of the price level."""
    names = " ".join(field.name for field in fields(Measures))
    for word in ("mape", "price", "minmax", "r2_return", "accuracy"):
        assert word not in names
    assert "rmse_vs_random_walk" in names
