"""Follows the clock bar by bar and emits the trades that are due, all symbols in the order of their times."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter

from daemon.simulator.market import Market
from daemon.simulator.tape import TapeTrade
from daemon.timestamps import MICROSECONDS_PER_SECOND

# Wall time between two steps of the player: short enough not to delay a bar's close, long enough to be cheap.
_SHORTEST_STEP_S = 0.01
_LONGEST_STEP_S = 0.05
# A jump of the clock makes whole bars due at once: the sockets drain after this many trades.
_LARGEST_BATCH = 500
# Making a bar takes half a millisecond a symbol, so the next is made ahead, a few symbols at a time.
_SYMBOLS_AT_ONCE = 4
_TRADES_PER_PART = 2_000

Due = tuple[str, TapeTrade]
_Timed = tuple[int, str, TapeTrade]
_time_ms = itemgetter(0)


class Player:
    """Sends each trade when the exchange's clock reaches its time, or ``hold_us`` of market time later, in batches."""

    def __init__(self, market: Market, send: Callable[[list[Due]], None], *, hold_us: int) -> None:
        self._market = market
        self._send = send
        self._hold_us = hold_us
        self._waiting: list[Due] = []
        self._ahead: tuple[int, asyncio.Task[list[list[_Timed]]]] | None = None

    async def play(self) -> None:
        """Returns when the clock has passed the end of the data."""
        tape, begin_us = self._market.tape, self._market.begin_us
        try:
            for index in range(max(tape.timeline.index_at(begin_us), 0), len(tape.data)):
                await self._until(tape.timeline.open_us(index))
                for part in await self._bar(index):
                    part.sort(key=_time_ms)
                    await self._play_part([timed for timed in part if timed[0] >= begin_us // 1000])
            await self._until(tape.end_us)
            self._flush()
        finally:
            self.forget()

    def forget(self) -> None:
        """Drops trades made ahead, because the following bars have changed."""
        if self._ahead is not None:
            self._ahead[1].cancel()
            self._ahead = None

    async def _bar(self, index: int) -> list[list[_Timed]]:
        """The parts of one bar in order of time, each unordered; also starts the bar after it."""
        while True:
            making = self._begun(index)
            await asyncio.wait({making})
            if not making.cancelled():
                break
        parts = making.result()
        self._ahead = None
        if index + 1 < len(self._market.tape.data):
            self._begun(index + 1)
        return parts

    def _begun(self, index: int) -> asyncio.Task[list[list[_Timed]]]:
        if self._ahead is None or self._ahead[0] != index:
            self.forget()
            self._ahead = (index, asyncio.create_task(self._made(index), name=f"simulated-bar-{index}"))
        return self._ahead[1]

    async def _made(self, index: int) -> list[list[_Timed]]:
        tape, symbols = self._market.tape, self._market.symbols
        open_ms = tape.timeline.open_us(index) // 1000
        interval_ms = max(tape.timeline.interval_us // 1000, 1)
        total = sum(tape.records(symbol, index, index + 1) for symbol in symbols)
        count = total // _TRADES_PER_PART + 1
        parts: list[list[_Timed]] = [[] for _ in range(count)]
        for at, symbol in enumerate(symbols):
            for trade in tape.bar(symbol, index):
                parts[(trade.time_ms - open_ms) * count // interval_ms].append((trade.time_ms, symbol, trade))
            if at % _SYMBOLS_AT_ONCE == _SYMBOLS_AT_ONCE - 1:
                await asyncio.sleep(0)
        return parts

    async def _play_part(self, part: list[_Timed]) -> None:
        position = 0
        while position < len(part):
            await self._until(part[position][0] * 1000)
            now_ms = self._market.now_us() // 1000
            end = min(bisect_right(part, now_ms, lo=position, key=_time_ms), position + _LARGEST_BATCH)
            for _, symbol, trade in part[position:end]:
                self._waiting.append((symbol, trade))
            position = end
            self._flush_if_due()
            await asyncio.sleep(0)

    async def _until(self, market_us: int) -> None:
        while (ahead_us := market_us - self._market.now_us()) > 0:
            self._flush_if_due()
            ahead_s = ahead_us / MICROSECONDS_PER_SECOND / self._market.speed
            await asyncio.sleep(min(max(ahead_s, _SHORTEST_STEP_S), _LONGEST_STEP_S))

    def _flush_if_due(self) -> None:
        if self._waiting and self._market.now_us() >= self._waiting[0][1].time_ms * 1000 + self._hold_us:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            due, self._waiting = self._waiting, []
            self._market.sent.update({symbol: trade.id for symbol, trade in due})
            self._send(due)
