"""Synthetic markets for tests: returns without direction, variance that clusters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from features.frames import BARS_SCHEMA
from features.windows import RecentBars
from models.history import FloatArray, regular_histories

HOUR_US = 3_600_000_000
START_US = 1_704_067_200_000_000  # 2024-01-01


def garch_prices(count: int, *, seed: int, minutes: int = 60) -> npt.NDArray[np.float64]:
    """(count, 4) open, high, low, close whose variance is persistent: high for days, low for days."""
    random = np.random.default_rng(seed)
    log_variance = np.empty(count)
    level = 0.0
    for index in range(count):
        level = 0.97 * level + 0.25 * random.standard_normal()
        log_variance[index] = level
    sigma = 0.005 * np.exp(log_variance / 2)
    steps = random.standard_normal((count, minutes)) * (sigma / np.sqrt(minutes))[:, None]
    path = np.cumsum(steps.ravel()).reshape(count, minutes)
    opens = np.concatenate([[0.0], path[:-1, -1]])
    highs, lows = np.maximum(path.max(axis=1), opens), np.minimum(path.min(axis=1), opens)
    prices: FloatArray = 100.0 * np.exp(np.stack([opens, highs, lows, path[:, -1]], axis=1))
    return prices


def garch_recent(count: int, *, seed: int) -> RecentBars:
    """One series on a regular hourly grid."""
    [recent] = regular_histories(garch_bars(count, ("BTC-USDT",), seed=seed), interval_us=HOUR_US).values()
    return recent


def garch_bars(count: int, symbols: tuple[str, ...] = ("BTC-USDT", "ETH-USDT"), *, seed: int = 1) -> pl.DataFrame:
    """A frame of bars, volumes included."""
    frames = []
    for index, symbol in enumerate(symbols):
        prices = garch_prices(count, seed=seed + index)
        random = np.random.default_rng(1000 + seed + index)
        volume = random.lognormal(3.0, 0.5, count)
        taker = volume * random.uniform(0.3, 0.7, count)
        columns = {
            "venue": ["binance"] * count,
            "symbol": [symbol] * count,
            "open_time_us": START_US + HOUR_US * np.arange(count),
            "open": prices[:, 0],
            "high": prices[:, 1],
            "low": prices[:, 2],
            "close": prices[:, 3],
            "volume": volume,
            "quote_volume": volume * prices[:, 3],
            "trades": random.integers(100, 1000, count),
            "taker_buy_volume": taker,
            "taker_buy_quote_volume": taker * prices[:, 3],
            "complete": [True] * count,
        }
        frames.append(pl.DataFrame(columns, schema=BARS_SCHEMA))
    return pl.concat(frames)
