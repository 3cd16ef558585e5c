"""Feature rows to model windows, refusing anything that was not known at the cut-off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The last L feature rows of one instrument up to a bar close, unscaled.

    values: (L, F) float32, oldest first; 0.0 wherever ``mask`` is False.
    mask: (L,) True where the row holds every feature.
    """

    close_time_us: int
    feature_names: tuple[str, ...]
    values: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RecentBars:
    """Closes and realised variances of the last N bars of one instrument on the regular grid, newest last.

    close_time_us: (N,) int64. log_close: (N,) float64, NaN where the bar is missing or empty.
    variance: (N,) Garman-Klass variance of the bar's log price, NaN where missing or where the range is zero.
    """

    interval_us: int
    close_time_us: npt.NDArray[np.int64]
    log_close: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
