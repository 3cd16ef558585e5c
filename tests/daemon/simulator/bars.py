"""Market data made from invented trades, so that every bar is one that trades can make."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from daemon.simulator.market_data import MarketData, RecordedSeries
from daemon.simulator.reconstruct import BarFigures

HOUR_US = 3_600_000_000
START_US = 1_760_000_400_000_000  # on the hour


def bar_of(prices: list[int], sizes: list[int], buys: list[bool]) -> BarFigures:
    """The bar that these trades add up to."""
    price, size, bought = np.array(prices), np.array(sizes), np.array(buys, dtype=bool)
    return BarFigures(
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=int(size.sum()),
        quote_volume=int(price @ size),
        trades=len(prices),
        taker_buy_volume=int(size[bought].sum()),
        taker_buy_quote_volume=int(price[bought] @ size[bought]),
    )


def random_bar(rng: np.random.Generator, *, trades: int = 40) -> BarFigures:
    prices = (500_000 + rng.integers(0, 4_000, trades)).tolist()
    return bar_of(prices, rng.integers(1, 100_000, trades).tolist(), (rng.random(trades) < 0.5).tolist())


def series_of(symbol: str, bars: list[BarFigures], *, present: list[bool] | None = None) -> RecordedSeries:
    columns = {name: np.array([getattr(bar, name) for bar in bars], dtype=np.int64) for name in BarFigures._fields}
    return RecordedSeries(
        symbol=symbol,
        base=symbol.removesuffix("USDT"),
        quote="USDT",
        price_decimals=2,
        size_decimals=4,
        present=np.array(present or [True] * len(bars)),
        **columns,
    )


def small_market(*, bars: int = 6, trades: int = 40, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> MarketData:
    """A few bars of each symbol, the same every time."""
    rng = np.random.default_rng(11)
    series = {symbol: series_of(symbol, [random_bar(rng, trades=trades) for _ in range(bars)]) for symbol in symbols}
    return MarketData(START_US, HOUR_US, MappingProxyType(series))
