"""The virtual-time event loop and its network: time jumps, nothing blocks, and one seed decides the order."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import ClientSession, web
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from tests.simulation.virtual_loop import NothingLeft, virtual_time


def test_an_hour_takes_no_time() -> None:
    """Timers fire in order at exactly their times, and time.monotonic agrees with the loop."""
    seen: list[float] = []

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append(time.monotonic())

    async def main() -> float:
        began_s = time.monotonic()
        await asyncio.gather(wait(3600), wait(0.25), wait(60))
        return began_s

    real_s = time.monotonic()
    with virtual_time(1) as loop:
        began_s = loop.run_until_complete(main())
    assert [round(each - began_s, 6) for each in seen] == [0.25, 60, 3600]
    assert 0 <= time.monotonic() - real_s < 60


def test_a_wait_for_a_moment_gets_there() -> None:
    """A loop that sleeps for what is left ends, however small the rest is."""

    async def main() -> None:
        until_s = time.monotonic() + 0.123_456_789_1
        while (left_s := until_s - time.monotonic()) > 0:
            await asyncio.sleep(left_s)

    with virtual_time(1) as loop:
        loop.run_until_complete(main())


def test_a_wait_for_nothing_is_an_error() -> None:
    """A deadlock is found at once instead of hanging."""

    async def main() -> None:
        await asyncio.Event().wait()

    with virtual_time(1) as loop:
        task = loop.create_task(main())
        with pytest.raises(NothingLeft):
            loop.run_until_complete(task)
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))


def test_websockets_and_http_run_over_the_network_in_memory() -> None:
    """The real libraries connect, exchange messages and lose their connection."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def main() -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        server = await serve(echo, "127.0.0.1", 0)
        app = web.Application()
        app.router.add_get("/", _hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with ClientSession() as session, session.get(url) as response:
            text = await response.text()
        await runner.cleanup()
        (listening,) = server.sockets
        connection = await connect(f"ws://127.0.0.1:{listening.getsockname()[1]}", proxy=None)
        await connection.send("said")
        echoed = await connection.recv(decode=True)
        connection.transport.abort()
        with pytest.raises(ConnectionClosedError):
            await connection.recv()
        server.close()
        await server.wait_closed()
        assert loop.time() > 1_000
        return text, echoed

    with virtual_time(1) as loop:
        assert loop.run_until_complete(main()) == ("hello", "said")


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")
