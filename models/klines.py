"""Klines of a file as bars: column names, spellings, units and checks, the same for every command that reads bars."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from features.frames import BARS_SCHEMA, PRICES
from features.symbols import is_symbol, letters_and_digits, spell, why_not_split
from features.times import ACCEPTED_TIMES, time_us
from models.table_files import FileTable, TableRefused, read_table

AMOUNTS = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")

# The order of Binance's files without a header.
_BINANCE_COLUMNS = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
_OTHER_NAMES = {
    "venue": "exchange",
    "count": "trades",
    "number_of_trades": "trades",
    "quote_asset_volume": "quote_volume",
    "taker_buy_base_asset_volume": "taker_buy_volume",
    "taker_buy_quote_asset_volume": "taker_buy_quote_volume",
}
_GAP = "gap"  # Completeness.GAP, whose module is not imported where only networks are trained
_REQUIRED = ("open_time", *PRICES, "volume")


def read_klines(path: Path) -> FileTable:
    """The klines of one file: ``open_time`` in UTC, prices and amounts as numbers, in the file's order.

    Of the columns ``symbol`` and ``exchange`` (also called ``venue``) those that the file has are kept, as texts.
    ``complete`` is False where the file says that trades are missing (``completeness``, ``missing_trades``). A missing
    optional column, an empty field, a null and NaN are null, never zero. Raises TableRefused for a file without
    the required columns, and for the first value that is no number, no plausible time, no price above 0, no amount
    from 0 on, or outside low and high.
    """
    table = read_table(path, without_header=_BINANCE_COLUMNS).named(_OTHER_NAMES)
    table.require(_REQUIRED)
    kept = [pl.col(name).cast(pl.String) for name in ("symbol", "exchange") if name in table.rows.columns]
    numbers = [_number(table, name) for name in (*PRICES, *AMOUNTS)]
    klines = FileTable(path, table.rows.select(*kept, _open_times(table), _complete(table), *numbers), table.first_line)
    _check_values(klines)
    return klines


def spelled(table: FileTable, wanted: Iterable[str] = (), *, option: str) -> pl.Series:
    """The symbol of each row as BASE-QUOTE.

    wanted: names that the operator gave, which decide the spelling where their letters match; where there are any,
    other names are not split. A file without the column needs exactly one of them. option: where they are given.
    """
    given = {letters_and_digits(name): name for name in wanted if is_symbol(name)}
    if "symbol" not in table.rows.columns:
        if len(given) != 1:
            raise TableRefused(f"{table.path}: does not say which symbol it is; add {option} BASE-QUOTE")
        return pl.repeat(next(iter(given.values())), table.rows.height, eager=True).alias("symbol")
    names = table.rows["symbol"]
    table.refuse(names.is_null() | (names.str.strip_chars() == ""), "symbol", "is missing")
    spellings = {}
    for name in names.unique():
        spelling = given.get(letters_and_digits(name)) or spell(name)
        if spelling is None and not given:
            cure = f"name it with {option} BASE-QUOTE"
            table.refuse(names == name, "symbol", f"{{value}} {why_not_split(name)}; {cure}")
        spellings[name] = spelling or name
    return names.replace_strict(spellings, return_dtype=pl.String)


def _complete(table: FileTable) -> pl.Expr:
    """Whether no trade is known to be missing, as ``Bar.is_complete``; klines of other sources do not say and are."""
    incomplete = pl.lit(value=False)
    if "completeness" in table.rows.columns:
        incomplete = incomplete | (pl.col("completeness").cast(pl.String) == _GAP)
    if "missing_trades" in table.rows.columns:
        incomplete = incomplete | (pl.col("missing_trades").cast(pl.Int64, strict=False) > 0)
    return (~incomplete).fill_null(value=True).alias("complete")


def _number(table: FileTable, name: str) -> pl.Series:
    kind = BARS_SCHEMA[name]
    if name not in table.rows.columns:
        return pl.Series(name, [None], dtype=kind).new_from_index(0, table.rows.height)
    column = table.rows[name]
    given = column.is_not_null()
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        given = column != ""
    elif not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise TableRefused(f"{table.path}: column {name}: is {column.dtype}; write numbers")
    # Some files write counts as 171.0, which only parses as a float.
    numbers = column.cast(pl.Float64, strict=False)
    fault = "was {value}, which is not a number; write a number, or nothing where it is unknown"
    table.refuse(given & numbers.is_null(), name, fault)
    numbers = numbers.fill_nan(None)
    if kind == pl.Int64:
        broken = numbers.is_infinite() | (numbers != numbers.round())
        table.refuse(broken, name, "was {value}; write a whole number")
    return numbers.cast(kind, strict=False)


def _open_times(table: FileTable) -> pl.Series:
    try:
        times = time_us(table.rows["open_time"])
    except ValueError as error:
        raise TableRefused(f"{table.path}: column open_time: {error}") from error
    table.refuse(times.is_null(), "open_time", f"was {{value}}, which is no time; {ACCEPTED_TIMES}")
    return times.cast(pl.Datetime("us", "UTC"))


def _check_values(klines: FileTable) -> None:
    rows = klines.rows
    for name in PRICES:
        price = rows[name]
        klines.refuse(~(price.is_finite() & (price > 0)), name, "was {value}, which is not a price above 0")
    for name in AMOUNTS:
        amount = rows[name].cast(pl.Float64)
        klines.refuse(~(amount.is_finite() & (amount >= 0)), name, "was {value}, which is negative or not finite")
    for name in ("open", "close"):
        outside = (rows[name] < rows["low"]) | (rows[name] > rows["high"])
        klines.refuse(outside, name, "was {value}, which lies outside low and high")
