"""Whether anything read the future: checks that change the future, or the order of time, and look at what moves.

A plausible score is no evidence of honesty; these are. Each takes the code under suspicion as a function, so that the
daemon's own features, labels, fits and forecasters are held to them, and so are planted leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.frames import BAR_KEYS, PRICES, SERIES_KEYS

FloatArray = npt.NDArray[np.float64]

_TOLERANCE = 1e-9  # of a value's size: sums over another number of rows differ in their last digits
_SPOILED = 3.7  # the factor on prices and volumes of a changed future
_AMOUNTS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")


def changed_by_the_future(
    compute: Callable[[pl.DataFrame], pl.DataFrame], bars: pl.DataFrame, *, cut_us: int, interval_us: int
) -> list[str]:
    """Truncation: the columns of ``compute(bars)`` whose rows up to ``cut_us`` differ without the bars after it.

    ``compute`` returns one row a series and time, with the columns venue, symbol and close_time_us; nulls are values.
    Empty where nothing of the past reads the future. Features, forecasts, scaled inputs: whatever it computes.
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
    """The label columns that have a value at a cut-off from the bars up to it alone: they tell nothing of the future.

    Such a label is one of the bar itself, and reaches any accuracy (contemporaneous or shifted labels).
    """
    known = labels(bars_until(bars, cut_us, interval_us)).filter(pl.col("close_time_us") == cut_us)
    keys = {*BAR_KEYS, "close_time_us"}
    return [name for name in known.columns if name not in keys and known[name].is_not_null().any()]


def fit_reads_the_future(
    fit: Callable[[pl.DataFrame], Any], bars: pl.DataFrame, *, cut_us: int, interval_us: int
) -> bool:
    """Whether what ``fit`` returns depends on bars after ``cut_us``, given all bars: scaler, imputation, coefficients.

    ``fit`` is given the whole frame, as code that splits by itself is, and returns anything that numpy can compare.
    """
    after = pl.col("open_time_us") + interval_us > cut_us
    spoiled = bars.with_columns(
        pl.when(after).then(pl.col(name) * _SPOILED).otherwise(pl.col(name)).alias(name)
        for name in (*PRICES, *_AMOUNTS)
    )
    before, later = (np.asarray(fit(each), dtype=np.float64) for each in (bars, spoiled))
    return not np.array_equal(before, later, equal_nan=True)


def shuffled_time(bars: pl.DataFrame, *, seed: int = 0) -> pl.DataFrame:
    """The same bars of each series in random order, each beginning where the one before it now ends.

    What a bar did (its range, its return, its volume) stays with it; what came before it is chance. No honest model has
    skill here beyond the random walk, neither in direction nor in volatility; one that reads the future keeps its own.
    Only bars with a price are kept, on adjacent times.
    """
    parts = []
    for number, series in enumerate(bars.filter(pl.col("close").is_not_null()).partition_by(SERIES_KEYS)):
        ordered = series.sort("open_time_us")
        drawn = ordered[np.random.default_rng((seed, number)).permutation(len(ordered))]
        opens, closes = (drawn[name].to_numpy() for name in ("open", "close"))
        moved = np.concatenate([[0.0], np.cumsum(np.log(closes / opens))[:-1]])
        factor = opens[0] * np.exp(moved) / opens  # each bar's own open becomes the close before it
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
    """The bars that had closed at ``cut_us``."""
    return bars.filter(pl.col("open_time_us") + interval_us <= cut_us)


def skill_under_a_gap(skills: Sequence[tuple[int, float, float]], *, standard_errors: float = 3.0) -> bool:
    """Whether skill hangs on the very next bar: the check of labels shifted one bar further ahead.

    skills: (gap in bars, skill above nothing, its standard error), the gap of 0 first. What moves a market lasts longer
    than a bar, so that an honest forecaster keeps part of what it has when its label begins a bar later; one whose
    inputs hold the next bar loses all. True where the skill at gap 0 is beyond chance and every later one is not.
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
