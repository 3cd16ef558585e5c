"""The search objective: the figures of the measures, averaged over horizons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.measures import horizon_measures
from models.evaluation.objective import METRICS, objective
from models.evaluation.outcomes import Outcomes
from models.evaluation.walkforward import fold_tasks, walk_forward
from tests.models.evaluation.test_walkforward import BARS, SETTINGS, folds

FIGURES = ("pinball", "crps", "qlike", "rmse", "coverage", "direction")


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """EWMA and the yardsticks, two series, horizons 1 and 3."""
    return walk_forward(fold_tasks(BARS, folds(), ("ewma",), SETTINGS))


def nearest(outcomes: Outcomes, column: int) -> Outcomes:
    """One horizon alone."""
    answers = {
        kind: replace(each, quantiles=each.quantiles[:, [column]], volatility=each.volatility[:, [column]])
        for kind, each in outcomes.answers.items()
    }
    return replace(
        outcomes,
        horizons=(outcomes.horizons[column],),
        returns=outcomes.returns[:, [column]],
        variances=outcomes.variances[:, [column]],
        answers=answers,
    )


def test_each_metric_is_the_measures_figure(outcomes: Outcomes) -> None:
    """Of one horizon, over all series, to the digit; the standard error of the same size."""
    one = nearest(outcomes, 1)
    board = next(each for each in horizon_measures(one) if each.series == "all").by_kind
    ewma, har = board["ewma"], board["har"]
    assert ewma.qlike is not None
    assert har.qlike is not None
    coverage = np.mean([abs(each.value - percent / 100) for percent, each in ewma.coverage.items()])
    expected = {
        "pinball": ewma.pinball_vs["har"].value,
        "crps": ewma.crps_bp.value / har.crps_bp.value,
        "qlike": ewma.qlike.value / har.qlike.value,
        "rmse": ewma.rmse_vs_random_walk.value,
        "coverage": coverage,
    }
    for name, value in expected.items():
        assert objective(one, "ewma", METRICS[name]).value == pytest.approx(value, rel=1e-9), name
    error = objective(one, "ewma", METRICS["pinball"]).standard_error
    assert error == pytest.approx(ewma.pinball_vs["har"].standard_error, rel=0.5)


def test_horizons_count_alike(outcomes: Outcomes) -> None:
    """The figure is the mean over the horizons."""
    for name in ("pinball", "qlike", "coverage"):
        each = [objective(nearest(outcomes, column), "ewma", METRICS[name]).value for column in (0, 1)]
        assert objective(outcomes, "ewma", METRICS[name]).value == pytest.approx(np.mean(each), rel=1e-9)


def test_the_yardstick_is_one_without_error(outcomes: Outcomes) -> None:
    """HAR over HAR, the random walk over itself."""
    for kind, name in (("har", "pinball"), ("har", "qlike"), ("random_walk", "rmse")):
        value, error = objective(outcomes, kind, METRICS[name])
        assert (value, error) == pytest.approx((1.0, 0.0), abs=1e-12)


def test_a_share_of_signs_without_predicted_signs_is_nan(outcomes: Outcomes) -> None:
    """The random walk's median is 0; that of the reversal rule is not."""
    assert np.isnan(objective(outcomes, "random_walk", METRICS["direction"]).value)
    assert 0.3 < objective(outcomes, "reversal", METRICS["direction"]).value < 0.7
    assert tuple(METRICS) == FIGURES


def test_too_few_targets_are_rejected(outcomes: Outcomes) -> None:
    """The error names the number of bars that are needed."""
    few = outcomes.close_time_us < np.sort(np.unique(outcomes.close_time_us))[20]
    cut = {
        name: getattr(outcomes, name)[few]
        for name in ("index", "close_time_us", "fold", "log_close", "returns", "variances")
    }
    answers = {
        kind: replace(each, quantiles=each.quantiles[few], volatility=each.volatility[few])
        for kind, each in outcomes.answers.items()
    }
    with pytest.raises(ValueError, match="20 bars are too few to score 3 bars ahead; 33 are needed"):
        objective(replace(outcomes, **cut, answers=answers), "ewma", METRICS["pinball"])
