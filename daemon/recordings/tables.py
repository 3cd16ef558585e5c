"""Tables of trades: Parquet or CSV files with one trade per row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from daemon.exchanges import venue
from daemon.exchanges.base import Ids
from daemon.recordings.base import RecordedTrades, Recording, RecordingRefused, letters_and_digits
from features.market import Trade
from features.symbols import is_symbol, spell

_COLUMNS = ("trade_id", "ts", "price", "size", "side")
_SIDES = ("buy", "sell")
_MILLISECONDS_END = 10**14  # integers below are milliseconds: 10**14 us is 1973


def read_table(file: Path, *, venue_name: str, symbol: str | None) -> Recording:
    """Opens a table of trades. Raises RecordingRefused.

    Rows of several symbols are ordered by receipt (``recv_ts``), or by trade time where that is missing.
    """
    table = _checked(file, _table(file), symbol)
    table = table.with_columns(trade_id=_integer_ids(file, table["trade_id"], venue(venue_name, None).ids))
    symbols = table["symbol"].unique(maintain_order=True).to_list()
    if len(symbols) > 1:
        table = table.sort("recv_ts" if "recv_ts" in table.columns else "ts", maintain_order=True)
    return Recording(tuple(symbols), lambda: _rows(table))


def _table(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, try_parse_dates=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecordingRefused(f"{file}: cannot be read as {file.suffix[1:]}: {str(error).splitlines()[0]}") from error


def _rows(table: pl.DataFrame) -> Iterator[RecordedTrades]:
    counts = (
        table["last_id"] - table["first_id"] + 1
        if {"first_id", "last_id"} <= set(table.columns)
        else pl.repeat(1, len(table), dtype=pl.Int64, eager=True)
    )
    columns = zip(
        table["symbol"],
        table["trade_id"],
        table["ts"],
        table["price"].cast(pl.Float64),
        table["size"].cast(pl.Float64),
        table["side"] == "buy",
        counts,
        strict=True,
    )
    for name, trade_id, time_us, price, size, bought, count in columns:
        yield RecordedTrades(name, [Trade(trade_id, time_us, price, size, bought, count)])


def _checked(file: Path, table: pl.DataFrame, symbol: str | None) -> pl.DataFrame:
    """The table with BASE-QUOTE symbols and times in microseconds. Raises RecordingRefused for invalid rows."""
    if absent := [name for name in _COLUMNS if name not in table.columns]:
        raise RecordingRefused(f"{file}: lacks the columns {', '.join(absent)}; it needs {', '.join(_COLUMNS)}")
    if table.is_empty():
        raise RecordingRefused(f"{file}: holds no trades")
    for name in _COLUMNS:
        if table[name].null_count():
            row = table[name].is_null().arg_true()[0] + 1
            raise RecordingRefused(f"{file}: row {row} has no {name}; every trade needs one")
    wrong = (~table["side"].is_in(_SIDES)) | (table["price"] <= 0) | (table["size"] <= 0)
    wrong |= ~table["price"].cast(pl.Float64).is_finite() | ~table["size"].cast(pl.Float64).is_finite()
    if wrong.any():
        row = wrong.arg_true()[0]
        raise RecordingRefused(f"{file}: row {row + 1} is invalid: {dict(table.row(row, named=True))}")
    return table.with_columns(symbol=_symbols(file, table, symbol), ts=_microseconds(file, table["ts"]))


def _integer_ids(file: Path, trade_ids: pl.Series, ids: Ids) -> pl.Series:
    """Trade ids as integers. Text ids are hashed, except where ids are contiguous, which must be integers."""
    if trade_ids.dtype.is_integer():
        return trade_ids
    numbers = trade_ids.cast(pl.Int64, strict=False)
    if not numbers.null_count():
        return numbers
    if ids is Ids.CONTIGUOUS or trade_ids.dtype != pl.String:
        row = numbers.is_null().arg_true()[0]
        raise RecordingRefused(f"{file}: row {row + 1} has trade_id {trade_ids[row]!r}; the venue's ids are integers")
    return trade_ids.hash() // 2  # 63 bits


def _symbols(file: Path, table: pl.DataFrame, symbol: str | None) -> pl.Expr:
    if "symbol" not in table.columns:
        if symbol is None or not is_symbol(symbol):
            raise RecordingRefused(f"{file}: has no symbol column; name the symbol with --symbol BASE-QUOTE")
        return pl.lit(symbol)
    names = sorted(table["symbol"].unique())
    if symbol is None:
        return pl.col("symbol").replace_strict({name: _base_quote(file, name) for name in names})
    if other := [name for name in names if letters_and_digits(name) != letters_and_digits(symbol)]:
        raise RecordingRefused(f"{file}: its symbol column says {', '.join(other)}, not {symbol}; leave --symbol out")
    return pl.lit(symbol)


def _base_quote(file: Path, name: str) -> str:
    spelled = name if is_symbol(name) else spell(name)
    if spelled is None:
        raise RecordingRefused(f"{file}: symbol {name!r} cannot be split into BASE-QUOTE; name it with --symbol")
    return spelled


def _microseconds(file: Path, times: pl.Series) -> pl.Series:
    if times.dtype == pl.Datetime:
        return times.dt.cast_time_unit("us").cast(pl.Int64)
    if not times.dtype.is_integer():
        raise RecordingRefused(f"{file}: ts is {times.dtype}; write times, or integers of milli- or microseconds")
    return times * 1000 if times.max() < _MILLISECONDS_END else times  # type: ignore[operator]  # no trade, no max
