"""The websocket side of the simulated exchange: connections and their keep-alive; the dialect makes the messages."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from daemon.simulator.dialects.base import CloseConnection, Dialect, SentTrade, StreamSession, encoded
from daemon.simulator.player import Due

# A reader this far behind (about 20,000 trades) is disconnected, as by every venue.
LARGEST_BACKLOG_BYTES = 4_194_304
_SHUTDOWN_S = 2.0


class Client:
    """One connection."""

    def __init__(self, connection: ServerConnection, session: StreamSession) -> None:
        self.connection = connection
        self.session = session
        self.stalled = False
        self.connected_s = self.active_s = time.monotonic()
        self.asked = False


class StreamServer:
    """Sends each trade to the connections that subscribed to its symbol, in the dialect's frames.

    ``refusing`` answers new connections with 503, ``region_status`` with the refusal of the client's region.
    ``last_frame`` is a frame with trades, as it was sent.
    """

    def __init__(self, dialect: Dialect, *, largest_backlog_bytes: int = LARGEST_BACKLOG_BYTES) -> None:
        self.refusing = False
        self.region_status: int | None = None
        self.clients: set[Client] = set()
        self.last_frame = ""
        self._dialect = dialect
        self._largest_backlog_bytes = largest_backlog_bytes
        self._server: Server | None = None
        self._upkeep: asyncio.Task[None] | None = None

    async def start(self, port: int) -> str:
        """Listens on loopback; the base address, without a path."""
        self._server = await serve(
            self._serve_client,
            "127.0.0.1",
            port,
            process_request=self._admit,
            ping_interval=self._dialect.ping_every_s,
            ping_timeout=self._dialect.pong_within_s,
            close_timeout=_SHUTDOWN_S,
            compression=None,
        )
        self._upkeep = asyncio.create_task(self._each_second(), name="simulated-upkeep")
        (listening,) = self._server.sockets
        return f"ws://127.0.0.1:{listening.getsockname()[1]}"

    async def stop(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
            self._upkeep = None
        if self._server is None:
            return
        for client in self.clients:
            # A stalled connection would delay the close.
            if client.stalled:
                client.connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()
        self._server = None

    def publish(self, trades: Sequence[Due]) -> None:
        """Sends trades, oldest first; cuts off connections that do not keep up."""
        if not self.clients:
            return
        wanted = {symbol for client in self.clients for symbol in client.session.symbols}
        records = [
            SentTrade(symbol, trade, self._dialect.record(symbol, trade))
            for symbol, trade in trades
            if symbol in wanted
        ]
        for client in list(self.clients):
            symbols = client.session.symbols
            if own := [record for record in records if record[0] in symbols]:
                frames = list(client.session.frames(own))
                self.last_frame = frames[-1]
                self._send(client, frames)

    def send_to_all(self, frames_of: Callable[[StreamSession], Iterable[str]]) -> None:
        """Sends every connection its frames."""
        for client in list(self.clients):
            self._send(client, frames_of(client.session))

    def unsubscribe(self, symbol: str) -> None:
        """Ends every subscription to a symbol without a message."""
        for client in self.clients:
            client.session.update(symbol, subscribed=False)

    def stall(self) -> None:
        """Leaves every present connection open and silent: nothing sent, nothing read, no pong."""
        for client in self.clients:
            client.stalled = True
            client.connection.transport.pause_reading()
            if client.connection.keepalive_task is not None:
                client.connection.keepalive_task.cancel()

    def cut(self) -> None:
        """Cuts every present connection without a closing frame."""
        for client in self.clients:
            client.connection.transport.abort()

    async def drop(self, clients: Collection[Client], code: int, reason: str = "") -> None:
        """Closes connections with a code; 1006 cuts them off without a closing frame."""
        for client in clients:
            if client.stalled or code == 1006:
                client.connection.transport.abort()
        rest = [client.connection.close(code, reason) for client in clients if not client.stalled and code != 1006]
        await asyncio.gather(*rest)

    def _send(self, client: Client, frames: Iterable[str]) -> None:
        """Sends all frames with one write: a system call for each would dominate a busy exchange."""
        connection = client.connection
        if client.stalled or connection.transport.is_closing() or connection.protocol.state is not State.OPEN:
            return
        for frame in frames:
            connection.protocol.send_text(frame.encode())
        if not (written := b"".join(connection.protocol.data_to_send())):
            return
        client.active_s = time.monotonic()
        if connection.transport.get_write_buffer_size() > self._largest_backlog_bytes:
            connection.transport.abort()
        else:
            connection.transport.write(written)

    async def _serve_client(self, connection: ServerConnection) -> None:
        session = self._session_for(connection.request)
        assert session is not None  # others were not admitted
        client = Client(connection, session)
        self.clients.add(client)
        try:
            self._send(client, session.opened())
            with contextlib.suppress(ConnectionClosed):
                await self._answer_all(client)
        finally:
            self.clients.discard(client)

    async def _answer_all(self, client: Client) -> None:
        async for text in client.connection:
            client.asked, client.active_s = True, time.monotonic()
            try:
                # At once and without a pause: a trade that is sent next comes after the answer.
                self._send(client, client.session.answer(text))
            except CloseConnection as refused:
                await client.connection.close(refused.code, str(refused))
                return

    async def _each_second(self) -> None:
        closing: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(1.0)
            for client in list(self.clients):
                if (code := self._overdue(client)) is not None:
                    task = asyncio.create_task(self.drop((client,), code))
                    closing.add(task)
                    task.add_done_callback(closing.discard)
                else:
                    self._send(client, client.session.each_second())

    def _overdue(self, client: Client) -> int | None:
        """The code with which a connection that is silent for too long is closed."""
        now_s = time.monotonic()
        first_within_s, idle = self._dialect.first_request_within_s, self._dialect.idle_timeout
        if client.stalled:
            return None
        if first_within_s is not None and not client.asked and now_s - client.connected_s > first_within_s:
            return 1000
        if idle is not None and now_s - client.active_s > idle.after_s:
            return idle.code
        return None

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.region_status is not None:
            body = self._dialect.region_reply(self.region_status).body
            text = body.decode() if isinstance(body, bytes) else encoded(body)
            return connection.respond(HTTPStatus(self.region_status), text)
        if self.refusing:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "the simulated exchange refuses connections\n")
        if self._session_for(request) is not None:
            return None
        return connection.respond(HTTPStatus.NOT_FOUND, f"{self._dialect.name} has no stream at this address\n")

    def _session_for(self, request: Request | None) -> StreamSession | None:
        address = urlsplit(request.path if request else "/")
        return self._dialect.open_session(address.path, address.query)
