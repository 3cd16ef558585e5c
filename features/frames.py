"""Bars as a Polars frame: its columns, conversion from records, and the regular grid that every lag relies on."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from features.market import Bar

SERIES_KEYS = ("venue", "symbol")
BAR_KEYS = (*SERIES_KEYS, "open_time_us")
PRICES = ("open", "high", "low", "close")

BARS_SCHEMA: dict[str, type[pl.DataType]] = {
    "venue": pl.String,
    "symbol": pl.String,
    "open_time_us": pl.Int64,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Float64,
    "quote_volume": pl.Float64,
    "trades": pl.Int64,
    "taker_buy_volume": pl.Float64,
    "taker_buy_quote_volume": pl.Float64,
    "complete": pl.Boolean,
}
"""Columns of a frame with one row per bar. Null: no source knows the value, or (prices) nothing traded. ``complete`` is
False if trades are known to be missing, or the whole bar is."""

_FIELDS = attrgetter(*(name for name in BARS_SCHEMA if name != "complete"), "is_complete")


def bars_frame(bars: Iterable[Bar]) -> pl.DataFrame:
    """``bars`` as a frame of ``BARS_SCHEMA``, in the order given."""
    columns = zip(*map(_FIELDS, bars), strict=True)
    return pl.DataFrame(dict(zip(BARS_SCHEMA, columns, strict=False)), schema=BARS_SCHEMA)


def regular_bars(frame: pl.DataFrame, interval_us: int) -> pl.DataFrame:
    """``frame`` sorted by venue, symbol and time, one row for every interval from a symbol's first bar to its last.

    Intervals without a bar become outage rows: null except for their keys, ``complete`` False. Of two rows for one
    bar the later one is kept. Prices of a bar without volume become null: venues repeat the last close in such candles.

    Raises ValueError if a column is absent or a bar does not open on a multiple of ``interval_us``.
    """
    missing = BARS_SCHEMA.keys() - set(frame.columns)
    if missing:
        raise ValueError(f"the frame of bars lacks the columns {sorted(missing)}")
    bars = _without_invalid_values(frame.select(*BARS_SCHEMA))
    return bars if _is_regular(bars, interval_us) else _regularised(bars, interval_us)


def newest_rows(frame: pl.DataFrame, intervals: int, interval_us: int) -> pl.DataFrame:
    """The rows of the newest ``intervals`` times of the whole frame: all symbols are cut at the same time."""
    time = pl.col("open_time_us")
    return frame.filter(time > time.max() - intervals * interval_us)


def _without_invalid_values(bars: pl.DataFrame) -> pl.DataFrame:
    traded = pl.col("volume").is_null() | (pl.col("volume") > 0)
    return bars.with_columns(
        pl.when(traded).then(pl.col(PRICES).fill_nan(None)),
        pl.col("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume").fill_nan(None),
    )


def _is_regular(bars: pl.DataFrame, interval_us: int) -> bool:
    """Whether rows are sorted and each is one interval after the row before it, or the first of a series."""
    venue, symbol, time = pl.col("venue"), pl.col("symbol"), pl.col("open_time_us")
    same_venue = venue == venue.shift()
    follows = same_venue & (symbol == symbol.shift()) & (time == time.shift() + interval_us)
    opens = (venue > venue.shift()) | (same_venue & (symbol > symbol.shift()))
    regular = (follows | opens).all() & (time % interval_us == 0).all()
    return bool(bars.select(regular).item())


def _regularised(bars: pl.DataFrame, interval_us: int) -> pl.DataFrame:
    if bars.filter(pl.col("open_time_us") % interval_us != 0).height:
        raise ValueError(f"a bar does not open on a multiple of {interval_us} us")
    unique = bars.unique(BAR_KEYS, keep="last", maintain_order=True)
    time = pl.col("open_time_us")
    grid = (
        unique.group_by(SERIES_KEYS)
        .agg(pl.int_ranges(time.min(), time.max() + interval_us, interval_us, dtype=pl.Int64).first())
        .explode("open_time_us")
        .sort(BAR_KEYS)
    )
    joined = grid.join(unique, on=BAR_KEYS, how="left", maintain_order="left")
    return joined.with_columns(pl.col("complete").fill_null(value=False)).select(*BARS_SCHEMA)
