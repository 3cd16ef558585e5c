"""Properties of a distribution given as quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.forecast import FloatArray


def probability_above_zero(quantiles: FloatArray, levels: Sequence[float]) -> FloatArray:
    """1 minus the distribution function at zero, by linear interpolation between quantiles.

    quantiles: (..., Q), ascending along Q; returns (...). Outside the outermost quantiles it is
    bounded by the outermost level, so that no forecast claims certainty.
    """
    level = np.asarray(levels, dtype=np.float64)
    last = len(level) - 1
    left = (quantiles <= 0.0).sum(axis=-1) - 1  # (...) the last quantile at or below zero; -1 where all are above
    low, high = np.maximum(left, 0), np.minimum(left + 1, last)
    at_low = np.take_along_axis(quantiles, low[..., None], axis=-1)[..., 0]
    width = np.take_along_axis(quantiles, high[..., None], axis=-1)[..., 0] - at_low
    inner = (left >= 0) & (left < last) & (at_low < 0.0)
    slope = (level[high] - level[low]) / np.where(inner, width, 1.0)
    return np.asarray(1.0 - np.where(inner, slope * (0.0 - at_low) + level[low], level[low]), dtype=np.float64)


def central_index(levels: Sequence[float]) -> int:
    """The position of the level nearest to one half."""
    return int(np.argmin(np.abs(np.asarray(levels) - 0.5)))
