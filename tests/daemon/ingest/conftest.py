"""Fixtures: Binance on loopback, a listener that records, and REST clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from daemon.exchanges import binance
from daemon.ingest.rest_client import RestClient
from tests.daemon.ingest.background_stream import RecordingListener
from tests.daemon.ingest.fake_binance import FakeBinance
from tests.daemon.ingest.fake_binance_rest import SYMBOLS, Connect, FakeRest, SleepingClock, SmallPages


@pytest.fixture
async def server() -> AsyncIterator[FakeBinance]:
    async with FakeBinance() as fake:
        yield fake


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
def clock() -> SleepingClock:
    return SleepingClock()


@pytest.fixture
async def rest() -> AsyncIterator[FakeRest]:
    async with FakeRest(newest_id=95) as fake:
        yield fake


@pytest.fixture
async def connect(rest: FakeRest, clock: SleepingClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    """Makes clients of the fake venue, with pages of ten; each is closed at the end."""
    monkeypatch.setattr(binance, "_TRADES_PER_PAGE", 10)
    clients: list[RestClient] = []

    def make(**options: Any) -> RestClient:
        clients.append(
            RestClient(SmallPages(SYMBOLS), rest.url, clock=clock, sleep=clock.sleep, draw=lambda: 1.0, **options)
        )
        return clients[-1]

    yield make
    for client in clients:
        await client.close()
