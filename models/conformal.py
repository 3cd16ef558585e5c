"""Online conformal calibration: widens or narrows intervals that were recently too narrow or too wide.

The quantiles of one forecaster for one series are moved along their distance from the median: a level at distance d is
published at d exp(w). Levels that mirror each other (0.1 and 0.9) share one w, because the quantity to calibrate is
the coverage of their interval, and two tails hold twice the information of one. The unit is the forecast's own width,
so w stays valid when markets calm down or a retrained model takes over. The median does not move.

When a truth y becomes known, each band k is tested with the current w: g = 1{y outside} - (1 - coverage) is, up to a
positive factor, the gradient of the pinball loss at the two quantiles, and

    w_k += step * g_k / slope_k,

where slope_k is the density of log|y - median| at the edge of band k for a normal return: to first order g_k / slope_k
estimates the factor by which the band is too narrow. The step is one over the number of truths so far plus
``FIRST_STEPS``, and at least one over ``LAST_STEPS``, so that adaptation never stops. No single truth, however far out,
moves a band by more than one step. A second term, by which all bands learn a common factor, was tried: scale errors
lived no shorter and errors of the tails longer.

* I. Gibbs, E. Candes, "Adaptive conformal inference under distribution shift", NeurIPS 2021.
* A. Angelopoulos, E. Candes, R. Tibshirani, "Conformal PID control for time series prediction", NeurIPS 2023: quantile
  tracking, the P of the PID. I and D are left out: both react to runs of misses, and overlapping outcomes
  miss in runs.
* A. Angelopoulos, R. Barber, S. Bates, "Online conformal prediction with decaying step sizes", ICML 2024.
* Levels that would cross are sorted, which never increases the pinball loss: V. Chernozhukov, I. Fernandez-Val,
  A. Galichon, "Quantile and probability curves without crossing", Econometrica 78, 2010.

While w_k is within its bound, w_k is the sum of its steps: with a constant step the mean of g_k tends to zero
over any sequence of truths, whatever the model (Gibbs and Candes, proposition 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
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
"""No interval is calibration more than 4 times as wide or as narrow: a model that needs more needs to be retrained."""
FIRST_STEPS, LAST_STEPS = 50, 500
"""Truths that the first step counts as seen, and the count at which the step stops falling; times h for h bars."""
_LEAST_SLOPE = 0.1  # bounds the step of an edge near the median, or of one hardly ever reached


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """K bands around the median, widest first: the central intervals, and each level without a mirror on its own.

    members: (Q, K) ones where a level is an edge of a band. centre: the column of the median. missed: (K,) share of
    truths expected outside. slope: (K,) see the module. coverage: (K,) 1 - missed.
    """

    levels: tuple[float, ...]
    centre: int
    members: FloatArray
    missed: FloatArray
    slope: FloatArray

    @classmethod
    def of(cls, levels: Sequence[float]) -> Self:
        """The bands of some levels. Raises ValueError if they do not ascend or lack 0.5."""
        if 0.5 not in levels or any(low >= high for low, high in pairwise(levels)):
            raise ValueError(f"levels were {list(levels)}, must ascend and include the median, 0.5")
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
        """(..., Q) quantiles moved to exp(w) times their distance from the median, never crossing; w: (..., K)."""
        centre = quantiles[..., self.centre, None]
        with np.errstate(over="ignore", invalid="ignore"):
            moved = quantiles + (quantiles - centre) * np.expm1(log_widths @ self.members.T)  # w = 0 changes no bit
        # Rounding may move a level slightly across the median.
        below, above = moved[..., : self.centre], moved[..., self.centre + 1 :]
        return np.sort(np.concatenate([np.minimum(below, centre), centre, np.maximum(above, centre)], axis=-1))

    def errors(self, quantiles: FloatArray, log_widths: FloatArray, truth: FloatArray) -> FloatArray:
        """(..., K): 1 where the truth (...) lies outside the widened band, less the share expected there.

        0 where nothing can be learned: the truth is unknown, or the band has no width.
        """
        widened = self.widened(quantiles, log_widths)
        outside = np.zeros_like(widened)
        outside[..., : self.centre] = truth[..., None] < widened[..., : self.centre]
        outside[..., self.centre + 1 :] = truth[..., None] > widened[..., self.centre + 1 :]
        with np.errstate(over="ignore"):
            width = np.abs(quantiles - quantiles[..., self.centre, None]) @ self.members
        learnable = (width > 0.0) & np.isfinite(truth)[..., None]  # without a forecast the width is NaN
        return np.where(learnable, outside @ self.members - self.missed, 0.0)


@lru_cache(maxsize=8)
def _bands_of(levels: tuple[float, ...]) -> Bands:
    """Computed once: every series and kind of a daemon has the same levels."""
    return Bands.of(levels)


class OnlineCalibration:
    """The calibration of one forecaster of one series at H horizons; of several at once with a leading ``shape``.

    Its state is ``count`` (*shape, H), truths seen, and ``log_widths`` (*shape, H, K). Both start at zero, where
    calibrated quantiles equal the raw ones to the last bit. Horizons are independent, so truths of different horizons
    may arrive in any order; those of one horizon must arrive in the order in which they became known.
    """

    def __init__(self, *, horizons: Sequence[int], levels: Sequence[float], shape: tuple[int, ...] = ()) -> None:
        """Raises ValueError for levels without a median."""
        self.horizons = tuple(horizons)
        self.bands = _bands_of(tuple(levels))
        self.count: IntArray = np.zeros((*shape, len(self.horizons)), np.int64)
        self.log_widths: FloatArray = np.zeros((*shape, len(self.horizons), len(self.bands.missed)))
        # Outcomes of h bars overlap: n of them say as much as n / h that do not.
        self._overlap = np.asarray(self.horizons, dtype=np.float64)

    def learn(self, quantiles: FloatArray, truth: FloatArray) -> None:
        """Learns from one truth per horizon, a log return, and the raw quantiles of its forecast.

        quantiles: (*shape, H, Q), truth: (*shape, H); NaN in either where there is nothing to learn.
        """
        error = self.bands.errors(quantiles, self.log_widths, truth)  # (*shape, H, K)
        seen = self._overlap * FIRST_STEPS + self.count
        step = 1.0 / np.minimum(seen, self._overlap * LAST_STEPS)
        moved = self.log_widths + step[..., None] * error / self.bands.slope
        self.log_widths = np.clip(moved, -MOST_LOG_WIDTH, MOST_LOG_WIDTH)
        self.count = self.count + (np.isfinite(truth) & np.isfinite(quantiles).all(axis=-1))

    def calibrated(self, quantiles: FloatArray) -> FloatArray:
        """The quantiles to publish for raw quantiles (*shape, H, Q)."""
        return self.bands.widened(quantiles, self.log_widths)

    def calibrated_forecast(self, raw: Forecast) -> Forecast:
        """The forecast to publish: calibrated quantiles, and the probability of a rise that follows from them.

        The volatility is unchanged: it is fitted to the variance by its own loss, which coverage does not measure. If a
        calibrated quantile is not finite, the raw forecast is returned, and the caller decides. Raises ValueError for
        horizons or levels other than the calibration's.
        """
        if (raw.horizons, raw.levels) != (self.horizons, self.bands.levels):
            raise ValueError(f"the forecast has horizons {raw.horizons} and levels {raw.levels}, not the calibration's")
        quantiles = self.calibrated(raw.quantiles)
        if not (self.log_widths.any() and np.isfinite(quantiles).all()):
            return raw
        return replace(raw, quantiles=quantiles, prob_up=probability_above_zero(quantiles, raw.levels))

    def widths(self, horizon: int) -> dict[float, float]:
        """Widening factor of each central interval at one horizon, by its coverage; for a single series only."""
        factors = np.exp(self.log_widths[self.horizons.index(horizon)])
        paired = self.bands.members.sum(axis=0) == 2
        return {
            round(1.0 - missed, 9): float(factor)
            for missed, factor, both in zip(self.bands.missed, factors, paired, strict=True)
            if both
        }

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON values; for a single series only."""
        return {
            "levels": list(self.bands.levels),
            "horizons": {
                str(horizon): {"count": int(count), "log_widths": log_widths.tolist()}
                for horizon, count, log_widths in zip(self.horizons, self.count, self.log_widths, strict=True)
            },
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any], *, horizons: Sequence[int], levels: Sequence[float]) -> Self:
        """The inverse of ``to_json``. Horizons that the state lacks start at zero, and all do if its levels differ.

        Raises KeyError or ValueError for a state of another shape, or values out of range.
        """
        calibration = cls(horizons=horizons, levels=levels)
        if tuple(state["levels"]) != calibration.bands.levels:
            return calibration
        for row, horizon in enumerate(calibration.horizons):
            known = state["horizons"].get(str(horizon))
            if known is not None:
                calibration.count[row] = int(known["count"])
                calibration.log_widths[row] = known["log_widths"]
        if not (np.abs(calibration.log_widths) <= MOST_LOG_WIDTH).all() or (calibration.count < 0).any():
            raise ValueError("the state holds widths or counts that are out of range")
        return calibration
