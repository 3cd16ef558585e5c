"""A stream in the background, and a listener that records its calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from daemon.clock import SystemClock
from daemon.errors import DataFault
from daemon.exchanges.base import TradeRecord, Venue
from daemon.ingest.listener import StreamSettings
from daemon.ingest.stream import MarketStream
from tests.daemon.ingest.fake_binance import SwiftBinance
from tests.limits import LIMIT_S

BTC, ETH, DOT = "BTC-USDT", "ETH-USDT", "DOT-USDT"

FAST = StreamSettings(
    open_timeout_s=30.0,
    answer_timeout_s=30.0,
    close_timeout_s=2.0,
    ping_interval_s=30.0,
    ping_timeout_s=30.0,
    quiet_s=120.0,
    resubscribe_s=0.05,
    settled_s=120.0,
    backoff_first_s=0.01,
    backoff_cap_s=0.04,
    overlap_s=0.1,
)
# For venues that do not answer; elsewhere this machine may be late itself.
IMPATIENT = msgspec.structs.replace(FAST, answer_timeout_s=0.5)


class Loss(NamedTuple):
    """The report to a listener of symbols that are not served."""

    symbols: tuple[str, ...]
    reason: str
    next_try_s: float
    complete_until_us: int


class RecordingListener:
    """Records every call, and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.losses: list[Loss] = []
        self.ids: dict[str, list[int]] = {}
        self._called = asyncio.Event()

    def trades_received(self, symbol: str, records: Sequence[TradeRecord]) -> None:
        ids = (record.trade_id for record in records)
        self.ids.setdefault(symbol, []).extend(UUID(each).int >> 65 if isinstance(each, str) else each for each in ids)
        self._called.set()

    def frame_malformed(self, frame: bytes, error: DataFault) -> None:
        self._note("malformed", frame, str(error))

    def subscribed(self, symbol: str) -> None:
        self._note("subscribed", symbol)

    def refused(self, symbol: str, reason: str) -> None:
        self._note("refused", symbol, reason)

    def connected(self, symbols: Sequence[str]) -> None:
        self._note("connected", tuple(symbols))

    def disconnected(self, symbols: Sequence[str], reason: str, next_try_s: float, complete_until_us: int) -> None:
        self.losses.append(Loss(tuple(symbols), reason, next_try_s, complete_until_us))
        self._note("disconnected", tuple(symbols))

    def all(self, kind: str) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.events if event[0] == kind]

    async def until(self, true: Callable[[], bool], timeout_s: float = LIMIT_S) -> None:
        """Waits until a received event makes ``true`` true."""
        async with asyncio.timeout(timeout_s):
            while not true():
                self._called.clear()
                await self._called.wait()

    async def until_count(self, kind: str, count: int) -> None:
        await self.until(lambda: len(self.all(kind)) >= count)

    def _note(self, *event: Any) -> None:
        self.events.append(event)
        self._called.set()


@asynccontextmanager
async def streaming(
    url: str,
    listener: RecordingListener,
    symbols: Sequence[str] = (BTC, ETH),
    *,
    settings: StreamSettings = FAST,
    venue: Venue | None = None,
    **options: Any,
) -> AsyncIterator[MarketStream]:
    """A stream that runs in the background and must end cleanly when it is closed."""
    venue = venue or SwiftBinance(symbols)
    stream = MarketStream(venue, symbols, url, listener=listener, clock=SystemClock(), settings=settings, **options)
    running = asyncio.create_task(stream.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            yield stream
    finally:
        await stream.close()
        async with asyncio.timeout(LIMIT_S):
            await running
