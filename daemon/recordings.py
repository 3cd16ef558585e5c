"""Recorded trades from files: Parquet or CSV of trades, or raw captures of a venue's frames."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl
import structlog

from daemon.errors import EXIT_USAGE, DataFault, Fatal
from daemon.exchanges import venue
from daemon.exchanges.base import TradesMessage
from daemon.symbols import is_symbol, spell
from features.market import Trade

log = structlog.get_logger(__name__)

_COLUMNS = ("trade_id", "ts", "price", "size", "side")
_SIDES = ("buy", "sell")
_MILLISECONDS_END = 10**14  # integers below are milliseconds: 10**14 us is 1973
_MOST_TOLD = 5


class RecordingRefused(Fatal):
    """A file that cannot be replayed; the message names file, row or line, and the cure."""

    exit_code = EXIT_USAGE


class Recorded(NamedTuple):
    """Trades of one symbol that came together."""

    symbol: str
    trades: list[Trade]


class _Line(msgspec.Struct):
    """One line of a capture: what happened at ``ts``, receipt epoch seconds by the recorder's clock.

    ``data`` is a frame as a text; a bare frame of the combined stream has a ``data`` too, but an object.
    """

    dir: str = "recv"
    data: msgspec.Raw = msgspec.Raw()


def read(file: Path, *, venue_name: str, symbol: str | None) -> Iterator[Recorded]:
    """The trades of a file in the order in which they came.

    Parquet and CSV: trade_id, ts, price, size, side (buy | sell, the taker's), and a symbol column or ``symbol``.
    Other endings are captures, one JSON line each, as they are or gzipped. Raises RecordingRefused.
    """
    if not file.is_file():
        raise RecordingRefused(f"{file}: there is no such file")
    if file.suffix in (".parquet", ".csv"):
        return _rows(file, _table(file), symbol)
    return _frames(file, venue_name, symbol)


def _table(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file, try_parse_dates=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecordingRefused(f"{file}: cannot be read as {file.suffix[1:]}: {str(error).splitlines()[0]}") from error


def _rows(file: Path, table: pl.DataFrame, symbol: str | None) -> Iterator[Recorded]:
    table = _checked(file, table, symbol)
    if table["symbol"].n_unique() > 1:
        table = table.sort("recv_ts" if "recv_ts" in table.columns else "ts", maintain_order=True)
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
        yield Recorded(name, [Trade(trade_id, time_us, price, size, bought, count)])


def _checked(file: Path, table: pl.DataFrame, symbol: str | None) -> pl.DataFrame:
    """The table with BASE-QUOTE symbols and times in microseconds, or a RecordingRefused that says what is wrong."""
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
        raise RecordingRefused(f"{file}: row {row + 1} makes no sense: {dict(table.row(row, named=True))}")
    return table.with_columns(symbol=_symbols(file, table, symbol), ts=_microseconds(file, table["ts"]))


def _symbols(file: Path, table: pl.DataFrame, symbol: str | None) -> pl.Expr:
    if "symbol" not in table.columns:
        if symbol is None:
            raise RecordingRefused(f"{file}: has no symbol column; name the symbol with --symbol BASE-QUOTE")
        return pl.lit(symbol)
    names = sorted(table["symbol"].unique())
    if symbol is None:
        return pl.col("symbol").replace_strict({name: _spelled(file, name) for name in names})
    if other := [name for name in names if _bare(name) != _bare(symbol)]:
        raise RecordingRefused(f"{file}: its symbol column says {', '.join(other)}, not {symbol}; leave --symbol out")
    return pl.lit(symbol)


def _bare(name: str) -> str:
    """``BTC-USDT``, ``BTC/USDT`` and ``btcusdt`` alike."""
    return "".join(filter(str.isalnum, name)).upper()


def _spelled(file: Path, name: str) -> str:
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


def _frames(file: Path, venue_name: str, symbol: str | None) -> Iterator[Recorded]:
    frames = list(_received(file))
    named = _names_in(frame for _, frame in frames)
    if symbol is not None and _bare(symbol) not in named.symbols:
        found_here = ", ".join(sorted(filter(None, map(spell, named.symbols)))) or "none"
        raise RecordingRefused(f"{file}: holds no {symbol}; the symbols in it: {found_here}")
    spelling = {native: symbol if symbol and _bare(symbol) == native else spell(native) for native in named.symbols}
    wire = venue(venue_name, sorted(filter(None, spelling.values())))
    unread, found = 0, 0
    for number, frame in frames:
        try:
            message = wire.decode(frame)
        except DataFault as error:
            unread += 1
            if unread <= _MOST_TOLD:
                log.warning("frame_malformed", file=str(file), line=number, reason=str(error))
            continue
        if isinstance(message, TradesMessage) and symbol in (None, message.symbol):
            found += len(message.trades)
            yield Recorded(message.symbol, message.trades)
    if unread > _MOST_TOLD:
        log.warning("frames_malformed", file=str(file), frames=unread)
    if not found:
        kinds = f"but {', '.join(sorted(named.kinds))} frames" if named.kinds else "nor any other: is --venue right?"
        raise RecordingRefused(f"{file}: holds no aggTrade frame, which is what is read of {venue_name}, {kinds}")


def _received(file: Path) -> Iterator[tuple[int, str]]:
    """Line number and frame: captures with ``dir`` and ``data``, or ``<receive ns> <frame>``, or bare frames."""
    try:
        yield from _lines(file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise RecordingRefused(f"{file}: cannot be read as a capture: {error}") from error


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    decode = msgspec.json.Decoder(_Line).decode
    unpack = gzip.open if file.suffix == ".gz" else open
    with unpack(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            head, _, rest = line.strip().partition(" ")
            if head.isdecimal():
                yield number, rest
            elif head:
                try:
                    entry = decode(line)
                except msgspec.DecodeError as error:
                    raise RecordingRefused(f"{file}: line {number} is no capture line: {error}") from None
                if entry.dir == "recv":
                    data = bytes(entry.data)
                    yield number, msgspec.json.decode(data, type=str) if data.startswith(b'"') else line.strip()


class _Names(NamedTuple):
    """What a capture's frames name: symbols in the venue's spelling, and kinds of event."""

    symbols: set[str]
    kinds: set[str]


def _names_in(frames: Iterable[str]) -> _Names:
    decode = msgspec.json.Decoder(_Frame).decode
    names = _Names(set(), set())
    for frame in frames:
        try:
            combined = decode(frame)
        except (msgspec.DecodeError, RecursionError):
            continue  # told by the venue's own decoder, with its line
        for event in (combined, combined.data or _Event()):
            names.symbols.update(filter(None, [event.s]))
            names.kinds.update(filter(None, [event.e]))
    return names


class _Event(msgspec.Struct):
    """An event as far as it names its symbol and its kind."""

    s: str | None = None
    e: str | None = None


class _Frame(_Event):
    """A frame: a bare event, or one in the combined stream's wrapping."""

    data: _Event | None = None
