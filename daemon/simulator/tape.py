"""The simulated venue's trades by id and by time, reconstructed bar by bar on demand.

Ids are contiguous over the whole data: the numbers of records and raw trades of each bar are known without making
them, so a running sum finds the bar of an id.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from daemon.simulator.market_data import Integers, MarketData, RecordedSeries, Timeline
from daemon.simulator.reconstruct import Records, reconstruct, record_count

# A page of 1,000 trades spans five bars; making a bar again takes half a millisecond, keeping it 70 kB.
_CACHED_BARS = 128


class TapeTrade(NamedTuple):
    """One aggregate trade. price and size in ticks and lots; first_id..last_id are the raw trades merged.

    place: the number of older trades in its bar.
    """

    id: int
    price: int
    size: int
    first_id: int
    last_id: int
    time_ms: int
    buyer_is_maker: bool
    place: int


class _Ids(NamedTuple):
    """First aggregate and first raw id of every bar, with one entry more for the end."""

    aggregate: Integers
    raw: Integers


class Tape:
    """All trades of the data, on the venue's timeline."""

    def __init__(self, data: MarketData, timeline: Timeline) -> None:
        self.data = data
        self.timeline = timeline
        self._ids = {symbol: _number(series) for symbol, series in data.series.items()}
        self._bars: OrderedDict[tuple[str, int], tuple[TapeTrade, ...]] = OrderedDict()

    @property
    def end_us(self) -> int:
        """When the last bar is over."""
        return self.timeline.open_us(len(self.data))

    def empty(self, symbol: str, index: int) -> None:
        """Removes the trades of one bar; later ids shift, so it must not have begun."""
        self.data = self.data.with_empty_bar(symbol, index)
        self._ids[symbol] = _number(self.data.series[symbol])
        self._bars.clear()

    def bar(self, symbol: str, index: int) -> tuple[TapeTrade, ...]:
        """The trades of one bar, oldest first; cached, because pages and candles read them repeatedly."""
        key = (symbol, index)
        if key in self._bars:
            self._bars.move_to_end(key)
            return self._bars[key]
        trades = self._made(symbol, index)
        self._bars[key] = trades
        if len(self._bars) > _CACHED_BARS:
            self._bars.popitem(last=False)
        return trades

    def records(self, symbol: str, first: int, last: int) -> int:
        """How many aggregate trades the bars from ``first`` up to and without ``last`` hold."""
        ids = self._ids[symbol].aggregate
        return int(ids[last] - ids[first])

    def from_id(self, symbol: str, first_id: int, limit: int, until_us: int) -> list[TapeTrade]:
        """Trades with that id or a later one that have happened at ``until_us``, oldest first."""
        start = bisect_right(self._ids[symbol].aggregate, first_id) - 1
        upwards = (trade for trade in self._from_bar(symbol, max(start, 0), until_us) if trade.id >= first_id)
        return list(islice(upwards, limit))

    def between(self, symbol: str, start_ms: int, end_ms: int, limit: int, until_us: int) -> list[TapeTrade]:
        """Trades from ``start_ms`` to ``end_ms``, both included, oldest first."""
        return list(islice(self.upwards(symbol, start_ms, min(until_us, end_ms * 1000)), limit))

    def latest(self, symbol: str, limit: int, until_us: int) -> list[TapeTrade]:
        """The last trades that have happened at ``until_us``, oldest first."""
        return list(islice(self.downwards(symbol, until_us), limit))[::-1]

    def upwards(self, symbol: str, start_ms: int, until_us: int) -> Iterator[TapeTrade]:
        """Trades from ``start_ms`` on that have happened at ``until_us``, oldest first."""
        start = self.timeline.index_at(start_ms * 1000)
        return (trade for trade in self._from_bar(symbol, max(start, 0), until_us) if trade.time_ms >= start_ms)

    def downwards(self, symbol: str, until_us: int, *, below_id: int | None = None) -> Iterator[TapeTrade]:
        """Trades with an id below ``below_id`` that have happened at ``until_us``, newest first."""
        index = min(self.timeline.index_at(until_us), len(self.data) - 1)
        if below_id is not None:
            index = min(index, bisect_left(self._ids[symbol].aggregate, below_id) - 1)
        for at in range(index, -1, -1):
            for trade in reversed(_until(self.bar(symbol, at), until_us)):
                if below_id is None or trade.id < below_id:
                    yield trade

    def _from_bar(self, symbol: str, index: int, until_us: int) -> Iterator[TapeTrade]:
        last = min(self.timeline.index_at(until_us), len(self.data) - 1)
        for at in range(index, last + 1):
            yield from _until(self.bar(symbol, at), until_us)

    def _made(self, symbol: str, index: int) -> tuple[TapeTrade, ...]:
        # Seeded by what the bar is, not by when it is played: a retimed bar makes the same trades.
        rng = np.random.default_rng([zlib.crc32(symbol.encode()), self.data.open_us(index)])
        records = reconstruct(self.data.series[symbol].figures(index), rng)
        ids = self._ids[symbol]
        return tuple(self._trades_of(records, int(ids.aggregate[index]), int(ids.raw[index]), index))

    def _trades_of(self, records: Records, aggregate_id: int, raw_id: int, index: int) -> Iterable[TapeTrade]:
        open_us, interval_us = self.timeline.open_us(index), self.timeline.interval_us
        times = (open_us + (records.moment * interval_us).astype(np.int64)) // 1000
        ends = raw_id + np.cumsum(records.raw_trades)
        return map(
            TapeTrade,
            range(aggregate_id, aggregate_id + len(times)),
            records.price.tolist(),
            records.size.tolist(),
            (ends - records.raw_trades).tolist(),
            (ends - 1).tolist(),
            times.tolist(),
            (~records.taker_buys).tolist(),
            range(len(times)),
        )


def _number(series: RecordedSeries) -> _Ids:
    records = record_count(series.trades, series.volume)
    return _Ids(1 + np.cumsum(np.concatenate([[0], records])), 1 + np.cumsum(np.concatenate([[0], series.trades])))


def _until(trades: tuple[TapeTrade, ...], until_us: int) -> tuple[TapeTrade, ...]:
    return trades[: bisect_left(trades, until_us // 1000 + 1, key=lambda trade: trade.time_ms)]
