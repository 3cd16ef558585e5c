"""Losses and hits of probabilistic forecasts in NumPy; the training losses are in models/networks/heads.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def pinball(truth: FloatArray, quantiles: FloatArray, levels: Sequence[float]) -> FloatArray:
    """The pinball loss of each quantile, in the unit of ``truth`` (Koenker and Bassett 1978).

    truth: (...), quantiles: (..., Q); returns (..., Q).
    """
    error = truth[..., None] - quantiles
    level = np.asarray(levels, dtype=np.float64)
    return np.maximum(level * error, (level - 1.0) * error)


def mean_pinball(truth: FloatArray, quantiles: FloatArray, levels: Sequence[float]) -> FloatArray:
    """The pinball loss averaged over the levels, in the unit of ``truth``: (...)."""
    return np.asarray(pinball(truth, quantiles, levels).mean(axis=-1), dtype=np.float64)


def crps_from_quantiles(truth: FloatArray, quantiles: FloatArray, levels: Sequence[float]) -> FloatArray:
    """The continuous ranked probability score as twice the integral of the pinball loss over the level.

    Trapezoids between the levels; beyond them the outermost losses are extended to 0 and 1. In the unit of
    ``truth``. Gneiting and Raftery 2007, section 4.2.
    """
    losses = pinball(truth, quantiles, levels)
    level = np.asarray(levels, dtype=np.float64)
    inner = ((losses[..., 1:] + losses[..., :-1]) / 2.0 * np.diff(level)).sum(axis=-1)
    outer = losses[..., 0] * level[0] + losses[..., -1] * (1.0 - level[-1])
    return np.asarray(2.0 * (inner + outer), dtype=np.float64)


def qlike(realised_variance: FloatArray, forecast_variance: FloatArray) -> FloatArray:
    """``v/f - log(v/f) - 1``: without unit, 0 for a perfect forecast (Patton 2011). Variances must be above 0."""
    ratio = realised_variance / forecast_variance
    return np.asarray(ratio - np.log(ratio) - 1.0, dtype=np.float64)


def inside(quantiles: FloatArray, lower: int, upper: int, truth: float | FloatArray) -> BoolArray:
    """Whether the truth lies in the closed interval between two columns of the (..., Q) quantiles. Returns (...)."""
    return np.asarray((quantiles[..., lower] <= truth) & (truth <= quantiles[..., upper]))
