"""Variance scales of a baseline: one per series, and one pooled over all for a series that was not in the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.windows import RecentBars
from models.baselines.common import ANY_SERIES, LEAST_ROWS, VarianceScale
from models.history import Series, future_returns, shortfall

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class VarianceScales:
    """``by_series`` includes ``ANY_SERIES``, the pooled one. newest_us: the last close used in the fit."""

    horizons: tuple[int, ...]
    levels: tuple[float, ...]
    newest_us: int
    by_series: Mapping[Series, VarianceScale]

    def of(self, series: Series) -> VarianceScale:
        """The scale of the series, or the pooled one."""
        return self.by_series.get(series, self.by_series[ANY_SERIES])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "horizons": list(self.horizons),
            "levels": list(self.levels),
            "trained_until_us": self.newest_us,
            "series": [
                {"venue": venue, "symbol": symbol, **variance_scale.to_json()}
                for (venue, symbol), variance_scale in self.by_series.items()
            ],
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> VarianceScales:
        """The inverse of ``to_json``. Raises KeyError or ValueError for a state of another shape."""
        by_series = {(entry["venue"], entry["symbol"]): VarianceScale.from_json(entry) for entry in state["series"]}
        if ANY_SERIES not in by_series:
            raise ValueError("the state lacks the pooled variance scale")
        return cls(tuple(state["horizons"]), tuple(state["levels"]), int(state["trained_until_us"]), by_series)


def fit_variance_scales(
    name: str,
    histories: Mapping[Series, RecentBars],
    variances: Mapping[Series, FloatArray],
    *,
    horizons: Sequence[int],
    levels: Sequence[float],
) -> VarianceScales:
    """Fits on the predicted ``variances`` (N, H) at each bar of the ``histories`` and the returns that followed.

    Raises ValueError, naming the baseline, if the series have too few of both.
    """
    returns = {series: returns_ahead(recent, horizons) for series, recent in histories.items()}
    fitted: dict[Series, VarianceScale] = {}
    for series in histories:
        variance_scale = VarianceScale.fit(variances[series], returns[series], levels)
        if variance_scale is not None:
            fitted[series] = variance_scale
    width = len(horizons)
    pooled = VarianceScale.fit(
        np.concatenate([np.empty((0, width)), *variances.values()]),
        np.concatenate([np.empty((0, width)), *(returns[series] for series in variances)]),
        levels,
    )
    if pooled is None:
        raise ValueError(f"{name} needs {LEAST_ROWS} bars with a known past and future; {shortfall(histories)}")
    newest_us = max(int(recent.close_time_us[-1]) for recent in histories.values())
    return VarianceScales(tuple(horizons), tuple(levels), newest_us, {**fitted, ANY_SERIES: pooled})


def returns_ahead(recent: RecentBars, horizons: Sequence[int]) -> FloatArray:
    """(N, H) log return over each horizon from each bar; NaN if unknown."""
    return np.stack([future_returns(recent.log_close, horizon) for horizon in horizons], axis=1)
