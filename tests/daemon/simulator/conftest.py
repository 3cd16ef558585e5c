"""A small exchange on loopback with time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

from daemon.clock import ManualClock
from daemon.simulator.exchange import Addresses, SimulatedExchange
from tests.daemon.simulator.bars import HOUR_US, START_US, small_market

LIVE_US = START_US + 3 * HOUR_US


class Venue:
    """A running exchange, its clock, and the shortest ways to talk to it."""

    def __init__(self, exchange: SimulatedExchange, clock: ManualClock, addresses: Addresses) -> None:
        self.exchange = exchange
        self.clock = clock
        self.addresses = addresses
        self._session = aiohttp.ClientSession()

    async def get(self, path: str, **query: str | int) -> tuple[int, Any]:
        """Status and decoded body of ``GET /api/v3/<path>``."""
        async with self._session.get(f"{self.addresses.rest_url}/api/v3/{path}", params=query) as response:
            text = await response.text()
            return response.status, json.loads(text) if text[:1] in "[{" else text

    async def headers(self, path: str) -> dict[str, str]:
        async with self._session.get(f"{self.addresses.rest_url}/api/v3/{path}") as response:
            return dict(response.headers)

    def connect(self, path: str = "/stream", **options: Any) -> connect:
        return connect(self.addresses.ws_url + path, proxy=None, **options)

    async def close(self) -> None:
        await self._session.close()
        await self.exchange.stop()


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    clock = ManualClock(LIVE_US)
    exchange = SimulatedExchange(small_market(bars=6, trades=40), clock=clock)
    running = Venue(exchange, clock, await exchange.start())
    yield running
    await running.close()


async def receive(connection: ClientConnection) -> Any:
    """The next frame, decoded; fails after 2 s."""
    async with asyncio.timeout(2):
        return json.loads(await connection.recv())


async def receive_all(
    connection: ClientConnection, *, quiet_s: float = 0.4, decode: Callable[[str | bytes], Any] = json.loads
) -> list[Any]:
    """Every frame until none has come for ``quiet_s``."""
    frames = []
    while True:
        try:
            async with asyncio.timeout(quiet_s):
                frames.append(decode(await connection.recv()))
        except TimeoutError:
            return frames


async def ask(connection: ClientConnection, **request: Any) -> Any:
    """The answer to one request."""
    await connection.send(json.dumps(request))
    return await receive(connection)
