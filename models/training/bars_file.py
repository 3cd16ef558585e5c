"""Reads Parquet files of bars, or of klines as venues and collectors publish them, into a frame of ``BARS_SCHEMA``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from features.frames import BAR_KEYS, BARS_SCHEMA, PRICES
from features.symbols import split_quote

DEFAULT_VENUE = "binance"
_SCHEMA = pl.Schema(BARS_SCHEMA)
_REQUIRED = ("symbol", "open_time", *PRICES, "volume")
_OPTIONAL = ("quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
# Integers are distinguished by size: milliseconds of 1973 to 5138 are smaller than any microseconds after 1973.
_FIRST_MICROSECOND = 10**14


class BarsRefused(ValueError):
    """Files that hold no usable bars; the message names file and cure on one line."""


def read_bars(path: Path, *, symbols: Iterable[str] = ()) -> pl.DataFrame:
    """The bars of a Parquet file or of a folder of them, in ``BARS_SCHEMA``, in the order of the files.

    Files with that schema are read as they are. Klines need symbol (``BTCUSDT`` or ``BTC-USDT``), open_time (datetime,
    or integer milli- or microseconds), open, high, low, close, volume, and may have quote_volume, trades,
    taker_buy_volume, taker_buy_quote_volume; decimals or doubles. The venue is the ``venue`` or ``exchange``
    column's (``binance_spot`` is binance), else binance. A kline is complete if it has its prices.

    symbols: those to keep, in either spelling; empty keeps all. Raises BarsRefused.
    """
    bars = pl.concat([_read(file) for file in _files(path)])
    if wanted := {_bare(symbol) for symbol in symbols}:
        names = sorted(bars["symbol"].unique())
        if unknown := wanted - {_bare(name) for name in names}:
            raise BarsRefused(f"{path}: holds no {', '.join(sorted(unknown))}; the symbols in it: {', '.join(names)}")
        bars = bars.filter(pl.col("symbol").is_in([name for name in names if _bare(name) in wanted]))
    if bars.is_empty():
        raise BarsRefused(f"{path}: holds no bars")
    if bars.select(BAR_KEYS).is_duplicated().any():
        raise BarsRefused(f"{path}: holds two bars of one symbol and time; remove one of the files or rows")
    return bars


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise BarsRefused(f"{path}: there is no such file or folder")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise BarsRefused(f"{path}: holds no .parquet file")
    return files


def _read(file: Path) -> pl.DataFrame:
    try:
        table = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BarsRefused(f"{file}: cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    ours = set(BARS_SCHEMA) <= set(table.columns)
    if absent := [name for name in _REQUIRED if not ours and name not in table.columns]:
        raise BarsRefused(f"{file}: lacks the columns {', '.join(absent)}; klines need {', '.join(_REQUIRED)}")
    try:
        return (table if ours else _from_klines(file, table)).select(*BARS_SCHEMA).cast(_SCHEMA)
    except pl.exceptions.PolarsError as error:
        raise BarsRefused(f"{file}: a column cannot be read as numbers: {str(error).splitlines()[0]}") from error


def _from_klines(file: Path, klines: pl.DataFrame) -> pl.DataFrame:
    spelling = {str(name): _spelled(file, str(name)) for name in klines["symbol"].unique()}
    absent = [pl.lit(None).alias(name) for name in _OPTIONAL if name not in klines.columns]
    return klines.with_columns(
        *absent,
        venue=_venue(klines),
        symbol=pl.col("symbol").replace_strict(spelling, return_dtype=pl.String),
        open_time_us=_microseconds(file, klines["open_time"]),
        complete=pl.all_horizontal(pl.col(PRICES).is_not_null()),
    )


def _venue(klines: pl.DataFrame) -> pl.Expr:
    """``binance_spot`` is binance: the name of a venue excludes the kind of market."""
    column = next((name for name in ("venue", "exchange") if name in klines.columns), None)
    return pl.lit(DEFAULT_VENUE) if column is None else pl.col(column).str.split("_").list.first()


def _microseconds(file: Path, times: pl.Series) -> pl.Series:
    if isinstance(times.dtype, pl.Datetime):
        return times.dt.epoch("us")
    if not times.dtype.is_integer():
        raise BarsRefused(f"{file}: open_time is {times.dtype}; write times, or integers of milli- or microseconds")
    return times.cast(pl.Int64) * pl.select(pl.when(times < _FIRST_MICROSECOND).then(1000).otherwise(1)).to_series()


def _spelled(file: Path, name: str) -> str:
    """BASE-QUOTE, as the daemon spells symbols."""
    upper = name.upper().replace("/", "-").replace("_", "-")
    if "-" in upper:
        return upper
    if (parts := split_quote(upper)) is not None:
        return "-".join(parts)
    raise BarsRefused(f"{file}: symbol {name!r} cannot be split into BASE-QUOTE; write it so, e.g. BTC-USDT")


def _bare(name: str) -> str:
    return "".join(filter(str.isalnum, name)).upper()
