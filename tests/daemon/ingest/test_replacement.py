"""A connection that must end is replaced before it ends, and no trade is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import msgspec
from websockets.asyncio.server import ServerConnection

from daemon.clock import SystemClock
from daemon.ingest.stream import MarketStream
from tests.daemon.ingest.background_stream import BTC, ETH, FAST, RecordingListener, streaming
from tests.daemon.ingest.fake_binance import FakeBinance, SwiftBinance


def once_each(ids: list[int]) -> list[int]:
    """The ids that pass an id watermark."""
    passed: list[int] = []
    for trade_id in ids:
        if not passed or trade_id > passed[-1]:
            passed.append(trade_id)
    return passed


async def pumping(server: FakeBinance, symbol: str, last_id: list[int]) -> None:
    """Trades without a pause, to every connection that is subscribed at their time."""
    while True:
        for _ in range(5):
            last_id[0] += 1
            server.send(symbol, last_id[0])
        await asyncio.sleep(0.001)


@asynccontextmanager
async def pump(server: FakeBinance, symbol: str = BTC) -> AsyncIterator[list[int]]:
    last_id = [0]
    task = asyncio.create_task(pumping(server, symbol, last_id))
    try:
        yield last_id
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task  # raises what ended it early


async def assert_seamless(server: FakeBinance, listener: RecordingListener, last_id: list[int]) -> None:
    """Every id arrived, and behind an id watermark each arrives once and in order."""
    await asyncio.sleep(0.2)
    final = last_id[0]
    await listener.until(lambda: max(listener.ids[BTC]) >= final)
    ids = once_each(listener.ids[BTC])
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert listener.losses == []
    assert len(server.peers) == 1


async def test_server_shutdown_makes_before_it_breaks(server: FakeBinance, listener: RecordingListener) -> None:
    """On serverShutdown the new connection is verified before the old one closes; no trade is lost."""
    async with streaming(server.url, listener), pump(server) as last_id:
        await listener.until_count("connected", 1)
        old = server.peers[0]
        open_at_list: list[int] = []
        server.before_list = lambda _: open_at_list.append(len(server.peers))
        server.tell(old, '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}')
        await listener.until_count("connected", 2)
        assert open_at_list == [2]
        assert old in server.peers
        await old.wait_closed()
        assert old.close_code == 1000
        await assert_seamless(server, listener, last_id)


async def test_shutdown_that_is_announced_while_subscribing(server: FakeBinance, listener: RecordingListener) -> None:
    """A connection that must close before it was verified still serves, and is replaced at once."""

    def announce_once(peer: ServerConnection) -> None:
        if server.attempts == 1:
            server.tell(peer, '{"e":"serverShutdown","E":1770123456789}')

    server.before_list = announce_once
    async with streaming(server.url, listener), pump(server) as last_id:
        await listener.until_count("connected", 2)
        await asyncio.sleep(0.15)
        await assert_seamless(server, listener, last_id)


async def test_planned_reconnect(server: FakeBinance, listener: RecordingListener) -> None:
    """Before a connection reaches the venue's lifetime another has taken over; no trade is lost."""
    settings = msgspec.structs.replace(FAST, lifetime_s=0.4)
    async with streaming(server.url, listener, settings=settings), pump(server) as last_id:
        await listener.until_count("connected", 3)
        await asyncio.sleep(0.15)
        await assert_seamless(server, listener, last_id)


async def test_planned_reconnect_is_drawn_short_of_the_lifetime(listener: RecordingListener) -> None:
    """Lifetimes are spread over half an hour, half an hour short of the venue's 24."""
    for draws, expected_s in ((itertools.repeat(0.0), 23.5 * 3600), (itertools.repeat(1.0), 23 * 3600)):
        stream = MarketStream(
            SwiftBinance([BTC]),
            [BTC],
            "ws://127.0.0.1:1",
            listener=listener,
            clock=SystemClock(),
            draw=draws.__next__,
        )
        assert stream._lifetime_s() == expected_s


async def test_requested_reconnect(server: FakeBinance, listener: RecordingListener) -> None:
    """A symbol that is acknowledged but silent gets a new connection; the others lose nothing."""
    async with streaming(server.url, listener) as stream, pump(server) as last_id:
        await listener.until_count("connected", 1)
        stream.reconnect(ETH)
        await listener.until_count("connected", 2)
        await assert_seamless(server, listener, last_id)


async def test_the_old_connection_serves_while_no_new_one_can_be_had(
    server: FakeBinance, listener: RecordingListener
) -> None:
    """A failed replacement is retried, and the old connection serves until one succeeds."""
    async with streaming(server.url, listener) as stream, pump(server) as last_id:
        await listener.until_count("connected", 1)
        server.status = HTTPStatus.BAD_GATEWAY
        stream.reconnect(BTC)
        while server.attempts < 4:
            await asyncio.sleep(0.01)
        assert stream.states[0].connected
        assert stream.states[0].failures >= 2
        server.status = None
        await listener.until_count("connected", 2)
        await assert_seamless(server, listener, last_id)


async def test_the_old_connection_dies_before_the_new_one_is_there(
    server: FakeBinance, listener: RecordingListener
) -> None:
    """A loss during a replacement is reported once, and the running attempts end it."""
    async with streaming(server.url, listener) as stream:
        await listener.until_count("connected", 1)
        server.status = HTTPStatus.BAD_GATEWAY
        stream.reconnect(BTC)
        while server.attempts < 3:
            await asyncio.sleep(0.01)
        await server.peers[0].close(1012)
        await listener.until_count("disconnected", 1)
        assert "1012" in listener.losses[0].reason
        server.status = None
        await listener.until_count("connected", 2)
        assert stream.states[0].connected
