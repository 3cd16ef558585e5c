"""Bars as arrays on a regular grid, and the trailing and future statistics that baselines compute from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from features.frames import SERIES_KEYS, regular_bars
from features.windows import RecentBars, recent_bars

FloatArray = npt.NDArray[np.float64]
Series = tuple[str, str]  # venue, symbol


def regular_histories(bars: pl.DataFrame, *, interval_us: int) -> dict[Series, RecentBars]:
    """Every instrument's bars on its own regular grid, from its first bar to its last; NaN where a bar is missing.

    bars: a frame of ``features.frames.BARS_SCHEMA``. Raises ValueError if columns are absent or a bar is off the grid.
    """
    histories: dict[Series, RecentBars] = {}
    for (venue, symbol), group in regular_bars(bars, interval_us).group_by(SERIES_KEYS, maintain_order=True):
        newest_us = int(group["open_time_us"][-1]) + interval_us
        histories[str(venue), str(symbol)] = recent_bars(
            group, close_time_us=newest_us, interval_us=interval_us, count=group.height
        )
    return histories


def tail(recent: RecentBars, bars: int) -> RecentBars:
    """The last ``bars`` bars."""
    return RecentBars(
        recent.interval_us, recent.close_time_us[-bars:], recent.log_close[-bars:], recent.variance[-bars:]
    )


def until(recent: RecentBars, time_us: int) -> RecentBars:
    """The bars that had closed at ``time_us``."""
    count = int(np.searchsorted(recent.close_time_us, time_us, side="right"))
    return RecentBars(
        recent.interval_us, recent.close_time_us[:count], recent.log_close[:count], recent.variance[:count]
    )


def trailing_mean(values: FloatArray, length: int, *, least: int) -> FloatArray:
    """(N,) to (N,): the mean of the last ``length`` values that are not NaN; NaN if they are fewer than ``least``."""
    known = np.isfinite(values)
    sums = _trailing_sum(np.where(known, values, 0.0), length)
    counts = _trailing_sum(known.astype(np.float64), length)
    return np.where(counts >= least, sums / np.maximum(counts, 1.0), np.nan)


def _trailing_sum(values: FloatArray, length: int) -> FloatArray:
    total: FloatArray = np.concatenate([[0.0], np.cumsum(values)])
    stops = np.arange(1, len(values) + 1)
    return total[stops] - total[np.maximum(stops - length, 0)]


def last_known(values: FloatArray, *, reach: int) -> FloatArray:
    """(N,) to (N,): each value or, where NaN, the nearest earlier one at most ``reach`` steps back."""
    index = np.arange(len(values))
    source = np.maximum.accumulate(np.where(np.isfinite(values), index, -1))
    return np.where((source >= 0) & (index - source <= reach), values[source], np.nan)


def future_returns(log_close: FloatArray, horizon: int) -> FloatArray:
    """(N,) log return over the next ``horizon`` bars; NaN if either end is unknown."""
    ahead = np.full_like(log_close, np.nan)
    ahead[:-horizon] = log_close[horizon:] - log_close[:-horizon]
    return ahead


def future_variances(variance: FloatArray, horizon: int) -> FloatArray:
    """(N,) total variance of the next ``horizon`` bars; NaN unless at least half of them are known.

    Unknown bars are taken at the mean of the known ones.
    """
    means = trailing_mean(variance, horizon, least=(horizon + 1) // 2)
    ahead = np.full_like(variance, np.nan)
    ahead[:-horizon] = means[horizon:] * horizon
    return ahead


class UnusableBars(ValueError):
    """Bars that nothing can be trained on: too few, or of a price that does not move."""


def shortfall(histories: Mapping[Series, RecentBars]) -> str:
    """Why the series lack usable bars: a price that hardly moves is named, else no series has enough of them."""
    still = [
        (known, moving, series)
        for series, recent in histories.items()
        if (known := int(np.isfinite(recent.log_close).sum())) > (moving := _moving_bars(recent)) * 2
    ]
    if not still:
        return "no series has them"
    known, moving, (venue, symbol) = max(still)
    moves = f"moves in only {moving}" if moving else "never moves in any"
    return f"the price of {venue}:{symbol} {moves} of its {known} bars"


def _moving_bars(recent: RecentBars) -> int:
    """Bars with a range, or with another close than the bar before."""
    changed = np.diff(recent.log_close, prepend=recent.log_close[:1]) != 0
    return int((np.isfinite(recent.log_close) & ((recent.variance > 0) | changed)).sum())
