"""Bars for the tests: seeded random walks, and real hourly bars if the shared data is available."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.frames import BARS_SCHEMA
from tests.paths import HOURLY

HOUR_US = 3_600_000_000
START_US = 1_704_067_200_000_000  # 2024-01-01T00:00:00Z


def random_walk(symbols: tuple[str, ...], rows: int, *, seed: int = 7, venue: str = "binance") -> pl.DataFrame:
    """``rows`` hourly bars of each symbol, with prices and volumes of very different magnitude."""
    random = np.random.default_rng(seed)
    market = random.normal(0, 0.004, rows)
    return pl.concat([_walk(random, market, symbol, 10.0 ** (4 - 3 * i), venue) for i, symbol in enumerate(symbols)])


def _walk(random: np.random.Generator, market: np.ndarray, symbol: str, price: float, venue: str) -> pl.DataFrame:
    rows = len(market)
    volatility = 0.003 * np.exp(0.5 * np.sin(np.arange(rows) / 30))
    close = price * np.exp(np.cumsum(0.7 * market + volatility * random.standard_t(4, rows)))
    opened = np.concatenate([[price], close[:-1]])
    high = np.maximum(opened, close) * np.exp(np.abs(random.normal(0, volatility)))
    low = np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, volatility)))
    volume = np.exp(random.normal(5, 1, rows)) / price
    taker = volume * random.uniform(0.3, 0.7, rows)
    return pl.DataFrame(
        {
            "venue": venue,
            "symbol": symbol,
            "open_time_us": START_US + np.arange(rows) * HOUR_US,
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "volume": volume,
            "quote_volume": volume * (high + low) / 2,
            "trades": random.integers(1, 5000, rows),
            "taker_buy_volume": taker,
            "taker_buy_quote_volume": taker * (high + low) / 2,
            "complete": True,
        },
        schema_overrides=BARS_SCHEMA,
    )


def real_hours(*symbols: str, rows: int | None = None) -> pl.DataFrame:
    """Binance's hours of symbols such as BTCUSDT, the newest ``rows`` of each; skips if they are not available."""
    if not HOURLY.is_dir():
        pytest.skip(f"the shared market data is not at {HOURLY}")
    frames = [pl.read_parquet(HOURLY / f"binance_{symbol}_1h.parquet") for symbol in symbols]
    return pl.concat([_as_bars(frame if rows is None else frame.tail(rows)) for frame in frames])


def _as_bars(frame: pl.DataFrame) -> pl.DataFrame:
    renamed = frame.with_columns(
        venue=pl.lit("binance"),
        symbol=pl.col("symbol").str.replace("USDT", "-USDT"),
        open_time_us=pl.col("open_time").dt.epoch("us"),
        complete=pl.lit(value=True),
    )
    return renamed.select(pl.col(name).cast(dtype) for name, dtype in BARS_SCHEMA.items())


def scale_of(rows: pl.DataFrame, feature: str) -> float:
    """The spread of a feature, the unit of tolerated differences; 1 if it does not vary."""
    spread = rows[feature].std()
    return spread if isinstance(spread, float) and spread > 1e-12 else 1.0
