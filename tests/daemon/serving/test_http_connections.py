"""Tests of the limits on HTTP connections, with clients that are slow, silent, greedy or talk nonsense."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import msgspec
import pytest

from daemon.clock import ManualClock
from daemon.config.types import listen_address
from daemon.serving.health import Health
from daemon.serving.http import HttpServer
from daemon.serving.http_connections import HttpLimits
from daemon.serving.metrics import Metrics
from daemon.serving.status import StatusDocument
from tests.daemon.serving.status_documents import LIVE, status_document
from tests.limits import LIMIT_S, SLACK_S

SHORT = HttpLimits(connections=8, header_s=0.3, answer_s=0.5, idle_s=0.4)
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SYMBOLS, REASON = 4_000, 8_000  # a status of 32 MB: more than the socket buffers hold
TOKEN = "0123456789abcdef"

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], "asyncio.Future[Client]"]


def document() -> StatusDocument:
    return status_document([msgspec.structs.replace(LIVE, reason="x" * REASON)] * SYMBOLS)


def broken_document() -> StatusDocument:
    raise RuntimeError("a defect")


@asynccontextmanager
async def serving(
    limits: HttpLimits = SHORT, *, status: Callable[[], StatusDocument] = document, token: str | None = None
) -> AsyncIterator[Connect]:
    """Runs a server; yields how to connect to it."""
    clock = ManualClock()
    registry = Metrics(version="0.1.0", market_us=clock.market_us).registry
    server = HttpServer(
        listen_address("127.0.0.1:0"),
        registry=registry,
        status=status,
        health=Health(clock, []),
        token=token,
        limits=limits,
    )
    host, port = (await server.start()).removeprefix("http://").split(":")
    async with AsyncExitStack() as clients:

        async def connect() -> Client:
            reader, writer = await asyncio.open_connection(host, int(port))
            clients.callback(writer.close)
            return reader, writer

        try:
            yield lambda: asyncio.ensure_future(connect())
        finally:
            await server.stop()


async def ask(client: Client, request: bytes = GET) -> tuple[int, dict[str, str]]:
    """Status and headers (lower case) of the answer to one request; status 0 for a closed connection."""
    reader, writer = client
    writer.write(request)
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, {}
    first, *lines = head.decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    await reader.readexactly(int(headers.get("content-length", "0")))
    return int(first.split()[1]), headers


async def closed_within(client: Client, seconds: float) -> bool:
    """Whether the server closes the connection in time."""
    try:
        return await asyncio.wait_for(client[0].read(), seconds) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"\r\n"])
async def test_a_connection_without_a_whole_request_is_closed(sent: bytes) -> None:
    """Silent clients do not keep a file descriptor."""
    async with serving() as connect:
        client = await connect()
        client[1].write(sent)
        assert await closed_within(client, 2 + SLACK_S)


async def test_a_request_of_single_bytes_is_closed() -> None:
    """The limit is on the whole head of a request, not on the pause between two bytes."""
    async with serving() as connect:
        client = await connect()
        started_s = asyncio.get_running_loop().time()
        for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 100:
            client[1].write(bytes([byte]))
            if await closed_within(client, 0.05):
                break
        assert asyncio.get_running_loop().time() - started_s < 2 + SLACK_S


async def test_an_idle_connection_is_closed_and_a_used_one_kept() -> None:
    """A scrape may use its connection again."""
    async with serving(replace(SHORT, idle_s=1.5)) as connect:
        client = await connect()
        for _ in range(4):
            assert (await ask(client))[0] == 200
            await asyncio.sleep(0.5)
        assert await closed_within(client, 2 + SLACK_S)


async def test_a_client_that_does_not_read_its_answer_is_closed() -> None:
    """A large answer is not held in memory for a client that stopped reading."""
    async with serving() as connect:
        client = await connect()
        client[1].transport.pause_reading()  # type: ignore[attr-defined]  # it is a whole transport
        client[1].write(GET.replace(b"/healthz", b"/api/v1/status"))
        await asyncio.sleep(1.5)
        client[1].transport.resume_reading()  # type: ignore[attr-defined]  # it is a whole transport
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client[0].readexactly(SYMBOLS * REASON)


async def test_many_idle_connections_leave_room_for_a_request() -> None:
    """350 silent connections once took every file descriptor."""
    limits = HttpLimits(connections=8)
    async with serving(limits) as connect:
        silent = [await connect() for _ in range(350)]
        assert (await ask(await connect()))[0] == 200
        closed = await asyncio.gather(*(closed_within(client, 2) for client in silent))
        assert closed.count(False) < limits.connections


async def test_a_connection_in_use_is_not_replaced() -> None:
    """Where every connection waits for its answer, a further one is refused."""
    limits = HttpLimits(connections=2)
    async with serving(limits) as connect:
        busy = [await connect() for _ in range(2)]
        for _, writer in busy:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a whole transport
            writer.write(GET.replace(b"/healthz", b"/api/v1/status"))
        await asyncio.sleep(0.5)
        assert (await ask(await connect()))[0] == 0
        for client in busy:
            client[1].transport.resume_reading()  # type: ignore[attr-defined]  # it is a whole transport
        for reader, _ in busy:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT_S)
            length = int(head.lower().split(b"content-length: ")[1].split()[0])
            assert len(await asyncio.wait_for(reader.readexactly(length), LIMIT_S)) == length
        assert (await ask(await connect()))[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET, 200),
        (GET.replace(b"/healthz", b"/metrics"), 200),
        (GET.replace(b"/healthz", b"/"), 200),
        (GET.replace(b"/healthz", b"/nothing"), 404),
        (GET.replace(b"GET", b"POST"), 405),
        (GET.replace(b"localhost", b"attacker.example"), 421),
        (GET.replace(b"/healthz", b"/api/v1/status"), 500),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 400),
    ],
)
async def test_every_answer_forbids_sniffing(request_: bytes, status: int) -> None:
    """No browser guesses a type, also for errors of the server itself."""
    async with serving(status=broken_document) as connect:
        answered, headers = await ask(await connect(), request_)
        assert (answered, headers["x-content-type-options"]) == (status, "nosniff")


@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer é".encode(),
        b"Bearer \xff\xfe",
        "Basic é".encode(),
        b"Basic \xff",
        b"Basic " + base64.b64encode(b"\xff:\xff"),
        b"Basic " + base64.b64encode("ann:gehéim".encode()),
        "é".encode(),
        b"\xff\xfe",
    ],
)
async def test_credentials_of_any_bytes_are_refused(credentials: bytes) -> None:
    """401, and the connection lives on."""
    async with serving(token=TOKEN) as connect:
        client = await connect()
        request = GET.replace(b"/healthz", b"/metrics").replace(
            b"\r\n\r\n", b"\r\nAuthorization: " + credentials + b"\r\n\r\n"
        )
        status, headers = await ask(client, request)
        assert (status, headers["x-content-type-options"]) == (401, "nosniff")
        assert (await ask(client))[0] == 200
