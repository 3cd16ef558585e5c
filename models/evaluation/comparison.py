"""Comparison of forecasters: Diebold-Mariano tests between any two, and skill by period of time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from models.evaluation.losses import mean_pinball
from models.evaluation.measures import BASIS_POINTS, common_targets
from models.evaluation.outcomes import Outcomes
from models.evaluation.skill import mean_by_time, mean_estimate

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DieboldMariano:
    """Test of equal accuracy of ``first`` and ``second``; a statistic below zero means that ``first`` is better.

    difference_bp: mean pinball loss of first less second, in basis points. statistic: its ratio to its standard error.
    p_value: two-sided, from the normal distribution.
    """

    first: str
    second: str
    difference_bp: float
    statistic: float
    p_value: float


def diebold_mariano(loss: FloatArray, other: FloatArray, *, horizon_bars: int) -> tuple[float, float] | None:
    """The statistic and its two-sided p-value for paired losses (n,) in time order; None if they are too few.

    F. X. Diebold, R. S. Mariano, "Comparing predictive accuracy", Journal of Business & Economic Statistics 13 (1995),
    with the long-run variance of ``models.evaluation.skill``, whose correction for few targets replaces that of
    D. Harvey, S. Leybourne, P. Newbold (1997). Identical losses give 0 and 1.
    """
    estimate = mean_estimate(loss - other, horizon_bars=horizon_bars)
    if estimate is None:
        return None
    if estimate.standard_error == 0.0:
        return (0.0, 1.0) if estimate.value == 0.0 else (math.copysign(math.inf, estimate.value), 0.0)
    statistic = estimate.value / estimate.standard_error
    return statistic, math.erfc(abs(statistic) / math.sqrt(2.0))


def pairs(outcomes: Outcomes, column: int, chosen: npt.NDArray[np.bool_]) -> list[DieboldMariano]:
    """Compares every two kinds on the ``chosen`` (N,) cut-offs that all kinds forecast; empty if these are too few."""
    rows = np.flatnonzero(chosen & common_targets(outcomes, column))
    if not len(rows):
        return []
    losses = {
        kind: mean_by_time(loss, outcomes.close_time_us[rows]) for kind, loss in _losses(outcomes, column, rows).items()
    }
    found = []
    for first, second in combinations(losses, 2):
        compared = diebold_mariano(losses[first], losses[second], horizon_bars=outcomes.horizons[column])
        if compared is not None:
            difference = float((losses[first] - losses[second]).mean()) * BASIS_POINTS
            found.append(DieboldMariano(first, second, difference, *compared))
    return found


@dataclass(frozen=True, slots=True)
class Period:
    """Ratio of each kind's mean pinball loss to HAR's in one period of time."""

    from_us: int
    until_us: int
    scored: int
    pinball_vs_har: dict[str, float]


def over_time(outcomes: Outcomes, column: int, chosen: npt.NDArray[np.bool_], *, period_us: int) -> list[Period]:
    """One entry for each period of ``period_us`` with a common target, oldest first."""
    rows = np.flatnonzero(chosen & common_targets(outcomes, column))
    if not len(rows):
        return []
    losses = _losses(outcomes, column, rows)
    times = outcomes.close_time_us[rows]
    start_us = int(times.min())
    period = (times - start_us) // period_us
    periods = []
    for number in np.unique(period).tolist():
        inside = period == number
        har = float(losses["har"][inside].mean())
        ratios = {kind: float(loss[inside].mean()) / har for kind, loss in losses.items() if har > 0.0}
        begins_us = start_us + int(number) * period_us
        periods.append(Period(begins_us, begins_us + period_us, int(inside.sum()), ratios))
    return periods


def _losses(outcomes: Outcomes, column: int, rows: npt.NDArray[np.int64]) -> dict[str, FloatArray]:
    truth = outcomes.returns[rows, column]
    return {
        kind: mean_pinball(truth, answers.quantiles[rows, column], outcomes.levels)
        for kind, answers in outcomes.answers.items()
    }
