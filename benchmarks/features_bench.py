"""Duration of feature rows: at one bar close of 3 and of 500 symbols, and for years of history at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from benchmarks.table import Row, row
from features.buffer import FeatureBuffer
from features.frames import BARS_SCHEMA
from features.market import HOUR_US, Bar, Completeness, Instrument
from features.table import feature_rows

VENUE = "binance"
CLOSE_ROWS = 770  # warm-up of the baselines and a window, as the live buffer holds


def run() -> list[Row]:
    """One row a figure: name, value, unit and its guide."""
    return [
        row("features of one bar close, 3 symbols", _newest_row_s(3, repeats=40) * 1e3, "ms", 15.0),
        row("buffer append of one bar close, 3 symbols", _append_s(3, repeats=40) * 1e3, "ms", 15.0),
        row("features of one bar close, 500 symbols", _newest_row_s(500, repeats=5), "s", 1.0),
        row("buffer append of one bar close, 500 symbols", _append_s(500, repeats=3), "s", 1.0),
        row("features of 10 symbols of 60,000 hours", _batch_s(10, 60_000), "s", 15.0),
    ]


def _median_s(action: Callable[[], object], repeats: int) -> float:
    action()
    durations = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        action()
        durations.append(time.perf_counter() - started_s)
    return statistics.median(durations)


def _newest_row_s(symbols: int, *, repeats: int) -> float:
    bars = _walks(symbols, CLOSE_ROWS)
    leaders = {VENUE: _symbol(0)}
    return _median_s(lambda: feature_rows(bars, interval_us=HOUR_US, leaders=leaders, last_rows=1), repeats)


def _append_s(symbols: int, *, repeats: int) -> float:
    bars = _walks(symbols, CLOSE_ROWS + repeats + 1)
    first_appended_us = CLOSE_ROWS * HOUR_US
    buffer = FeatureBuffer([Instrument(VENUE, _symbol(index)) for index in range(symbols)], interval_us=HOUR_US)
    buffer.load(bars.filter(pl.col("open_time_us") < first_appended_us))
    closes = iter([_bars_at(bars, first_appended_us + index * HOUR_US) for index in range(repeats + 1)])
    return _median_s(lambda: buffer.append(next(closes)), repeats)


def _batch_s(symbols: int, rows: int) -> float:
    bars = _walks(symbols, rows)
    return _median_s(lambda: feature_rows(bars, interval_us=HOUR_US, leaders={VENUE: _symbol(0)}), 1)


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
