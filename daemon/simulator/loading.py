"""Loads files of bars as exact integers; refuses bars that cannot be replayed, notes estimated values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import polars as pl

from daemon.errors import DataFault
from daemon.simulator.market_data import PRICES, MarketData, RecordedSeries
from daemon.simulator.reconstruct import MAX_RECORDS, BarFigures, needed_records, record_count
from daemon.timestamps import iso
from features.symbols import letters_and_digits, spell, why_not_split
from features.times import ACCEPTED_TIMES, time_us
from models.table_files import FileTable, is_table_file, read_table

SAMPLE = Path(__file__).parent / "sample"
SIZES = ("volume", "taker_buy_volume")
QUOTES = ("quote_volume", "taker_buy_quote_volume")
COLUMNS = ("symbol", "open_time", *PRICES, *SIZES, *QUOTES, "trades")
_FINEST_DECIMALS = 8
# Prices below a ten-thousandth keep five digits, so that a coin at 1e-9 is not replayed at 0.
_SMALL_PRICE, _SMALL_PRICE_DIGITS, _FINEST_PRICE_DECIMALS = 1e-4, 5, 16
# Sums of price times size stay in int64, with room for a few bars added up.
_LARGEST_QUOTE = 2.0**61


def load_sample() -> MarketData:
    """The shipped sample: 20 months of hourly BTC, ETH and SOL bars."""
    return load(SAMPLE)


def load(path: Path) -> MarketData:
    """Bars from a Parquet or CSV file or a folder of them; raises DataFault where they cannot be replayed.

    Columns: symbol, open_time (see ``time_us``), open, high, low, close, volume, quote_volume, trades,
    taker_buy_volume, taker_buy_quote_volume. Symbols are cut to the span they share. The protocol has no
    "unknown", so a null in the last four is replaced by an estimate, and noted.
    """
    tables = _tables(path)
    interval_us = _interval(tables, path)
    start_us = max(int(table["open_time"][0]) for table in tables.values())
    end_us = min(int(table["open_time"][-1]) for table in tables.values()) + interval_us
    if start_us >= end_us:
        raise DataFault(f"the symbols in {path} share no span of time: {', '.join(sorted(tables))}")
    grid = pl.DataFrame({"open_time": np.arange(start_us, end_us, interval_us)})
    notes: list[str] = []
    series = {}
    for symbol in sorted(tables):
        on_grid = grid.join(tables[symbol], on="open_time", how="left", maintain_order="left")
        recorded = _series(symbol, on_grid, notes)
        _refuse_impossible(recorded, start_us, interval_us)
        series[recorded.symbol] = recorded
    return MarketData(start_us, interval_us, MappingProxyType(series), tuple(notes))


def _tables(path: Path) -> dict[str, pl.DataFrame]:
    files = sorted(filter(is_table_file, path.iterdir())) if path.is_dir() else [path]
    if not files:
        raise DataFault(f"{path} holds no .parquet or .csv file")
    rows = pl.concat([_read(file) for file in files])
    if rows.is_empty():
        raise DataFault(f"{path} holds no bars")
    return {str(symbol): table.sort("open_time") for (symbol,), table in rows.group_by("symbol")}


def _read(file: Path) -> pl.DataFrame:
    try:
        table = read_table(file)
        table.require(COLUMNS)
        symbols = _symbols(table)
        times = time_us(table.rows["open_time"])
        table.refuse(times.is_null(), "open_time", f"was {{value}}, which is no time; {ACCEPTED_TIMES}")
    except ValueError as error:
        raise DataFault(str(error)) from error
    try:
        return table.rows.select(
            symbols,
            times.alias("open_time"),
            # A float's shortest spelling is the decimal that was published; its binary value is not.
            *(
                pl.col(name).cast(pl.String).cast(pl.Decimal(38, _FINEST_PRICE_DECIMALS))
                for name in (*PRICES, *SIZES, *QUOTES)
            ),
            pl.col("trades").cast(pl.Int64),
            present=pl.lit(value=True),
        )
    except pl.exceptions.PolarsError as error:
        raise DataFault(f"{file}: a column cannot be read as numbers: {str(error).splitlines()[0]}") from error


def _symbols(table: FileTable) -> pl.Series:
    """The symbols of the rows as BASE-QUOTE."""
    table.refuse(table.rows["symbol"].is_null(), "symbol", "{value}")
    spellings = {name: spell(name) for name in table.rows["symbol"].cast(pl.String).unique()}
    for name, spelling in spellings.items():
        if spelling is None:
            raise DataFault(f"{table.path}: symbol {name!r} {why_not_split(name)}; write BASE-QUOTE, e.g. BTC-USDT")
    return table.rows["symbol"].cast(pl.String).replace_strict(spellings, return_dtype=pl.String)


def _interval(tables: Mapping[str, pl.DataFrame], path: Path) -> int:
    opens = [table["open_time"].to_numpy() for table in tables.values()]
    steps = np.concatenate([np.diff(times) for times in opens])
    if not len(steps):
        raise DataFault(f"{path} holds one bar a symbol, needs two or more")
    interval_us = int(steps.min())
    if interval_us <= 0 or any((times % interval_us).any() for times in opens):
        raise DataFault(f"the open times in {path} are not unique and on one grid of {interval_us} us")
    return interval_us


def _series(spelling: str, table: pl.DataFrame, notes: list[str]) -> RecordedSeries:
    symbol = letters_and_digits(spelling)  # as Binance writes it
    price_decimals = _price_decimals(symbol, table, notes)
    size_decimals = _size_decimals(symbol, table, price_decimals, notes)
    places = dict.fromkeys(PRICES, price_decimals) | dict.fromkeys(SIZES, size_decimals)
    places |= dict.fromkeys(QUOTES, price_decimals + size_decimals)
    scaled = pl.DataFrame([_scaled(table[name], decimals) for name, decimals in places.items()] + [table["trades"]])
    present = table["present"].fill_null(value=False)
    filled = _without_nulls(scaled, present, symbol, notes)
    columns = {name: filled[name].to_numpy().copy() for name in BarFigures._fields}
    for column in columns.values():
        column.setflags(write=False)
    base, _, quote = spelling.partition("-")
    return RecordedSeries(
        symbol=symbol,
        base=base,
        quote=quote,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        present=present.to_numpy().copy(),
        **columns,
    )


def _price_decimals(symbol: str, table: pl.DataFrame, notes: list[str]) -> int:
    lowest = min((low for name in PRICES if isinstance(low := table[name].cast(pl.Float64).min(), float)), default=0.0)
    if lowest <= 0:
        raise DataFault(f"{symbol} has a price of {lowest:g}; leave that span out")
    finest = _FINEST_DECIMALS
    if lowest < _SMALL_PRICE:
        finest = min(_SMALL_PRICE_DIGITS - 1 - math.floor(math.log10(lowest)), _FINEST_PRICE_DECIMALS)
    wanted = max(_decimals(table[name], finest) for name in PRICES)
    largest = (table["volume"].cast(pl.Float64) * table["high"].cast(pl.Float64)).max()
    decimals = wanted
    while decimals and isinstance(largest, float) and largest * 10.0**decimals > _LARGEST_QUOTE:
        decimals -= 1
    if round(lowest * 10.0**decimals) == 0:
        raise DataFault(
            f"{symbol} has a price of {lowest:g} and volumes that are too large to replay; leave that span out"
        )
    if decimals < wanted:
        notes.append(f"{symbol}: prices were rounded to {decimals} decimals")
    return decimals


def _size_decimals(symbol: str, table: pl.DataFrame, price_decimals: int, notes: list[str]) -> int:
    wanted = max(_decimals(table[name], _FINEST_DECIMALS) for name in SIZES)
    largest = (table["volume"].cast(pl.Float64) * table["high"].cast(pl.Float64)).max()
    if not isinstance(largest, float):
        raise DataFault(f"{symbol} has no bar with a price and a volume")
    decimals = wanted
    while decimals and largest * 10.0 ** (price_decimals + decimals) > _LARGEST_QUOTE:
        decimals -= 1
    if decimals < wanted:
        notes.append(f"{symbol}: volumes were rounded to {decimals} decimals")
    return decimals


def _decimals(column: pl.Series, finest: int) -> int:
    """Decimals in use, at most ``finest``."""
    fractions = column.drop_nulls().cast(pl.String).str.split(".").list.last().str.strip_chars_end("0")
    longest = fractions.str.len_chars().max()
    return min(longest, finest) if isinstance(longest, int) else 0


def _scaled(column: pl.Series, decimals: int) -> pl.Series:
    """The column times ``10**decimals``, rounded to integers without going through a float."""
    digits = column.round(decimals).cast(pl.Decimal(38, decimals)).cast(pl.String)
    scaled = digits.str.replace(".", "", literal=True).cast(pl.Int64, strict=False)
    if scaled.null_count() > column.null_count():
        raise DataFault(f"{column.name} has values too large to replay")
    return scaled


def _without_nulls(table: pl.DataFrame, present: pl.Series, symbol: str, notes: list[str]) -> pl.DataFrame:
    """Missing rows as flat empty bars; unknown figures of a row are estimated from the known ones."""
    unknown = dict(zip(table.columns, table.filter(present).null_count().row(0), strict=True))
    if any(unknown[name] for name in (*PRICES, "volume")):
        raise DataFault(f"{symbol} has bars without a price or a volume")
    notes += [f"{symbol}: {name} is unknown in {bars} bars and invented" for name, bars in unknown.items() if bars]
    typical = (pl.col("open") + pl.col("high") + pl.col("low") + pl.col("close")) // 4
    half = pl.col("volume") // 2
    empty = pl.col("volume") == 0
    share = pl.col("taker_buy_volume") / pl.col("volume")
    return (
        table.with_columns(pl.col("close").forward_fill(), pl.col("volume").fill_null(0))
        .with_columns(pl.col(name).fill_null(pl.col("close")) for name in PRICES)
        .with_columns(
            pl.col("quote_volume").fill_null(pl.col("volume") * typical),
            pl.col("trades").fill_null(pl.min_horizontal("volume", pl.lit(MAX_RECORDS))),
            pl.col("taker_buy_volume").fill_null(half),
        )
        .with_columns(
            pl.col("taker_buy_quote_volume").fill_null(
                pl.when(empty).then(0).otherwise((pl.col("quote_volume") * share).cast(pl.Int64, strict=False))
            )
        )
    )


def _refuse_impossible(series: RecordedSeries, start_us: int, interval_us: int) -> None:
    """Raises DataFault for the first bar that no sequence of trades could have made."""
    highest = np.maximum(series.open, series.close)
    lowest = np.minimum(series.open, series.close)
    records = record_count(series.trades, series.volume)
    one_sided = (series.taker_buy_volume == 0) | (series.taker_buy_volume == series.volume)
    faults = {
        "an open or close outside its low and high": (series.low > lowest) | (series.high < highest),
        "more taker-buy volume than volume": (series.taker_buy_volume < 0) | (series.taker_buy_volume > series.volume),
        "trades without volume or volume without trades": (series.trades > 0) != (series.volume > 0),
        "fewer trades than its prices need": (records > 0) & (records < needed_records(series)),
        "one trade with both a buying and a selling taker": (records == 1) & ~one_sided,
    }
    for fault, bars in faults.items():
        if bars.any():
            when = iso(start_us + int(np.argmax(bars)) * interval_us)
            raise DataFault(f"{series.symbol} at {when} has {fault}; leave that span out ({int(bars.sum())} such bars)")
