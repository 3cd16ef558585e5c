"""The market of one simulated instrument: its trades as they happen, and the truth of every bar."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from daemon.exchanges.base import Ids
from features.market import Trade, interval_start

TICKS_PER_UNIT = 100
LOTS_PER_UNIT = 1_000
# Mean seconds between trades in each regime of the market, and how often it is entered.
_REGIMES = ((0.4, 1), (2.0, 4), (15.0, 2), (120.0, 1))
_REGIME_S = 60.0


class TrueBar(NamedTuple):
    """What happened in one interval; prices in ticks, sizes in lots.

    opens, closes: the prices that may be first and last. They are several where trades share the first or the last
    moment and ids do not order them.
    """

    trades: int
    opens: frozenset[int]
    high: int | None
    low: int | None
    closes: frozenset[int]
    lots: int
    taker_lots: int


class Market:
    """Trades one after the other, with ids as the venue's trait has them.

    merges: whether some trades are fills of one order, which the stream delivers as one record.
    """

    def __init__(self, rng: random.Random, ids: Ids, *, interval_us: int, start_us: int, merges: bool = False) -> None:
        self.trades: list[Trade] = []
        self._rng = rng
        self._ids = ids
        self._merges = merges
        self.fills_left = 0  # of the order that the newest trade fills
        self._interval_us = interval_us
        self._next_us = start_us
        self._next_id = rng.randrange(1, 10**9)
        self._ticks = rng.randrange(1_000, 100_000)
        self._gap_s = 2.0
        self._regime_until_us = start_us
        self._by_interval: defaultdict[int, list[Trade]] = defaultdict(list)

    def next_trade(self) -> Trade:
        """The next trade, whose time is at or after that of the one before it."""
        rng = self._rng
        if self.fills_left:
            self.fills_left -= 1
            return self._add(self.trades[-1].price, self.trades[-1].taker_buys)
        if self._next_us >= self._regime_until_us:
            self._gap_s = rng.choices([gap for gap, _ in _REGIMES], [often for _, often in _REGIMES])[0]
            self._regime_until_us = self._next_us + int(rng.expovariate(1 / _REGIME_S) * 1e6)
        if rng.random() < 0.9:  # else several trades share one moment
            self._next_us += int(rng.expovariate(1 / self._gap_s) * 1e6)
        self._ticks = max(self._ticks + rng.randrange(-5, 6), 1)
        if self._merges and rng.random() < 0.3:
            self.fills_left = rng.randrange(1, 6)
        return self._add(self._ticks / TICKS_PER_UNIT, rng.random() < 0.5)

    def _add(self, price: float, taker_buys: bool) -> Trade:
        size = self._rng.randrange(1, 5_000) / LOTS_PER_UNIT
        trade = Trade(self._make_id(), self._next_us, price, size, taker_buys)
        self.trades.append(trade)
        self._by_interval[interval_start(trade.time_us, self._interval_us)].append(trade)
        return trade

    def truth(self, open_us: int) -> TrueBar:
        """The bar that opens at ``open_us``, computed in integers."""
        trades = self._by_interval.get(open_us, [])
        ticks = [round(trade.price * TICKS_PER_UNIT) for trade in trades]
        lots = [round(trade.size * LOTS_PER_UNIT) for trade in trades]
        taker_lots = sum(lot for lot, trade in zip(lots, trades, strict=True) if trade.taker_buys)
        if not trades:
            return TrueBar(0, frozenset(), None, None, frozenset(), 0, 0)
        opens, closes = {ticks[0]}, {ticks[-1]}
        if self._ids is Ids.IDENTITY:
            opens = {tick for tick, trade in zip(ticks, trades, strict=True) if trade.time_us == trades[0].time_us}
            closes = {tick for tick, trade in zip(ticks, trades, strict=True) if trade.time_us == trades[-1].time_us}
        return TrueBar(len(trades), frozenset(opens), max(ticks), min(ticks), frozenset(closes), sum(lots), taker_lots)

    def between(self, after_us: int, until_us: int) -> list[Trade]:
        """Trades with times in ``[after_us, until_us]``, oldest first."""
        first = bisect_left(self.trades, after_us, key=lambda trade: trade.time_us)
        return self.trades[first : bisect_left(self.trades, until_us + 1, key=lambda trade: trade.time_us)]

    def count_ids(self, ranges: Sequence[tuple[int | None, int | None]], *, open_us: int | None = None) -> int:
        """How many trades have ids in ``ranges``: all, or those of the interval that opens at ``open_us``."""
        if not ranges:
            return 0
        trades = self.trades if open_us is None else self._by_interval.get(open_us, [])
        return sum(
            first is not None and last is not None and first <= trade.trade_id <= last
            for trade in trades
            for first, last in ranges
        )

    def forget_before(self, time_us: int) -> None:
        """Drops trades and bars before ``time_us``, which no request can reach any more."""
        del self.trades[: bisect_left(self.trades, time_us, key=lambda trade: trade.time_us)]
        for open_us in [each for each in self._by_interval if each + self._interval_us < time_us]:
            del self._by_interval[open_us]

    def _make_id(self) -> int:
        if self._ids is Ids.IDENTITY:
            return self._rng.getrandbits(62)
        self._next_id += 1 if self._ids is Ids.CONTIGUOUS else self._rng.randrange(1, 50)
        return self._next_id
