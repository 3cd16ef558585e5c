"""Tables of trades: Parquet or CSV files with one trade per row, gzipped or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from daemon.exchanges import venue
from daemon.exchanges.base import Ids
from daemon.recordings.base import RecordedTrades, Recording, RecordingRefused
from features.market import Trade
from features.symbols import is_symbol, letters_and_digits, spell, why_not_split
from features.times import ACCEPTED_TIMES, time_us
from models.table_files import FileTable, TableRefused, read_table

_COLUMNS = ("trade_id", "ts", "price", "size", "side")
_RANGE = ("first_id", "last_id")
_SIDES = ("buy", "sell")
_LARGEST = 1e30  # a price or size; the sums of products of larger ones are not finite
_MOST_BEHIND_US = 60_000_000
_INTEGER = r"^([0-9]{1,19})(?:\.0*)?$"


def read_trades(file: Path, *, venue_name: str, symbol: str | None) -> Recording:
    """Opens a table of trades, restricted to ``symbol`` if given. Raises RecordingRefused.

    Rows may be in any order. They are replayed in the order of their receipt (``recv_ts``) where the file has that,
    else of their ids where those are contiguous, else of their times.
    """
    try:
        table = read_table(file).named({})
        table.require(_COLUMNS)
        trades = _trades(table, symbol, venue(venue_name, None).ids)
    except TableRefused as error:
        raise RecordingRefused(str(error)) from error
    return Recording(tuple(trades["symbol"].unique(maintain_order=True)), lambda: _recorded(trades))


def _recorded(trades: pl.DataFrame) -> Iterator[RecordedTrades]:
    for symbol, *trade in trades.select("symbol", "trade_id", "ts", "price", "size", "bought", "count").iter_rows():
        yield RecordedTrades(symbol, [Trade(*trade)])


def _trades(table: FileTable, symbol: str | None, ids: Ids) -> pl.DataFrame:
    """The columns of ``_recorded`` in the order of the replay. Raises TableRefused for the first invalid row."""
    for name in _COLUMNS:
        table.refuse(_is_missing(table.rows[name]), name, "{value}")
    side = table.rows["side"].cast(pl.String)
    table.refuse(~side.is_in(_SIDES), "side", "was {value}; write buy or sell, the taker's side")
    trades = pl.DataFrame(
        [
            _symbols(table, symbol).alias("symbol"),
            _ids(table, ids).alias("trade_id"),
            _times(table, "ts").alias("ts"),
            _amounts(table, "price"),
            _amounts(table, "size"),
            (side == "buy").alias("bought"),
            _counts(table).alias("count"),
        ]
    ).with_row_index("row")
    if "recv_ts" in table.rows.columns:
        trades = trades.with_columns(_times(table, "recv_ts").alias("received"))
    if symbol is not None:
        trades = trades.filter(pl.col("symbol") == symbol)
    _refuse_contradictions(table, trades)
    return _ordered(table, trades, ids)


def _is_missing(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        return column.is_null() | (column.str.strip_chars() == "")
    return column.is_null()


def _times(table: FileTable, name: str) -> pl.Series:
    try:
        times = time_us(table.rows[name])
    except ValueError as error:
        raise TableRefused(f"{table.path}: column {name}: {error}") from error
    table.refuse(times.is_null(), name, f"was {{value}}, which is no time; {ACCEPTED_TIMES}")
    return times


def _amounts(table: FileTable, name: str) -> pl.Series:
    column = table.rows[name]
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    elif not column.dtype.is_numeric():
        raise TableRefused(f"{table.path}: column {name}: is {column.dtype}; write numbers")
    numbers = column.cast(pl.Float64, strict=False)
    good = ((numbers > 0) & (numbers < _LARGEST)).fill_null(value=False)
    table.refuse(~good, name, f"was {{value}}; write a number above 0 and below {_LARGEST:g}")
    return numbers


def _ids(table: FileTable, ids: Ids) -> pl.Series:
    """Trade ids as integers. Text ids are hashed, except where ids are contiguous, which must be integers."""
    column = table.rows["trade_id"]
    if column.dtype == pl.String:
        texts = column.str.strip_chars()
        numbers = texts.str.extract(_INTEGER, 1).cast(pl.Int64, strict=False)
        if ids is not Ids.CONTIGUOUS and numbers.null_count():
            return texts.hash() // 2  # 63 bits
    elif column.dtype.is_float():
        whole = pl.select(pl.when(column == column.floor()).then(column)).to_series()
        numbers = whole.cast(pl.Int64, strict=False)
    elif column.dtype.is_integer() or column.dtype.is_decimal():
        numbers = column.cast(pl.Int64, strict=False)
    else:
        raise TableRefused(f"{table.path}: column trade_id: is {column.dtype}; write the venue's ids")
    good = (numbers >= 0).fill_null(value=False)
    table.refuse(~good, "trade_id", "was {value}; the venue's ids are integers from 0 on")
    return numbers


def _counts(table: FileTable) -> pl.Series:
    """How many raw trades each row holds."""
    if not set(_RANGE) <= set(table.rows.columns):
        return pl.repeat(1, table.rows.height, dtype=pl.Int64, eager=True)
    first, last = (table.rows[name].cast(pl.Float64, strict=False).cast(pl.Int64, strict=False) for name in _RANGE)
    counts = last - first + 1
    table.refuse(~(counts > 0).fill_null(value=False), "last_id", "was {value}; write an integer from first_id on")
    return counts


def _symbols(table: FileTable, symbol: str | None) -> pl.Series:
    """The symbol of each row as BASE-QUOTE; where ``symbol`` is given, other symbols as they are in the file."""
    if "symbol" not in table.rows.columns:
        if symbol is None or not is_symbol(symbol):
            raise TableRefused(f"{table.path}: has no symbol column; name the symbol with --symbol BASE-QUOTE")
        return pl.repeat(symbol, table.rows.height, eager=True)
    table.refuse(_is_missing(table.rows["symbol"]), "symbol", "{value}")
    names = table.rows["symbol"].cast(pl.String)
    found = sorted(names.unique())
    if symbol is not None:
        alike = [name for name in found if letters_and_digits(name) == letters_and_digits(symbol)]
        if not alike:
            raise TableRefused(f"{table.path}: holds no {symbol}; the symbols in it: {', '.join(found)}")
        return names.replace(dict.fromkeys(alike, symbol))
    spellings = {}
    for name in found:
        spelling = name if is_symbol(name) else spell(name)
        if spelling is None:
            fault = f"{{value}} {why_not_split(name)}; name it with --symbol BASE-QUOTE"
            table.refuse(names == name, "symbol", fault)
        spellings[name] = spelling
    return names.replace_strict(spellings, return_dtype=pl.String)


def _refuse_contradictions(table: FileTable, trades: pl.DataFrame) -> None:
    """A row may be repeated; two different trades with one id would be taken for one. Times may differ in precision."""
    first = pl.all().first().over("symbol", "trade_id")
    firsts = trades.select(first)
    other = (trades["ts"] - firsts["ts"]).abs() > 1_000_000
    for name in ("price", "size", "bought"):
        other |= trades[name] != firsts[name]
    if other.any():
        index = int(other.arg_true()[0])
        row, before = table.place(trades["row"][index]), table.place(firsts["row"][index])
        raise TableRefused(
            f"{table.path}: {row}: has the trade_id of {before}, {trades['trade_id'][index]}, and is another trade; "
            "every trade needs its own id"
        )


def _ordered(table: FileTable, trades: pl.DataFrame, ids: Ids) -> pl.DataFrame:
    if trades["ts"][0] > trades["ts"][-1]:
        trades = trades.reverse()  # newest first: rows of the same time, too
    if ids is Ids.CONTIGUOUS:
        trades = trades.sort("trade_id", maintain_order=True)
        trades = trades.with_columns(passed=pl.col("ts").cum_max().over("symbol"))
        behind = trades.filter(pl.col("ts") < pl.col("passed") - _MOST_BEHIND_US)
        if not behind.is_empty():
            row, trade_id = behind.sort("row").select("row", "trade_id").row(0)
            raise TableRefused(
                f"{table.path}: {table.place(row)}: trade_id {trade_id} is over a minute earlier than trades with "
                "smaller ids; ids of this venue rise with time: correct the row, or --venue"
            )
        order = "passed"
    else:
        order = "ts"
    return trades.sort("received" if "received" in trades.columns else order, maintain_order=True)
