"""The websocket side of the simulated exchange: connections, subscriptions, Binance's answers and limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

MAX_STREAMS = 1_024
MESSAGES_PER_SECOND = 5
PING_EVERY_S = 20.0
PONG_WITHIN_S = 60.0
# A reader this far behind would only fall further: it is cut off, as every venue does. About 5,000 trades.
LARGEST_BACKLOG_BYTES = 1_048_576
_SHUTDOWN_S = 2.0
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class _Refused(Exception):
    """A request that Binance would answer with an error frame."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """One connection: what it subscribed to, and whether its frames are wrapped with the stream's name."""

    def __init__(self, connection: ServerConnection, *, combined: bool, streams: list[str]) -> None:
        self.connection = connection
        self.combined = combined
        self.streams = dict.fromkeys(streams)
        self.stalled = False
        self._asked_s: deque[float] = deque(maxlen=MESSAGES_PER_SECOND)

    def too_chatty(self) -> bool:
        """Whether this message is more than the fifth within one second."""
        now_s = asyncio.get_running_loop().time()
        full = len(self._asked_s) == MESSAGES_PER_SECOND and now_s - self._asked_s[0] < 1.0
        self._asked_s.append(now_s)
        return full

    def answer(self, text: str | bytes) -> str:
        """The answer to one request frame."""
        request_id: object = None
        try:
            request = _parsed(text)
            request_id = request.get("id")
            reply: dict[str, object] = {"result": self._perform(request), "id": request_id}
        except _Refused as refusal:
            reply = {"code": refusal.code, "msg": str(refusal)}
            reply |= {} if request_id is None else {"id": request_id}
        return msgspec.json.encode(reply).decode()

    def _perform(self, request: dict[str, Any]) -> object:
        method, params = request["method"], request.get("params", [])
        match method:
            case "LIST_SUBSCRIPTIONS":
                return list(self.streams)
            case "SUBSCRIBE":
                self._subscribe(_stream_names(params))
            case "UNSUBSCRIBE":
                for name in _stream_names(params):
                    self.streams.pop(name, None)
            case "GET_PROPERTY":
                _combined_property(params, 1)
                return self.combined
            case "SET_PROPERTY":
                self.combined = _combined_property(params, 2)
        return None

    def _subscribe(self, names: list[str]) -> None:
        if len(self.streams | dict.fromkeys(names)) > MAX_STREAMS:
            raise _Refused(2, f"Invalid request: too many streams, at most {MAX_STREAMS} a connection")
        self.streams |= dict.fromkeys(names)


class StreamServer:
    """Sends each published payload to the connections that subscribed to its stream.

    ``refusing`` answers new connections with 503.
    """

    def __init__(self, *, largest_backlog_bytes: int = LARGEST_BACKLOG_BYTES) -> None:
        self.refusing = False
        self.clients: set[Client] = set()
        self._largest_backlog_bytes = largest_backlog_bytes
        self._server: Server | None = None

    async def start(self, port: int) -> str:
        """Listens on loopback; the base address, without the path ``/ws`` or ``/stream``."""
        self._server = await serve(
            self._converse,
            "127.0.0.1",
            port,
            process_request=self._admit,
            ping_interval=PING_EVERY_S,
            ping_timeout=PONG_WITHIN_S,
            close_timeout=_SHUTDOWN_S,
            compression=None,
        )
        (listening,) = self._server.sockets
        return f"ws://127.0.0.1:{listening.getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is None:
            return
        for client in self.clients:
            # A connection that neither reads nor is read would hold the close back.
            if client.stalled:
                client.connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()
        self._server = None

    def publish(self, stream: str, payload: str) -> None:
        """Sends ``payload`` (JSON text) raw or wrapped; cuts off connections that do not keep up."""
        self._send([client for client in self.clients if stream in client.streams], stream, payload)

    def announce(self, stream: str, payload: str) -> None:
        """Sends ``payload`` to every connection, subscribed or not."""
        self._send(list(self.clients), stream, payload)

    def send_raw(self, text: str) -> None:
        """Sends ``text`` to every connection as it is."""
        broadcast(self._reachable(list(self.clients)), text)

    def stall(self) -> None:
        """Leaves every present connection open and silent: nothing sent, nothing read, no pong."""
        for client in self.clients:
            client.stalled = True
            client.connection.transport.pause_reading()
            if client.connection.keepalive_task is not None:
                client.connection.keepalive_task.cancel()

    async def drop(self, clients: set[Client], code: int) -> None:
        """Closes connections with a code; 1006 cuts them off without a closing frame."""
        for client in clients:
            if client.stalled or code == 1006:
                client.connection.transport.abort()
        rest = [client.connection.close(code) for client in clients if not client.stalled and code != 1006]
        await asyncio.gather(*rest)

    def _send(self, clients: list[Client], stream: str, payload: str) -> None:
        raw = [client for client in clients if not client.combined]
        wrapped = [client for client in clients if client.combined]
        if raw:
            broadcast(self._reachable(raw), payload)
        if wrapped:
            broadcast(self._reachable(wrapped), f'{{"stream":"{stream}","data":{payload}}}')

    def _reachable(self, clients: list[Client]) -> list[ServerConnection]:
        reachable = []
        for client in clients:
            transport = client.connection.transport
            if transport.get_write_buffer_size() > self._largest_backlog_bytes:
                transport.abort()
            elif not client.stalled:
                reachable.append(client.connection)
        return reachable

    async def _converse(self, connection: ServerConnection) -> None:
        combined, streams = _opened_with(connection.request)
        client = Client(connection, combined=combined, streams=streams)
        self.clients.add(client)
        try:
            with contextlib.suppress(ConnectionClosed):
                await self._answer_all(client)
        finally:
            self.clients.discard(client)

    async def _answer_all(self, client: Client) -> None:
        async for text in client.connection:
            if client.too_chatty():
                await client.connection.close(1008, "Too many requests")
                return
            await client.connection.send(client.answer(text))

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.refusing:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "the simulated exchange refuses connections\n")
        path = urlsplit(request.path).path
        if path.rstrip("/") == "/stream" or path.rstrip("/") == "/ws" or path.startswith("/ws/"):
            return None
        return connection.respond(HTTPStatus.NOT_FOUND, "connect to /ws/<stream> or /stream?streams=<a>/<b>\n")


def _opened_with(request: Request | None) -> tuple[bool, list[str]]:
    """Whether frames are wrapped, and the streams named in the address."""
    address = urlsplit(request.path if request else "/ws")
    if address.path.rstrip("/") == "/stream":
        names = parse_qs(address.query).get("streams", [""])[0]
        return True, [name for name in names.split("/") if name]
    return False, [name for name in address.path.removeprefix("/ws").split("/") if name]


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _Refused(3, "Invalid JSON: expected value at line 1 column 1") from error
    if not isinstance(request, dict) or "method" not in request:
        raise _Refused(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
    if request["method"] not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        raise _Refused(2, f"Invalid request: unknown variant `{request['method']}`, expected one of {expected}")
    request_id = request.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int | str | None):
        raise _Refused(2, "Invalid request: request ID must be an unsigned integer")
    return request


def _stream_names(params: object) -> list[str]:
    if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
        raise _Refused(2, "Invalid request: params must be a list of stream names")
    return params


def _combined_property(params: object, length: int) -> bool:
    if not isinstance(params, list) or len(params) != length:
        raise _Refused(2, "Invalid request: too many parameters")
    if params[0] != "combined":
        raise _Refused(0, "Unknown property")
    if not isinstance(params[-1], bool | str):
        raise _Refused(1, "Invalid value type: expected Boolean")
    return params[-1] is True
