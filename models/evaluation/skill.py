"""Skill of forecasts: losses relative to a baseline's on the same targets, each with its standard error.

Every estimate is a mean over time, or a ratio of two, of losses that overlap: h-bar forecasts issued at every bar
share h - 1 bars of their outcome. The standard errors allow for that.

Ratio of means (delta method): for r = mean(a) / mean(b) the linearised errors are u_t = (a_t - r b_t) / mean(b), and
Var(r) = V(u) / n with V the long-run variance. Pairing is built in: changes common to a and b cancel in u.

Long-run variance: W. K. Newey, K. D. West, "A simple, positive semi-definite, heteroskedasticity and autocorrelation
consistent covariance matrix", Econometrica 55 (1987), with Bartlett weights 1 - k / (L + 1) over L lags: their 1994
rule 4 (n / 100)^(2/9), or h - 1 if that is more. Removing the mean and the decreasing weights bias that sum downwards;
it is divided by its expectation for losses that overlap as h-bar sums do.

Finite samples, simulated with skewed losses: +-1.96 standard errors contain the truth in 91% of samples at 24 targets,
94% at 100, 95% at 720 for one bar; for 24 bars in 91% at 240 targets and 93% at 720. Below ``minimum_count`` there is
no estimate (None). A missing target is left out and its neighbours count as adjacent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

MINIMUM_COUNT = 24
MINIMUM_INDEPENDENT = 10


class Estimate(NamedTuple):
    """A measured value and its standard error, in the same unit."""

    value: float
    standard_error: float


def minimum_count(horizon_bars: int) -> int:
    """Fewest targets that give an estimate: 24, and at least ten that do not overlap."""
    return max(MINIMUM_COUNT, MINIMUM_INDEPENDENT * horizon_bars)


def mean_estimate(values: npt.ArrayLike, *, horizon_bars: int = 1) -> Estimate | None:
    """The mean of (n,) values in time order, e.g. of losses or of hits; None below ``minimum_count``."""
    series = np.asarray(values, dtype=np.float64)
    if len(series) < minimum_count(horizon_bars):
        return None
    mean = float(series.mean())
    return Estimate(mean, _standard_error(series - mean, horizon_bars))


def coverage(hits: npt.ArrayLike, *, horizon_bars: int = 1) -> Estimate | None:
    """Share of (n,) truths that fell into their interval; None below ``minimum_count``.

    If all hit or all miss, the standard error is that of one success in n / h + 2 (A. Agresti, B. A. Coull,
    "Approximate is better than exact", The American Statistician 52, 1998): 24 hits of 24 still leave uncertainty.
    """
    estimate = mean_estimate(hits, horizon_bars=horizon_bars)
    if estimate is None or 0.0 < estimate.value < 1.0:
        return estimate
    count = np.size(np.asarray(hits)) / horizon_bars
    share = 1.0 / (count + 2.0)
    return Estimate(estimate.value, math.sqrt(share * (1.0 - share) / count))


def paired_ratio(loss: npt.ArrayLike, baseline_loss: npt.ArrayLike, *, horizon_bars: int = 1) -> Estimate | None:
    """mean(loss) / mean(baseline_loss) over (n,) common targets in time order; below 1 beats the baseline.

    None below ``minimum_count``, or if the baseline's loss is zero throughout. Raises ValueError for
    losses that are not paired.
    """
    ours = np.asarray(loss, dtype=np.float64)
    theirs = np.asarray(baseline_loss, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"losses have shapes {ours.shape} and {theirs.shape}; a paired ratio needs the same targets")
    if len(ours) < minimum_count(horizon_bars) or theirs.mean() <= 0.0:
        return None
    ratio = float(ours.mean() / theirs.mean())
    return Estimate(ratio, _standard_error((ours - ratio * theirs) / theirs.mean(), horizon_bars))


def loss_ratio(
    losses: FloatArray, baseline: FloatArray, close_time_us: npt.NDArray[np.int64], *, lag: int
) -> tuple[float, float]:
    """``paired_ratio`` of a panel: the ratio of mean losses and its standard error, too small below ``minimum_count``.

    losses, baseline, close_time_us: (n,) over all instruments. The instruments of one instant are averaged first,
    because their errors are correlated; ``lag`` is the number of bars that neighbouring outcomes share, horizon - 1.
    """
    ours, theirs = (mean_by_time(values, close_time_us) for values in (losses, baseline))
    ratio = float(ours.mean() / theirs.mean())
    return ratio, _standard_error((ours - ratio * theirs) / theirs.mean(), lag + 1)


def rmse_ratio(
    squared_error: npt.ArrayLike, baseline_squared_error: npt.ArrayLike, *, horizon_bars: int = 1
) -> Estimate | None:
    """Ratio of root mean squared errors: the square root of a paired ratio, so se = se(r) / (2 sqrt(r)).

    None if ``paired_ratio`` is, or if the forecast's error is zero throughout (the root has no slope there).
    """
    squares = paired_ratio(squared_error, baseline_squared_error, horizon_bars=horizon_bars)
    if squares is None or squares.value == 0.0:
        return None
    root = math.sqrt(squares.value)
    return Estimate(root, squares.standard_error / (2.0 * root))


def direction(forecast: npt.ArrayLike, truth: npt.ArrayLike, *, horizon_bars: int = 1) -> Estimate | None:
    """Share of (n,) truths whose sign the forecast predicted; targets where either is exactly 0 are left out."""
    predicted, actual = np.sign(np.asarray(forecast, dtype=np.float64)), np.sign(np.asarray(truth, dtype=np.float64))
    decided = (predicted != 0.0) & (actual != 0.0)
    return coverage((predicted == actual)[decided], horizon_bars=horizon_bars)


def mean_by_time(values: FloatArray, close_time_us: npt.NDArray[np.int64]) -> FloatArray:
    """Means of (n,) values that share a time, in time order."""
    _, group = np.unique(close_time_us, return_inverse=True)
    return np.bincount(group, weights=values) / np.bincount(group)


def _standard_error(centred: FloatArray, horizon_bars: int) -> float:
    """Standard error of the mean of (n,) values from which that mean was removed."""
    count = len(centred)
    lags = min(max(int(4.0 * (count / 100.0) ** (2.0 / 9.0)), horizon_bars - 1), count - 1)
    steps = np.arange(1, lags + 1)
    weights = 1.0 - steps / (lags + 1.0)
    covariances = np.array([float(centred[step:] @ centred[:-step]) / count for step in steps])
    long_run = float(centred @ centred) / count + 2.0 * float(weights @ covariances)
    # If outcomes overlap over more bars than there are values, the kept share is 0; the bound keeps the error finite.
    kept = max(_kept(weights, count, horizon_bars), 1.0 / count)
    return math.sqrt(max(long_run, 0.0) / kept / count)


def _kept(weights: FloatArray, count: int, horizon_bars: int) -> float:
    """Expectation of the weighted sum over the true long-run variance, for losses that overlap as h-bar sums do.

    Such losses have autocovariance (1 - k/h); removing the mean lowers each of them by the variance of the mean.
    """
    steps = np.arange(1, len(weights) + 1)
    seen = 1.0 - steps / count
    overlap = np.maximum(1.0 - steps / horizon_bars, 0.0)
    long_run = 1.0 + 2.0 * float(overlap @ seen)
    removed = (1.0 + 2.0 * float(weights @ seen)) * long_run / count
    return (1.0 + 2.0 * float((weights * overlap) @ seen) - removed) / long_run
