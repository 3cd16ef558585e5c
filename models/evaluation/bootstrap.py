"""Standard errors of statistics of dependent data by the circular block bootstrap.

D. N. Politis, J. P. Romano, "A circular block-resampling procedure for stationary data" (1992): blocks of adjacent rows
are drawn with replacement from the series laid on a circle. Block length: D. N. Politis, H. White, "Automatic
block-length selection for the dependent bootstrap", Econometric Reviews 23 (2004), with the correction of A. Patton,
D. N. Politis, H. White, Econometric Reviews 28 (2009).

Every statistic here is a function of column means (a ratio, a root, a share), so a replicate needs only the sums of
its blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.evaluation.skill import Estimate

FloatArray = npt.NDArray[np.float64]

REPLICATES = 500
_AT_ONCE = 64  # replicates whose counts are converted to floats at a time
_LONGEST_SHARE = 10  # at most a tenth of the data, so that there are ten distinct blocks


class BlockBootstrap:
    """Resamples of series of ``count`` rows, the same for every statistic, so that differences are paired."""

    def __init__(self, count: int, *, block: int, replicates: int = REPLICATES, seed: int = 0) -> None:
        """Raises ValueError if a block is longer than the series."""
        if not 1 <= block <= count:
            raise ValueError(f"a block of {block} rows cannot be cut from {count}")
        self.count = count
        self.block = block
        self._blocks = math.ceil(count / block)
        random = np.random.default_rng(seed)
        drawn = (random.integers(0, count, self._blocks) for _ in range(replicates))
        # (R, n) how often the block that begins at each row was drawn; bytes, because there are R times n of them.
        self._drawn = np.stack([np.bincount(starts, minlength=count).astype(np.uint8) for starts in drawn])

    def means(self, columns: FloatArray) -> FloatArray:
        """(n, k) to (R, k): the column means of each resample, of a whole number of blocks.

        Raises ValueError if the columns do not have ``count`` rows.
        """
        if len(columns) != self.count:
            raise ValueError(f"the columns have {len(columns)} rows, the draws are for {self.count}")
        circle = np.concatenate([columns, columns[: self.block - 1]])
        total = np.concatenate([np.zeros((1, columns.shape[1])), np.cumsum(circle, axis=0)])
        sums = total[self.block :] - total[: self.count]  # (n, k): the block that begins at each row
        parts = np.array_split(self._drawn, math.ceil(len(self._drawn) / _AT_ONCE))
        totals = np.concatenate([part.astype(np.float64) @ sums for part in parts])  # (R, n) @ (n, k)
        return np.asarray(totals / (self._blocks * self.block))

    def estimate(self, columns: FloatArray, statistic: Callable[[FloatArray], FloatArray]) -> Estimate:
        """``statistic``, (..., k) to (...), of the means of (n, k) columns, with its standard error."""
        value = float(statistic(columns.mean(axis=0)))
        return Estimate(value, float(np.std(statistic(self.means(columns)), ddof=1)))


def block_length(values: FloatArray, *, least: int = 1) -> int:
    """Rows per block for the mean of (n,) values in time order: automatic, from ``least`` to a tenth of n."""
    count = len(values)
    longest = max(1, count // _LONGEST_SHARE)
    centred = values - values.mean()
    variance = float(centred @ centred) / count
    if variance == 0.0:
        return min(max(least, 1), longest)
    # Politis and White: the first lag after which K correlations in a row are negligible; twice that for the flat top.
    run = max(5, math.ceil(math.sqrt(math.log10(count))))
    furthest = min(math.ceil(math.sqrt(count)) + run, count - 1)
    covariances = np.array([float(centred[lag:] @ centred[: count - lag]) / count for lag in range(furthest + 1)])
    small = np.abs(covariances[1:] / variance) < 2.0 * math.sqrt(math.log10(count) / count)
    negligible = next((lag for lag in range(len(small) - run + 1) if small[lag : lag + run].all()), len(small))
    bandwidth = min(2 * max(negligible, 1), furthest)
    lags = np.arange(1, bandwidth + 1)
    weights = np.minimum(1.0, 2.0 * (1.0 - lags / bandwidth))  # flat to one half, then falling to zero
    spectrum = covariances[0] + 2.0 * float(weights @ covariances[1 : bandwidth + 1])
    slope = 2.0 * float((weights * lags) @ covariances[1 : bandwidth + 1])
    if spectrum <= 0.0:
        return min(max(least, 1), longest)
    optimal = math.cbrt(2.0 * slope**2 / (4.0 / 3.0 * spectrum**2) * count)
    return min(max(least, math.ceil(optimal), 1), longest)
