"""Online conformal calibration: intervals that were too narrow or too wide lately are widened or narrowed.

The quantiles of one forecaster for one series are moved along their distance from the median: a level at distance d is
published at d exp(w). Levels that mirror each other (0.1 and 0.9) share one w, for what is promised is the coverage of
their interval, and two tails tell twice as much as one. The unit is the forecast's own width, so w stays right when
markets calm down or a retrained model takes over. The median does not move.

When a truth y is known, each band k learns whether today's w would have held it: g = 1{y outside} - (1 - coverage) is
the gradient of the pinball loss at the two quantiles, but for a positive factor, and

    w_k += step * g_k / slope_k,

slope_k the density of log|y - median| at the edge of band k, were the return normal: to first order g_k / slope_k
estimates the factor by which the band is too narrow. The step is one over the number of truths so far, counting from a
first value as if that many had been seen, and falls no further than one over a last value, so that it never stops
adapting. No single truth, however far out, moves a band by more than one step. A second term, by which all bands learn
a common factor together, was tried: it made scale errors no shorter-lived and errors of the tails longer-lived.

* I. Gibbs, E. Candes, "Adaptive conformal inference under distribution shift", NeurIPS 2021.
* A. Angelopoulos, E. Candes, R. Tibshirani, "Conformal PID control for time series prediction", NeurIPS 2023: quantile
  tracking, the P of the PID. I and D are left out: both answer to runs of misses, and outcomes that overlap
  come in runs.
* A. Angelopoulos, R. Barber, S. Bates, "Online conformal prediction with decaying step sizes", ICML 2024.
* Levels that would cross are put in order, which never costs pinball loss: V. Chernozhukov, I. Fernandez-Val,
  A. Galichon, "Quantile and probability curves without crossing", Econometrica 78, 2010.

While w_k does not stand at its bound, w_k is the sum of its steps: with a constant step the mean of g_k tends to zero
over any sequence of truths, whatever the model (Gibbs and Candes, proposition 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.distribution import probability_above_zero
from models.forecast import Forecast

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MOST_LOG_WIDTH = math.log(4.0)
"""No interval is made more than 4 times as wide or as narrow: a model that needs more needs to be retrained."""
FIRST_STEPS, LAST_STEPS = 50, 500
"""Truths that the first step counts as seen, and after which the steps stop falling; times h for h bars."""
_LEAST_SLOPE = 0.1  # an edge near the median, or one that is hardly ever reached, would take strides instead of steps


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """K bands around the median, widest first: the central intervals, and a level without a mirror by itself.

    members: (Q, K) ones where a level is an edge of a band. centre: the column of the median. missed: (K,) share of
    truths that belong outside. slope: (K,) see the module. coverage: (K,) 1 - missed.
    """

    levels: tuple[float, ...]
    centre: int
    members: FloatArray
    missed: FloatArray
    slope: FloatArray

    @classmethod
    def of(cls, levels: Sequence[float]) -> Self:
        """Raises ValueError where the levels do not ascend or 0.5 is not among them."""
        if 0.5 not in levels or any(low >= high for low, high in pairwise(levels)):
            raise ValueError(f"levels were {list(levels)}, must ascend and have the median, 0.5, among them")
        tails = [round(min(level, 1.0 - level), 9) for level in levels]
        bands = sorted(set(tails) - {0.5})
        members = np.array([[float(tail == band) for band in bands] for tail in tails]).reshape(len(levels), len(bands))
        edges = [abs(NormalDist().inv_cdf(band)) for band in bands]
        slopes = np.array([edge * NormalDist().pdf(edge) for edge in edges]) * members.sum(axis=0)
        return cls(
            levels=tuple(levels),
            centre=levels.index(0.5),
            members=members,
            missed=np.array(bands) * members.sum(axis=0),
            slope=np.maximum(slopes, _LEAST_SLOPE),
        )

    def widened(self, quantiles: FloatArray, log_widths: FloatArray) -> FloatArray:
        """(..., Q) quantiles at exp(w) times their distance from the median, never crossing; w: (..., K)."""
        centre = quantiles[..., self.centre, None]
        with np.errstate(over="ignore", invalid="ignore"):
            moved = quantiles + (quantiles - centre) * np.expm1(log_widths @ self.members.T)  # w = 0 changes no bit
        # Rounding may carry a level across the median by a hair.
        below, above = moved[..., : self.centre], moved[..., self.centre + 1 :]
        return np.sort(np.concatenate([np.minimum(below, centre), centre, np.maximum(above, centre)], axis=-1))

    def errors(self, quantiles: FloatArray, log_widths: FloatArray, truth: FloatArray) -> FloatArray:
        """(..., K): 1 where the truth (...) lies outside the widened band, less the share that belongs there.

        0 where nothing can be learned: the truth is not known, or the band has no width to measure in.
        """
        told = self.widened(quantiles, log_widths)
        outside = np.zeros_like(told)
        outside[..., : self.centre] = truth[..., None] < told[..., : self.centre]
        outside[..., self.centre + 1 :] = truth[..., None] > told[..., self.centre + 1 :]
        with np.errstate(over="ignore"):
            width = np.abs(quantiles - quantiles[..., self.centre, None]) @ self.members
        learnable = (width > 0.0) & np.isfinite(truth)[..., None]  # a silent forecaster's width is NaN
        return np.where(learnable, outside @ self.members - self.missed, 0.0)


class OnlineCalibration:
    """The calibration of one forecaster of one series at H horizons; of several at once with a leading ``shape``.

    What it knows is ``count`` (*shape, H), truths seen, and ``log_widths`` (*shape, H, K). Both start at zero, where
    calibrated quantiles are the raw ones to the last bit. Horizons do not influence one another, so truths of
    different horizons may come in any order; those of one horizon come in the order in which they became known.
    """

    def __init__(self, *, horizons: Sequence[int], levels: Sequence[float], shape: tuple[int, ...] = ()) -> None:
        """Raises ValueError for levels without a median."""
        self.horizons = tuple(horizons)
        self.bands = Bands.of(levels)
        self.count: IntArray = np.zeros((*shape, len(self.horizons)), np.int64)
        self.log_widths: FloatArray = np.zeros((*shape, len(self.horizons), len(self.bands.missed)))
        # Outcomes of h bars overlap: n of them say as much as n / h that do not.
        self._patience = np.asarray(self.horizons, dtype=np.float64)

    def learn(self, quantiles: FloatArray, truth: FloatArray) -> None:
        """Takes one truth a horizon, in log return, beside the raw quantiles of the forecast that it belongs to.

        quantiles: (*shape, H, Q), truth: (*shape, H); NaN in either where there is nothing to learn.
        """
        error = self.bands.errors(quantiles, self.log_widths, truth)  # (*shape, H, K)
        seen = self._patience * FIRST_STEPS + self.count
        step = 1.0 / np.minimum(seen, self._patience * LAST_STEPS)
        moved = self.log_widths + step[..., None] * error / self.bands.slope
        self.log_widths = np.clip(moved, -MOST_LOG_WIDTH, MOST_LOG_WIDTH)
        self.count = self.count + (np.isfinite(truth) & np.isfinite(quantiles).all(axis=-1))

    def calibrated(self, quantiles: FloatArray) -> FloatArray:
        """Raw quantiles (*shape, H, Q) as they are to be published."""
        return self.bands.widened(quantiles, self.log_widths)

    def calibrated_forecast(self, raw: Forecast) -> Forecast:
        """The forecast to publish: other quantiles, and the probability of a rise that follows from them.

        The volatility stays: it is fitted to the variance by a loss of its own, and a coverage says nothing about it.
        Where a width would leave the range of numbers the raw forecast is returned, for others to refuse. Raises
        ValueError for other horizons or levels than the calibration's.
        """
        if (raw.horizons, raw.levels) != (self.horizons, self.bands.levels):
            raise ValueError(f"the forecast has horizons {raw.horizons} and levels {raw.levels}, not the calibration's")
        quantiles = self.calibrated(raw.quantiles)
        if not (self.log_widths.any() and np.isfinite(quantiles).all()):
            return raw
        return replace(raw, quantiles=quantiles, prob_up=probability_above_zero(quantiles, raw.levels))

    def widths(self, horizon: int) -> dict[float, float]:
        """By how much each central interval is widened at one horizon, by its coverage; of a single series only."""
        factors = np.exp(self.log_widths[self.horizons.index(horizon)])
        paired = self.bands.members.sum(axis=0) == 2
        return {
            round(1.0 - missed, 9): float(factor)
            for missed, factor, both in zip(self.bands.missed, factors, paired, strict=True)
            if both
        }

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; of a single series only."""
        return {
            "levels": list(self.bands.levels),
            "horizons": {
                str(horizon): {"count": int(count), "log_widths": log_widths.tolist()}
                for horizon, count, log_widths in zip(self.horizons, self.count, self.log_widths, strict=True)
            },
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any], *, horizons: Sequence[int], levels: Sequence[float]) -> Self:
        """The inverse of ``to_json``. Horizons that the state lacks, and all where it has other levels, start anew.

        Raises KeyError or ValueError for another shape of state, or values that no calibration has.
        """
        made = cls(horizons=horizons, levels=levels)
        if tuple(state["levels"]) != made.bands.levels:
            return made
        for row, horizon in enumerate(made.horizons):
            known = state["horizons"].get(str(horizon))
            if known is not None:
                made.count[row] = int(known["count"])
                made.log_widths[row] = known["log_widths"]
        if not (np.abs(made.log_widths) <= MOST_LOG_WIDTH).all() or (made.count < 0).any():
            raise ValueError("the state holds widths or counts that no calibration has")
        return made
