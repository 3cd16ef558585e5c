"""Calibration over a walk-forward: in time order, without the future, each series independently."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.conformal import OnlineCalibration
from models.evaluation.calibrated_walkforward import with_calibrated
from models.evaluation.measures import horizon_measures
from models.evaluation.outcomes import Outcomes
from tests.models.known_outcomes import LEVELS, SCORES, normal, outcomes, with_baselines
from tests.models.synthetic import HOUR_US

HORIZONS = (1, 6)


def overlapping(hours: int = 400, *, seed: int = 2) -> Outcomes:
    """One series, one and six bars ahead; "narrow" forecasts half the width, HAR lacks some forecasts."""
    random = np.random.default_rng(seed)
    steps = 0.01 * random.standard_normal(hours + max(HORIZONS))
    path = np.concatenate([[0.0], np.cumsum(steps)])
    returns = np.stack([path[h : h + hours] - path[:hours] for h in HORIZONS], axis=1)
    returns[hours - 6 :, 1] = np.nan  # not known yet
    returns[hours - 1 :, 0] = np.nan
    made = outcomes(returns[:, 0], with_baselines(returns[:, 0], 0.01, narrow=normal(0.005, returns[:, 0])))
    answers = {
        kind: replace(
            each,
            quantiles=np.concatenate([each.quantiles, np.sqrt(6) * each.quantiles], axis=1),
            volatility=np.concatenate([each.volatility, np.sqrt(6) * each.volatility], axis=1),
        )
        for kind, each in made.answers.items()
    }
    answers["har"].quantiles[20:40] = np.nan
    answers["har"].volatility[20:40] = np.nan
    return replace(made, horizons=HORIZONS, returns=returns, variances=returns**2 + 1e-12, answers=answers)


def test_it_equals_step_by_step_calibration() -> None:
    """One forecaster by hand: each hour learns the truth of the forecast h hours ago, then calibrates."""
    made = overlapping()
    raw = made.answers["narrow"].quantiles
    calibration = OnlineCalibration(horizons=HORIZONS, levels=LEVELS)
    expected = []
    for hour in range(len(made)):
        for column, horizon in enumerate(HORIZONS):
            if hour >= horizon:
                truth = np.full(2, np.nan)
                truth[column] = made.returns[hour - horizon, column]
                calibration.learn(raw[hour - horizon], truth)
        expected.append(calibration.calibrated(raw[hour]))
    np.testing.assert_array_equal(with_calibrated(made).calibrated["narrow"], np.stack(expected))


@pytest.mark.parametrize("cut", [1, 5, 6, 7, 150])
def test_the_future_changes_no_earlier_forecast(cut: int) -> None:
    """Truths unknown at the cut are replaced by a crash, and later forecasts by others."""
    made = overlapping()
    spoiled = made.returns.copy()
    for column, horizon in enumerate(HORIZONS):
        spoiled[max(cut - horizon + 1, 0) :, column] = -0.9
    answers = {kind: replace(each, quantiles=each.quantiles.copy()) for kind, each in made.answers.items()}
    for each in answers.values():
        each.quantiles[cut + 1 :] *= 3.0
    other = with_calibrated(replace(made, returns=spoiled, answers=answers))
    for kind, quantiles in with_calibrated(made).calibrated.items():
        np.testing.assert_array_equal(other.calibrated[kind][: cut + 1], quantiles[: cut + 1])
    assert not np.array_equal(other.calibrated["narrow"][cut + 6], with_calibrated(made).calibrated["narrow"][cut + 6])


def test_truths_of_an_outage_are_learned_after_it() -> None:
    """Hours 100 to 119 have no forecast; earlier forecasts have known truths afterwards."""
    made = overlapping()
    kept = np.r_[0:100, 120:400]
    there = replace(
        made,
        index=made.index[kept],
        close_time_us=made.close_time_us[kept],
        returns=made.returns[kept],
        answers={
            kind: replace(each, quantiles=each.quantiles[kept], volatility=each.volatility[kept])
            for kind, each in made.answers.items()
        },
    )
    raw = made.answers["narrow"].quantiles
    calibration = OnlineCalibration(horizons=HORIZONS, levels=LEVELS)
    for hour in range(100):
        calibration.learn(raw[hour], made.returns[hour])
    np.testing.assert_array_equal(with_calibrated(there).calibrated["narrow"][100], calibration.calibrated(raw[120]))


def test_missing_forecasts_stay_missing() -> None:
    """NaN where there was no forecast, and only there."""
    result = with_calibrated(overlapping()).calibrated["har"]
    assert np.isnan(result[20:40]).all()
    assert np.isfinite(np.delete(result, np.s_[20:40], axis=0)).all()


def test_series_are_independent_in_any_order() -> None:
    """Three series together, also with shuffled rows, are each calibrated as alone."""
    random = np.random.default_rng(4)
    returns = 0.01 * random.standard_normal(900)
    made = outcomes(returns, {"narrow": normal(0.006, returns)}, series=3)
    together = with_calibrated(made).calibrated["narrow"]
    alone = outcomes(returns[300:600], {"narrow": normal(0.006, returns[300:600])})
    np.testing.assert_array_equal(together[300:600], with_calibrated(alone).calibrated["narrow"])
    order = random.permutation(900)
    shuffled = replace(
        made,
        index=made.index[order],
        close_time_us=made.close_time_us[order],
        returns=made.returns[order],
        answers={"narrow": replace(made.answers["narrow"], quantiles=made.answers["narrow"].quantiles[order])},
    )
    np.testing.assert_array_equal(with_calibrated(shuffled).calibrated["narrow"], together[order])


def test_measures_before_and_after_calibration() -> None:
    """Half the true width: coverage becomes nominal and the CRPS falls significantly; HAR's hardly changes."""
    returns = 0.01 * np.random.default_rng(6).standard_normal(3000)
    result = with_calibrated(outcomes(returns, with_baselines(returns, 0.01, narrow=normal(0.005, returns))))
    [board] = horizon_measures(result)
    narrow, har = board.by_kind["narrow"], board.by_kind["har"]
    assert narrow.calibrated is not None
    assert har.calibrated is not None
    assert narrow.coverage[80].value == pytest.approx(0.48, abs=0.03)
    assert narrow.calibrated.coverage[80].value == pytest.approx(0.8, abs=0.03)
    ratio = narrow.calibrated.crps_over_raw
    assert ratio.value + 5 * ratio.standard_error < 1
    assert ratio.value == pytest.approx(narrow.calibrated.crps_bp.value / narrow.crps_bp.value)
    assert har.calibrated.crps_over_raw.value == pytest.approx(1.0, abs=0.002)
    assert har.calibrated.coverage[95].value == pytest.approx(0.95, abs=0.01)


def test_without_calibration_there_are_no_calibrated_measures() -> None:
    """They are None, not a copy of the raw ones."""
    returns = 0.01 * np.random.default_rng(6).standard_normal(100)
    made = outcomes(returns, with_baselines(returns, 0.01))
    [board] = horizon_measures(made)
    assert board.by_kind["har"].calibrated is None


def test_the_shape_is_that_of_the_forecasts() -> None:
    """(N, H, Q) by kind, sorted as the outcomes are."""
    result = with_calibrated(overlapping())
    assert set(result.calibrated) == set(result.answers)
    for kind, each in result.calibrated.items():
        assert each.shape == result.answers[kind].quantiles.shape == (400, 2, len(SCORES))
    assert (np.diff(result.close_time_us) == HOUR_US).all()
