"""Reads and validates files of klines (Parquet or CSV) as the candles that ``Ledger.import_bars`` stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from daemon.errors import EXIT_USAGE, Fatal
from daemon.intervals import interval_name
from daemon.store.bars import CANDLE_SCHEMA
from features.frames import PRICES
from features.symbols import QUOTE_CURRENCIES, is_symbol, spell

# The order of Binance's files without a header.
_BINANCE_COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
_OTHER_NAMES = {
    "venue": "exchange",
    "count": "trades",
    "number_of_trades": "trades",
    "quote_asset_volume": "quote_volume",
    "taker_buy_base_asset_volume": "taker_buy_volume",
    "taker_buy_quote_asset_volume": "taker_buy_quote_volume",
}
_REQUIRED = ("open_time", *PRICES, "volume")
_AMOUNTS = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
# The size of an open time gives its unit: milliseconds of 1973 to 5138 are smaller than any microseconds after 1973.
_FIRST_MILLISECOND, _FIRST_MICROSECOND, _LAST_MICROSECOND = 10**11, 10**14, 10**17


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
    quotes: Sequence[str] = QUOTE_CURRENCIES,
) -> pl.DataFrame:
    """Reads and checks one file of klines.

    The file holds Binance's 12 columns, with or without a header, or named columns; open times are in milliseconds
    or microseconds. A missing optional column, an empty field and a null are null, never zero.

    Args:
        interval_us: the interval that one row must cover.
        now_us: every row must have closed by then.
        venue: the venue of the klines; an ``exchange`` column must agree with it.
        symbol: BASE-QUOTE, for a file without a symbol column.
        quotes: the quote currencies by which a native name such as BTCUSDT is split.

    Returns:
        The columns of ``CANDLE_SCHEMA``, sorted by time for each symbol.

    Raises:
        ImportRefused: at the first fault.
    """
    raw, first_row = _read(path)
    frame = _numbers(path, raw.with_row_index("row", offset=first_row))
    frame = frame.with_columns(
        venue=pl.lit(_venue(path, frame, venue)),
        symbol=_symbol(path, frame, symbol, quotes),
        interval_us=pl.lit(interval_us, pl.Int64),
    )
    _check_values(path, frame)
    _check_times(path, frame, interval_us, now_us)
    return frame.select(CANDLE_SCHEMA.names()).cast(CANDLE_SCHEMA)


def _read(path: Path) -> tuple[pl.DataFrame, int]:
    """The file's columns under forecastd's names, and the number of its first data row, counted as an editor does."""
    try:
        raw, first_row = _read_csv(path) if ".csv" in path.suffixes else (_read_parquet(path), 1)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ImportRefused(f"{path}: cannot be read as Parquet or CSV: {str(error).splitlines()[0]}") from error
    if raw.is_empty():
        raise ImportRefused(f"{path}: holds no rows")
    renamed = {name: _OTHER_NAMES.get(name.strip().lower(), name.strip().lower()) for name in raw.columns}
    if len(set(renamed.values())) < len(renamed):
        raise ImportRefused(f"{path}: two columns mean the same; its columns are {', '.join(raw.columns)}")
    raw = raw.rename(renamed)
    absent = [name for name in _REQUIRED if name not in raw.columns]
    if absent:
        raise ImportRefused(f"{path}: lacks the columns {', '.join(absent)}; it has {', '.join(raw.columns)}")
    return raw, first_row


def _read_parquet(path: Path) -> pl.DataFrame:
    if path.suffix != ".parquet":
        raise ImportRefused(f"{path}: is neither .parquet nor .csv; unpack or convert it first")
    return pl.read_parquet(path)


def _read_csv(path: Path) -> tuple[pl.DataFrame, int]:
    raw = pl.read_csv(path, has_header=False, infer_schema=False)
    if raw.item(0, 0).strip().isdecimal():
        if raw.width != len(_BINANCE_COLUMNS):
            raise ImportRefused(
                f"{path}: has {raw.width} columns and no header; write a header or give Binance's 12 columns"
            )
        return raw.rename(dict(zip(raw.columns, _BINANCE_COLUMNS, strict=True))), 1
    return raw[1:].rename(dict(zip(raw.columns, raw.row(0), strict=True))), 2


def _numbers(path: Path, raw: pl.DataFrame) -> pl.DataFrame:
    """All columns as numbers; nulls and empty texts become null, anything else is refused."""
    columns = [_open_time(raw).alias("open_time_us")]
    for name in (*PRICES, *_AMOUNTS):
        kind = CANDLE_SCHEMA[name]
        columns.append(_number(raw, name, kind) if name in raw.columns else pl.lit(None, kind).alias(name))
    frame = raw.select(*(name for name in ("row", "symbol", "exchange") if name in raw.columns), *columns)
    for name in (*PRICES, *_AMOUNTS):
        if name in raw.columns:
            given = raw[name].cast(pl.String).str.strip_chars() != ""
            _refuse(path, frame, given & frame[name].is_null(), name, "is not a number")
    for name in ("open_time_us", *PRICES, "volume"):
        _refuse(path, frame, frame[name].is_null(), name.removesuffix("_us"), "is missing or not readable")
    return frame


def _number(raw: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if raw.schema[name] == pl.String:
        # Some files write counts as 171.0, which only parses as a float.
        column = column.str.strip_chars().cast(pl.Float64, strict=False)
    return column.cast(kind, strict=False)


def _open_time(raw: pl.DataFrame) -> pl.Expr:
    column, kind = pl.col("open_time"), raw.schema["open_time"]
    if isinstance(kind, pl.Datetime):
        return column.dt.epoch("us")
    if kind == pl.String:
        column = column.str.strip_chars()
    number = column.cast(pl.Int64, strict=False)
    return (
        pl.when(number.is_between(_FIRST_MILLISECOND, _FIRST_MICROSECOND, closed="left"))
        .then(number * 1_000)
        .when(number.is_between(_FIRST_MICROSECOND, _LAST_MICROSECOND, closed="left"))
        .then(number)
    )


def _venue(path: Path, frame: pl.DataFrame, venue: str) -> str:
    if "exchange" in frame.columns:
        other = ~frame["exchange"].is_in([venue, f"{venue}_spot"])
        _refuse(path, frame, other, "exchange", f"is not {venue}; a venue's history must be its own")
    return venue


def _symbol(path: Path, frame: pl.DataFrame, symbol: str | None, quotes: Sequence[str]) -> pl.Expr:
    """The symbol of each row as BASE-QUOTE: from the column ``symbol``, else from the argument."""
    if symbol is not None and not is_symbol(symbol):
        raise ImportRefused(f"--symbol was {symbol}; write {spell(symbol, quotes) or 'BASE-QUOTE, e.g. BTC-USDT'}")
    if "symbol" not in frame.columns:
        if symbol is None:
            raise ImportRefused(f"{path}: does not say which symbol it is; add --symbol BASE-QUOTE")
        return pl.lit(symbol)
    spelt = {native: spell(str(native), quotes) for native in frame["symbol"].unique()}
    unknown = [native for native, known in spelt.items() if known is None]
    _refuse(path, frame, frame["symbol"].is_in(unknown), "symbol", "has no quote currency that is known here")
    other = [native for native, known in spelt.items() if symbol not in (None, known)]
    _refuse(path, frame, frame["symbol"].is_in(other), "symbol", f"is not {symbol}; leave --symbol out")
    return pl.col("symbol").replace_strict(spelt, return_dtype=pl.String)


def _check_values(path: Path, frame: pl.DataFrame) -> None:
    for name in PRICES:
        _refuse(path, frame, ~(frame[name].is_finite() & (frame[name] > 0)), name, "is not a price above 0")
    for name in _AMOUNTS:
        _refuse(path, frame, ~(frame[name].is_finite() & (frame[name] >= 0)), name, "is negative or not finite")
    for name in ("open", "close"):
        outside = (frame[name] < frame["low"]) | (frame[name] > frame["high"])
        _refuse(path, frame, outside, name, "lies outside low and high")


def _check_times(path: Path, frame: pl.DataFrame, interval_us: int, now_us: int) -> None:
    name = interval_name(interval_us)
    times_us = frame["open_time_us"]
    _refuse(path, frame, times_us % interval_us != 0, "open_time", f"is not on the {name} grid")
    steps_us = frame.select(pl.col("open_time_us").diff().over("symbol")).to_series()
    _refuse(path, frame, steps_us == 0, "open_time", "is there twice for this symbol; remove one of the rows")
    _refuse(path, frame, steps_us < 0, "open_time", "is earlier than the row before; sort the file by time")
    closest_us = steps_us.min()
    if isinstance(closest_us, int) and closest_us != interval_us:
        raise ImportRefused(
            f"{path}: its rows are {interval_name(closest_us)} apart, not {name}; take a file of {name} klines "
            "or set bars.interval"
        )
    unfinished = times_us + interval_us > now_us
    _refuse(path, frame, unfinished, "open_time", f"begins a {name} bar that is not over yet; remove the row")


def _refuse(path: Path, frame: pl.DataFrame, bad: pl.Series, column: str, fault: str) -> None:
    """Raises ImportRefused at the first row where ``bad`` is true; null counts as false."""
    rows = bad.fill_null(value=False).arg_true()
    if len(rows):
        raise ImportRefused(f"{path}: row {frame['row'][rows[0]]}, column {column}: {fault}")
