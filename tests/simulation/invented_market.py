"""A market for simulated daemons: cheap bars of a few invented trades, quiet ones and empty ones among them."""

from __future__ import annotations

import random
from types import MappingProxyType

import numpy as np

from daemon.simulator.market_data import MarketData, RecordedSeries
from daemon.simulator.reconstruct import BarFigures
from tests.daemon.simulator.bars import HOUR_US, START_US, bar_of, series_of

_REGIMES = (0, 2, 4, 12, 30)  # mean trades of a bar
_CHANGES = 0.1
_LIVELY = 12


def invented_market(rng: random.Random, *, symbols: tuple[str, ...], history: int, bars: int) -> MarketData:
    """``symbols`` in Binance's spelling; the first ``history`` bars have trades enough for every forecaster."""
    series = {symbol: _series(rng, symbol, history, bars) for symbol in symbols}
    return MarketData(START_US, HOUR_US, MappingProxyType(series))


def _series(rng: random.Random, symbol: str, history: int, bars: int) -> RecordedSeries:
    numbers = np.random.default_rng(rng.getrandbits(64))
    made: list[BarFigures] = []
    mean, price = _LIVELY, 500_000
    for index in range(history + bars):
        if index >= history and rng.random() < _CHANGES:
            mean = rng.choice(_REGIMES)
        count = int(numbers.poisson(mean))
        if not count:
            made.append(BarFigures(price, price, price, price, 0, 0, 0, 0, 0))
            continue
        prices = (price + numbers.integers(-400, 401, count).cumsum()).clip(1).tolist()
        made.append(
            bar_of(prices, numbers.integers(1, 100_000, count).tolist(), (numbers.random(count) < 0.5).tolist())
        )
        price = prices[-1]
    return series_of(symbol, made)
