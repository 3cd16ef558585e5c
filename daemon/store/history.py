"""Reads and validates files of klines (Parquet or CSV) as the candles that ``Ledger.import_bars`` stores."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from daemon.errors import EXIT_USAGE, Fatal
from daemon.intervals import interval_name
from daemon.store.bars import CANDLE_SCHEMA
from features.frames import PRICES
from features.symbols import is_symbol, letters_and_digits, spell
from models.klines import read_klines, spelled
from models.table_files import FileTable, TableRefused


class ImportRefused(Fatal):
    """A file cannot be imported; the message names the file, row, column and remedy."""

    exit_code = EXIT_USAGE


def import_file(
    path: Path,
    *,
    interval_us: int,
    now_us: int,
    venue: str = "binance",
    symbol: str | None = None,
) -> pl.DataFrame:
    """Reads and checks one file of klines, see ``read_klines``. Rows may be in any order.

    Args:
        interval_us: the interval that one row must cover.
        now_us: every row must have closed by then.
        venue: the venue of the klines; an ``exchange`` column must agree with it.
        symbol: BASE-QUOTE, for a file without a symbol column, or one whose spelling can be read in several ways.

    Returns:
        The columns of ``CANDLE_SCHEMA``, sorted by time for each symbol.

    Raises:
        ImportRefused: at the first fault.
    """
    if symbol is not None and not is_symbol(symbol):
        raise ImportRefused(f"--symbol was {symbol}; write {spell(symbol) or 'BASE-QUOTE, e.g. BTC-USDT'}")
    try:
        table = read_klines(path)
        _check_venue(table, venue)
        _check_symbol(table, symbol)
        candles = table.rows.with_columns(
            venue=pl.lit(venue),
            symbol=spelled(table, () if symbol is None else (symbol,), option="--symbol"),
            interval_us=pl.lit(interval_us, pl.Int64),
            open_time_us=pl.col("open_time").dt.epoch("us"),
        )
        for name in (*PRICES, "volume"):
            table.refuse(candles[name].is_null(), name, "{value}")
        table.refuse(~candles["complete"], "completeness", "trades are missing from this bar; remove the row")
        _check_times(table, candles, interval_us, now_us)
    except TableRefused as error:
        raise ImportRefused(str(error)) from error
    return candles.select(CANDLE_SCHEMA.names()).cast(CANDLE_SCHEMA).sort("symbol", "open_time_us")


def _check_venue(table: FileTable, venue: str) -> None:
    if "exchange" in table.rows.columns:
        other = ~table.rows["exchange"].is_in([venue, f"{venue}_spot"])
        table.refuse(other, "exchange", f"was {{value}}, not {venue}; name the venue with --venue")


def _check_symbol(table: FileTable, symbol: str | None) -> None:
    if symbol is not None and "symbol" in table.rows.columns:
        names = table.rows["symbol"]
        wanted = letters_and_digits(symbol)
        alike = [name for name in names.drop_nulls().unique() if letters_and_digits(name) == wanted]
        table.refuse(~names.is_in(alike), "symbol", f"was {{value}}, not {symbol}; leave --symbol out, or the row")


def _check_times(table: FileTable, candles: pl.DataFrame, interval_us: int, now_us: int) -> None:
    name = interval_name(interval_us)
    times_us = candles["open_time_us"]
    repeated = ~candles.select(pl.struct("symbol", "open_time_us").is_first_distinct()).to_series()
    table.refuse(times_us % interval_us != 0, "open_time", f"{{value}} is not on the {name} grid")
    table.refuse(repeated, "open_time", "{value} is there twice for this symbol; remove one of the rows")
    steps_us = candles.sort("symbol", "open_time_us").select(pl.col("open_time_us").diff().over("symbol")).to_series()
    closest_us = steps_us.min()
    if isinstance(closest_us, int) and closest_us != interval_us:
        raise ImportRefused(
            f"{table.path}: its rows are {interval_name(closest_us)} apart, not {name}; take a file of {name} klines "
            "or set bars.interval"
        )
    unfinished = times_us + interval_us > now_us
    table.refuse(unfinished, "open_time", f"{{value}} begins a {name} bar that is not over yet; remove the row")
