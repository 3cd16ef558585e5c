"""A running simulated exchange for tests, with a manual clock, and helpers that read its frames."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from daemon.clock import ManualClock
from daemon.simulator.exchange import Addresses, SimulatedExchange
from tests.daemon.simulator.bars import HOUR_US, START_US
from tests.limits import LIMIT_S

LIVE_US = START_US + 3 * HOUR_US


class Venue:
    """A running exchange, its clock, and short ways to send it requests."""

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


async def receive(connection: ClientConnection) -> Any:
    """The next frame, decoded; fails after 2 s."""
    async with asyncio.timeout(LIMIT_S):
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
