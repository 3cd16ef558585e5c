"""How long feature rows take: at one bar close of 3 to 2,000 symbols, and for years of history at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from benchmarks.table import Row, ratio, row
from features.buffer import FeatureBuffer
from features.frames import BARS_SCHEMA
from features.market import HOUR_US, Bar, Completeness, Instrument
from features.table import feature_rows

VENUE = "binance"
CLOSE_ROWS = 770  # warm-up of the baselines and a window, as the live buffer holds


def run() -> list[Row]:
    """One row a figure: name, value, unit, and the guide that it is read against."""
    return [*_closes(3, 2.0, 40), *_closes(500, 15.0, 7), *_closes(2000, 60.0, 3), _years()]


def _closes(symbols: int, guide_ms: float, repeats: int) -> list[Row]:
    """Appending a close to the live buffer, beside the Polars evaluator over the same bars, in turns."""
    bars = _walks(symbols, CLOSE_ROWS + repeats + 1)
    leaders = {VENUE: _symbol(0)}
    first_appended_us = CLOSE_ROWS * HOUR_US
    held = bars.filter(pl.col("open_time_us") < first_appended_us)
    buffer = FeatureBuffer([Instrument(VENUE, _symbol(index)) for index in range(symbols)], interval_us=HOUR_US)
    buffer.load(held)
    appended, by_polars = [], []
    for index in range(repeats + 1):
        close = _bars_at(bars, first_appended_us + index * HOUR_US)
        appended.append(_duration_s(lambda close=close: buffer.append(close)))  # type: ignore[misc]
        by_polars.append(_duration_s(lambda: feature_rows(held, interval_us=HOUR_US, leaders=leaders, last_rows=1)))
    append_s, polars_s = statistics.median(appended[1:]), statistics.median(by_polars[1:])
    return [
        row(f"features of one bar close, appended, {symbols:,} symbols", append_s * 1e3, "ms", guide_ms),
        row(f"the same row by the Polars evaluator, {symbols:,} symbols", polars_s * 1e3, "ms"),
        row(f"appended over Polars, {symbols:,} symbols", ratio(appended[1:], by_polars[1:]), "ratio"),
    ]


def _years() -> Row:
    return row("features of 10 symbols of 60,000 hours", _batch_s(10, 60_000), "s", 15.0)


def _duration_s(action: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    action()
    return time.perf_counter() - started_s


def _batch_s(symbols: int, rows: int) -> float:
    bars = _walks(symbols, rows)
    leaders = {VENUE: _symbol(0)}
    feature_rows(bars, interval_us=HOUR_US, leaders=leaders)
    return _duration_s(lambda: feature_rows(bars, interval_us=HOUR_US, leaders=leaders))


def _symbol(index: int) -> str:
    return f"{'BTC' if index == 0 else f'C{index:03}'}-USDT"


def _bars_at(bars: pl.DataFrame, open_time_us: int) -> list[Bar]:
    return [
        Bar(
            **{name: value for name, value in row.items() if name != "complete"},
            interval_us=HOUR_US,
            completeness=Completeness.PROVEN,
            known_at_us=open_time_us + HOUR_US,
        )
        for row in bars.filter(pl.col("open_time_us") == open_time_us).iter_rows(named=True)
    ]


def _walks(symbols: int, rows: int) -> pl.DataFrame:
    return pl.concat([_walk(index, rows) for index in range(symbols)]).sort("symbol", "open_time_us")


def _walk(index: int, rows: int) -> pl.DataFrame:
    random = np.random.default_rng(index)
    close = 100.0 * np.exp(np.cumsum(random.normal(0, 0.005, rows)))
    opened = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(opened, close) * np.exp(np.abs(random.normal(0, 0.003, rows)))
    low = np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, 0.003, rows)))
    volume = np.exp(random.normal(3, 1, rows))
    return pl.DataFrame(
        {
            "venue": VENUE,
            "symbol": _symbol(index),
            "open_time_us": np.arange(rows) * HOUR_US,
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "volume": volume,
            "quote_volume": volume * (high + low) / 2,
            "trades": random.integers(1, 5000, rows),
            "taker_buy_volume": volume * random.uniform(0.3, 0.7, rows),
            "taker_buy_quote_volume": volume * (high + low) / 4,
            "complete": True,
        },
        schema_overrides=BARS_SCHEMA,
    )
