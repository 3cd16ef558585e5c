"""The proxy of the environment: which variable counts, refusals with their cure, and SOCKS where it is installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import InvalidHandshake

from daemon.cli.commands.run import run_daemon
from daemon.clock import SystemClock
from daemon.errors import EXIT_CONFIG, ConfigError, ErrorHandling, Retryable, classify
from daemon.exchanges.binance import Binance
from daemon.ingest import proxy
from daemon.ingest.proxy import Proxy, check_proxies, proxy_for
from daemon.ingest.rest_transport import RestSettings, RestTransport
from tests.daemon.publishing.brokers import free_port

URL = "wss://stream.venue.test:9443/stream"
VARIABLES = ("http", "https", "ws", "wss", "socks", "all", "no")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


@pytest.mark.parametrize(
    ("variable", "value", "url", "expected"),
    [
        ("https_proxy", "http://proxy:3128", URL, Proxy("http://proxy:3128", socks=False)),
        ("HTTPS_PROXY", "http://user:word@proxy:3128/", URL, Proxy("http://user:word@proxy:3128", socks=False)),
        ("all_proxy", "HTTP://proxy:3128", "https://api.venue.test", Proxy("http://proxy:3128", socks=False)),
        ("http_proxy", "http://proxy:3128", "http://api.venue.test", Proxy("http://proxy:3128", socks=False)),
        ("http_proxy", "http://proxy:3128", URL, None),
        ("https_proxy", "http://proxy:3128", "wss://127.0.0.1:9443", None),
        ("https_proxy", "127.0.0.1:9", "wss://localhost:9443", None),
        ("https_proxy", "", URL, None),
    ],
)
def test_which_proxy_counts(
    variable: str, value: str, url: str, expected: Proxy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheme of the address selects the variable; loopback is reached directly."""
    monkeypatch.setenv(variable, value)
    assert proxy_for(url) == expected


def test_hosts_of_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts in NO_PROXY are reached directly."""
    monkeypatch.setenv("https_proxy", "127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "venue.test")
    assert proxy_for(URL) is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("127.0.0.1:9", 'was "127.0.0.1:9"; write http://127.0.0.1:9'),
        ("proxy.corp", 'was "proxy.corp"; write http://proxy.corp'),
        ("user:word@proxy:3128", 'was "proxy:3128"; write http://proxy:3128'),
        ("ftp://proxy:21", 'was "ftp://proxy:21"; write http://proxy:21'),
        ("http://", 'was "http://"; write http://HOST:PORT'),
        ("http://proxy:port", 'was "http://proxy:port"; write http://HOST:PORT'),
        ("http://proxy:99999", 'was "http://proxy:99999"; write http://HOST:PORT'),
        ("http://pro xy", 'was "http://pro xy"; write http://HOST:PORT'),
        ("socks5h://user:word@proxy:9", 'was "socks5h://proxy:9", a SOCKS proxy; install the extra: pip install "'),
    ],
)
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_an_unusable_proxy_is_named(variable: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, its value without password, and the cure, with exit code 78."""
    monkeypatch.setattr(proxy, "_socks_installed", lambda: False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as refused:
        check_proxies([URL, URL.replace("wss", "https")])
    assert [problem[: len(variable) + 1 + len(says)] for problem in refused.value.problems] == [f"{variable} {says}"]
    assert "word" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        run_daemon(Path("/dev/null"))
    assert refused.value.exit_code == EXIT_CONFIG


async def _serve_socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """SOCKS5 without authentication, which connects every name to ``port`` of this machine."""
    _, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    writer.write(b"\x05\x00")
    assert await reader.readexactly(4) == b"\x05\x01\x00\x03"  # connect to a name
    (length,) = await reader.readexactly(1)
    assert await reader.readexactly(length) == b"venue.test"
    await reader.readexactly(2)
    writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Websocket and REST go through the proxy, which resolves the venue's name."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    rest_port = runner.addresses[0][1]
    async with serve(lambda socket: socket.send("hello"), "127.0.0.1", 0) as stream:
        for port, scheme in ((next(iter(stream.sockets)).getsockname()[1], "ws"), (rest_port, "http")):
            socks = await asyncio.start_server(lambda r, w, port=port: _serve_socks(r, w, port), "127.0.0.1", 0)  # type: ignore[misc]
            monkeypatch.setenv("all_proxy", f"socks5h://127.0.0.1:{socks.sockets[0].getsockname()[1]}")
            found = proxy_for(f"{scheme}://venue.test/")
            assert found is not None
            if scheme == "ws":
                async with connect("ws://venue.test/", proxy=found.url) as socket:
                    assert await socket.recv() == "hello"
            else:
                async with (
                    aiohttp.ClientSession(connector=found.connector()) as session,
                    session.get("http://venue.test/") as answer,
                ):
                    assert await answer.text() == "hello"
            socks.close()
    await runner.cleanup()


@asynccontextmanager
async def _failing_proxy(kind: str) -> AsyncIterator[int]:
    """The port of a SOCKS proxy that is not there, refuses, answers nonsense, hangs up or says nothing."""
    if kind == "absent":
        yield free_port()
        return
    answers = {"refuses": b"\x05\x00\x05\x05\x00\x01\x7f\x00\x00\x01\x00\x00", "nonsense": b"HTTP/1.1 400 Bad\r\n\r\n"}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(3)
        if kind in answers:
            writer.write(answers[kind])
        if kind != "hangs up":
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize("kind", ["absent", "refuses", "nonsense", "hangs up", "silent"])
async def test_a_socks_proxy_that_fails_is_tried_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For REST and for the websocket it is an outage of the venue, never the end of the daemon."""
    async with _failing_proxy(kind) as port:
        monkeypatch.setenv("all_proxy", f"socks5h://127.0.0.1:{port}")
        settings = RestSettings(timeout_s=0.5, attempts=1)
        transport = RestTransport(Binance([]), "http://venue.test", clock=SystemClock(), settings=settings)
        with pytest.raises(Retryable, match=r"GET http://venue\.test"):
            await transport.get(Binance([]).server_time())
        await transport.close()
        found = proxy_for("ws://venue.test/")
        with pytest.raises(Exception) as failed:  # noqa: PT011  # the library's, of several kinds
            await connect("ws://venue.test/", proxy=found.url, open_timeout=0.5)
        assert isinstance(failed.value, InvalidHandshake) or classify(failed.value) is ErrorHandling.RETRY
