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
    flat = quantiles.reshape(-1, quantiles.shape[-1])
    below = [np.interp(0.0, row, levels) for row in flat]
    return 1.0 - np.asarray(below, dtype=np.float64).reshape(quantiles.shape[:-1])


def central_index(levels: Sequence[float]) -> int:
    """The position of the level nearest to one half."""
    return int(np.argmin(np.abs(np.asarray(levels) - 0.5)))
