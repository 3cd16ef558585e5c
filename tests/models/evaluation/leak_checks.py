"""Leak checks: they change the future, or the order of time, and compare results, to find code that reads the future.

A plausible score does not prove the absence of a leak. Each check takes the code under test as a function, so the same
checks run on the daemon's own features, labels, fits and forecasters, and on planted leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.frames import BAR_KEYS, PRICES, SERIES_KEYS

FloatArray = npt.NDArray[np.float64]

_TOLERANCE = 1e-9  # relative: sums over another number of rows differ in their last digits
_SPOILED = 3.7  # factor on prices and volumes of the altered future
_AMOUNTS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")


def changed_by_the_future(
    compute: Callable[[pl.DataFrame], pl.DataFrame], bars: pl.DataFrame, *, cut_us: int, interval_us: int
) -> list[str]:
    """Truncation check: the columns of ``compute(bars)`` whose rows up to ``cut_us`` change without the bars after it.

    ``compute`` returns e.g. features, forecasts or scaled inputs, one row per series and time, with the columns venue,
    symbol and close_time_us; nulls count as values. The result is empty if no row up to ``cut_us`` reads the future.
    """
    keys = [*SERIES_KEYS, "close_time_us"]
    known = pl.col("close_time_us") <= cut_us
    whole = compute(bars).filter(known).sort(keys)
    cut = compute(bars_until(bars, cut_us, interval_us)).filter(known).sort(keys)
    if not whole.select(keys).equals(cut.select(keys)):
        return keys
    return [name for name in whole.columns if name not in keys and not _same(whole[name], cut[name])]


def labels_known_too_early(
    labels: Callable[[pl.DataFrame], pl.DataFrame], bars: pl.DataFrame, *, cut_us: int, interval_us: int
) -> list[str]:
    """The label columns with a value at ``cut_us`` that is computed from the bars up to it alone.

    Such a label describes the bar itself, not the future, and can be predicted with any accuracy (contemporaneous or
    shifted labels).
    """
    known = labels(bars_until(bars, cut_us, interval_us)).filter(pl.col("close_time_us") == cut_us)
    keys = {*BAR_KEYS, "close_time_us"}
    return [name for name in known.columns if name not in keys and known[name].is_not_null().any()]


def fit_reads_the_future(
    fit: Callable[[pl.DataFrame], Any], bars: pl.DataFrame, *, cut_us: int, interval_us: int
) -> bool:
    """Whether the result of ``fit`` (scaler, imputation, coefficients) depends on bars after ``cut_us``.

    ``fit`` receives the whole frame and makes its own split; it returns anything that numpy can compare.
    """
    after = pl.col("open_time_us") + interval_us > cut_us
    spoiled = bars.with_columns(
        pl.when(after).then(pl.col(name) * _SPOILED).otherwise(pl.col(name)).alias(name)
        for name in (*PRICES, *_AMOUNTS)
    )
    before, later = (np.asarray(fit(each), dtype=np.float64) for each in (bars, spoiled))
    return not np.array_equal(before, later, equal_nan=True)


def shuffled_time(bars: pl.DataFrame, *, seed: int = 0) -> pl.DataFrame:
    """The bars of each series in random order, each rescaled to open at the close of the bar that now precedes it.

    Each bar keeps its range, return and volume, but its past is random. A model without a leak has no skill here beyond
    the random walk, in direction or volatility; one that reads the future keeps its skill. Only bars with a price are
    kept, on adjacent times.
    """
    parts = []
    for number, series in enumerate(bars.filter(pl.col("close").is_not_null()).partition_by(SERIES_KEYS)):
        ordered = series.sort("open_time_us")
        drawn = ordered[np.random.default_rng((seed, number)).permutation(len(ordered))]
        opens, closes = (drawn[name].to_numpy() for name in ("open", "close"))
        moved = np.concatenate([[0.0], np.cumsum(np.log(closes / opens))[:-1]])
        factor = opens[0] * np.exp(moved) / opens  # moves the bar's open to the close before it
        times = ordered["open_time_us"].to_numpy()
        step_us = int(np.diff(times).min()) if len(times) > 1 else 0
        quote = [name for name in ("quote_volume", "taker_buy_quote_volume") if name in drawn.columns]
        parts.append(
            drawn.with_columns(
                pl.Series("open_time_us", int(times[0]) + step_us * np.arange(len(times))),
                *(pl.Series(name, drawn[name].to_numpy() * factor) for name in PRICES),
                *(pl.Series(name, drawn[name].to_numpy() * factor) for name in quote),
            )
        )
    return pl.concat(parts)


def bars_until(bars: pl.DataFrame, cut_us: int, interval_us: int) -> pl.DataFrame:
    """The bars that had closed by ``cut_us``."""
    return bars.filter(pl.col("open_time_us") + interval_us <= cut_us)


def skill_under_a_gap(skills: Sequence[tuple[int, float, float]], *, standard_errors: float = 3.0) -> bool:
    """Whether skill vanishes when the labels begin one or more bars later.

    skills: (gap in bars, skill above zero, its standard error), the gap of 0 first. Market movements last longer than a
    bar, so a forecaster without a leak keeps part of its skill if its label begins a bar later; one whose inputs
    contain the next bar loses all of it. True if the skill at gap 0 is significant and every later one is not.
    """
    (first, *later) = skills
    beyond = [skill > standard_errors * error for _, skill, error in (first, *later)]
    return beyond[0] and not any(beyond[1:])


def _same(whole: pl.Series, cut: pl.Series) -> bool:
    if not (whole.is_null() == cut.is_null()).all():
        return False
    if not whole.dtype.is_float():
        return bool(whole.equals(cut))
    left, right = (each.fill_null(0.0).to_numpy() for each in (whole, cut))
    scale = np.maximum(np.abs(left), np.nanmedian(np.abs(left))) if len(left) else left
    return bool((np.abs(left - right) <= _TOLERANCE * scale + 1e-15).all())
