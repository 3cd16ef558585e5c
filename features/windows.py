"""Model windows, the panel that they are gathered from in training, and the recent bars that baselines read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from features.frames import SERIES_KEYS
from features.polars_evaluator import as_polars
from features.price import LOG_CLOSE
from features.volatility import ONE_BAR_VARIANCE


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The last L feature rows of one instrument up to a bar close, unscaled.

    values: (L, F) float32, oldest first; 0.0 wherever ``mask`` is False.
    mask: (L,) True where the row has every feature.
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


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """The feature rows of all series as arrays, from which windows are gathered by index without copying rows.

    The rows of a series are adjacent, oldest first, one interval apart. The window of length L that ends at row i is
    rows ``i - L + 1 .. i``; it exists if ``i - L + 1 >= first_row[series[i]]``.

    values: (N, F) float32, 0.0 wherever ``mask`` is False. mask: (N,) True where the row has every feature.
    series: (N,) index into ``keys``. open_time_us: (N,) int64. first_row: (S,) index of each series' first row.
    keys: (venue, symbol) of each series.
    """

    feature_names: tuple[str, ...]
    values: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    series: npt.NDArray[np.int64]
    open_time_us: npt.NDArray[np.int64]
    first_row: npt.NDArray[np.int64]
    keys: tuple[tuple[str, str], ...]


def panel(rows: pl.DataFrame, feature_names: Sequence[str]) -> Panel:
    """All of ``rows``, in the order in which ``feature_rows`` returns them.

    Raises ValueError if a feature is unknown, or the rows of a series are not adjacent and one interval apart.
    """
    names = _known(rows, feature_names)
    values, mask = _values_and_mask(rows, names)
    series = rows.select(pl.struct(SERIES_KEYS).rle_id().cast(pl.Int64)).to_series().to_numpy()
    open_time_us = rows["open_time_us"].to_numpy()
    first_row = np.flatnonzero(np.diff(series, prepend=-1)).astype(np.int64)
    keys = tuple(rows[first_row].select(SERIES_KEYS).iter_rows())
    steps = np.diff(open_time_us)[np.diff(series) == 0]
    if len(set(keys)) != len(keys) or len(np.unique(steps)) > 1 or (steps <= 0).any():
        raise ValueError("the rows of each series must be adjacent and one interval apart")
    return Panel(
        feature_names=names,
        values=values,
        mask=mask,
        series=series,
        open_time_us=open_time_us,
        first_row=first_row,
        keys=keys,
    )


def recent_bars(bars: pl.DataFrame, *, close_time_us: int, interval_us: int, count: int) -> RecentBars:
    """The last ``count`` rows, or fewer if there are fewer, of one instrument's regular bars up to ``close_time_us``.

    Raises ValueError if no bar closes at ``close_time_us``.
    """
    known = bars.filter(pl.col("open_time_us") <= close_time_us - interval_us).tail(count)
    if known.is_empty() or known["open_time_us"][-1] != close_time_us - interval_us:
        raise ValueError(f"no bar closes at {close_time_us} us")
    arrays = known.select(
        close_time_us=pl.col("open_time_us") + interval_us,
        log_close=as_polars(LOG_CLOSE),
        variance=as_polars(ONE_BAR_VARIANCE),
    )
    return RecentBars(
        interval_us=interval_us,
        close_time_us=arrays["close_time_us"].to_numpy(),
        log_close=_with_nan(arrays["log_close"]),
        variance=_with_nan(arrays["variance"]),
    )


def _known(rows: pl.DataFrame, feature_names: Sequence[str]) -> tuple[str, ...]:
    columns = set(rows.columns)
    unknown = [name for name in feature_names if name not in columns]
    if unknown:
        raise ValueError(f"the rows have no features named {unknown}")
    return tuple(feature_names)


def _values_and_mask(
    rows: pl.DataFrame, names: tuple[str, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Values (N, F), 0.0 in every row that lacks a feature, and mask (N,), True where a row has every feature."""
    values = rows.select(pl.col(*names)).to_numpy().astype(np.float32, order="C")
    mask = np.isfinite(values).all(axis=1)  # null arrives as NaN
    values[~mask] = 0.0
    return values, mask


def _with_nan(values: pl.Series) -> npt.NDArray[np.float64]:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
