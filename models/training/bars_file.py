"""Reads files of bars, or of klines as venues and collectors publish them, into a frame of ``BARS_SCHEMA``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from features.frames import BAR_KEYS, BARS_SCHEMA, PRICES
from features.symbols import letters_and_digits
from features.times import time_us
from models.klines import read_klines, spelled
from models.table_files import FileTable, TableRefused, is_table_file, read_table

DEFAULT_VENUE = "binance"
_SCHEMA = pl.Schema(BARS_SCHEMA)


class BarsRefused(ValueError):
    """Files that hold no usable bars; the message names file and cure on one line."""


def read_bars(paths: Path | Sequence[Path], *, symbols: Iterable[str] = ()) -> pl.DataFrame:
    """The bars of Parquet or CSV files, gzipped or not, or of folders of them, in ``BARS_SCHEMA``, in their order.

    Parquet files with that schema are read as they are, all others as ``read_klines`` does. The venue is the ``venue``
    or ``exchange`` column's (``binance_spot`` is binance), else binance. A kline is complete if it has its prices and
    the file does not say that trades are missing.

    symbols: those to keep, in either spelling; empty keeps all. Raises BarsRefused.
    """
    given = tuple(symbols)
    wanted = {letters_and_digits(symbol): symbol for symbol in given}
    named = [paths] if isinstance(paths, Path) else list(paths)
    where = ", ".join(map(str, named))
    try:
        bars = pl.concat([_read(file, given) for path in named for file in _files(path)])
    except TableRefused as error:
        raise BarsRefused(str(error)) from error
    if wanted:
        names = sorted(bars["symbol"].unique())
        if unknown := wanted.keys() - {letters_and_digits(name) for name in names}:
            absent = ", ".join(sorted(wanted[each] for each in unknown))
            raise BarsRefused(f"{where}: holds no {absent}; the symbols in it: {', '.join(names)}")
        bars = bars.filter(pl.col("symbol").is_in([name for name in names if letters_and_digits(name) in wanted]))
    if bars.is_empty():
        raise BarsRefused(f"{where}: holds no bars")
    _refuse_repeated(where, bars)
    return bars


def _files(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise BarsRefused(f"{path}: there is no such file or folder")
    if not path.is_dir():
        yield path
        return
    files = sorted(file for file in path.iterdir() if is_table_file(file) and file.is_file())
    if not files:
        raise BarsRefused(f"{path}: holds no .parquet or .csv file")
    yield from files


def _read(file: Path, symbols: Collection[str]) -> pl.DataFrame:
    if is_table_file(file) and ".parquet" in file.name.lower():
        table = read_table(file)
        if set(BARS_SCHEMA) <= set(table.rows.columns):
            return _ours(table)
    table = read_klines(file)
    klines = table.rows
    return klines.with_columns(
        venue=_venue(klines),
        symbol=spelled(table, symbols, option="--symbols"),
        open_time_us=pl.col("open_time").dt.epoch("us"),
        complete=pl.col("complete") & pl.all_horizontal(pl.col(PRICES).is_not_null()),
    ).select(_SCHEMA.names())


def _ours(table: FileTable) -> pl.DataFrame:
    bars = table.rows.select(*BARS_SCHEMA)
    try:
        bars = bars.cast(_SCHEMA)
    except pl.exceptions.PolarsError as error:
        raise BarsRefused(f"{table.path}: a column is of another type: {str(error).splitlines()[0]}") from error
    for name in BAR_KEYS:
        table.refuse(bars[name].is_null(), name, "is missing")
    opens = bars["open_time_us"]
    table.refuse(time_us(opens).ne_missing(opens), "open_time_us", "was {value}; write microseconds of 2009 to 2099")
    for name in PRICES:
        price = bars[name].fill_nan(None)
        table.refuse(~(price.is_finite() & (price > 0)), name, "was {value}, which is not a price above 0")
    return bars


def _venue(klines: pl.DataFrame) -> pl.Expr:
    """``binance_spot`` is binance: the name of a venue excludes the kind of market."""
    if "exchange" not in klines.columns:
        return pl.lit(DEFAULT_VENUE)
    return pl.col("exchange").fill_null(DEFAULT_VENUE).str.split("_").list.first()


def _refuse_repeated(where: str, bars: pl.DataFrame) -> None:
    repeated = bars.filter(~pl.struct(BAR_KEYS).is_first_distinct())
    if not repeated.is_empty():
        _, symbol, opened_us = repeated.select(BAR_KEYS).row(0)
        opened = pl.Series([opened_us]).cast(pl.Datetime("us"))[0]
        raise BarsRefused(
            f"{where}: holds two bars of one symbol and time, {symbol} at {opened:%Y-%m-%d %H:%M}; "
            "remove one of the files or rows"
        )
