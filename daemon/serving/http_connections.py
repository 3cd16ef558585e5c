"""Limits of HTTP connections: how many are open, and how long each may take for a request and its answer.

aiohttp itself bounds neither: clients that connect and send nothing would take every file descriptor.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)

NOSNIFF = {"X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Wall seconds.

    connections: open at one time; a further one replaces the connection that has waited longest for a request.
    header_s: from the connection, or a request's first byte, to the end of its headers.
    answer_s: from then until the client has received the whole answer.
    idle_s: between an answer and the next request of the connection.
    """

    connections: int = 64
    header_s: float = 10.0
    answer_s: float = 30.0
    idle_s: float = 60.0


class OpenConnections:
    """Makes the protocol of each connection and holds the open ones, the longest waiting first."""

    def __init__(self, server: web.Server, limits: HttpLimits) -> None:
        self._server = server
        self._limits = limits
        self._waiting: dict[BoundedConnection, None] = {}
        self._answering: set[BoundedConnection] = set()

    def __call__(self) -> BoundedConnection:
        """The protocol of a new connection, for ``loop.create_server``."""
        return BoundedConnection(self._server, self, self._limits)

    def admit(self, connection: BoundedConnection) -> bool:
        """Whether there is room for the connection; makes room by closing one that waits for a request."""
        if len(self._waiting) + len(self._answering) >= self._limits.connections:
            longest = next(iter(self._waiting), None)
            if longest is None:
                return False
            longest.abort()
        self.waits(connection)
        return True

    def waits(self, connection: BoundedConnection) -> None:
        """The connection has no request."""
        self._answering.discard(connection)
        self._waiting[connection] = None

    def answers(self, connection: BoundedConnection) -> None:
        """The connection has a whole request."""
        self._waiting.pop(connection, None)
        self._answering.add(connection)

    def closed(self, connection: BoundedConnection) -> None:
        self._waiting.pop(connection, None)
        self._answering.discard(connection)


class BoundedConnection(web.RequestHandler):
    """One HTTP connection, closed when it exceeds a limit."""

    __slots__ = ("_deadline", "_limits", "_open", "_receiving")

    def __init__(self, server: web.Server, open_connections: OpenConnections, limits: HttpLimits) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, keepalive_timeout=limits.idle_s, access_log=None)  # type: ignore[arg-type]  # None: no log
        self._open = open_connections
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._receiving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._open.admit(self):
            log.warning("http_connections_full", limit=self._limits.connections)
            self.abort()
            return
        self._receiving = True
        self._close_after(self._limits.header_s)

    def data_received(self, data: bytes) -> None:
        if not self._receiving and self._deadline is None:
            self._receiving = True
            self._close_after(self._limits.header_s)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._open.closed(self)
        super().connection_lost(exc)

    def answering(self) -> None:
        """The headers of a request are complete."""
        self._receiving = False
        self._open.answers(self)
        self._close_after(self._limits.answer_s)

    def log_access(self, *_args: Any) -> None:
        """aiohttp calls this when an answer was sent."""
        self._receiving = False
        self._stop_timer()
        if self.transport is not None:
            self._open.waits(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that cannot be parsed or whose handler failed; the connection closes after it."""
        if status == web.HTTPBadRequest.status_code:  # what a client sends is no defect: no traceback in the log
            log.debug("http_request_malformed", reason=repr(exc))
            answer: web.StreamResponse = web.Response(status=status, text="the request is not valid HTTP\n")
            answer.force_close()
        else:
            answer = super().handle_error(request, status, exc, message)
        answer.headers.update(NOSNIFF)
        return answer

    def abort(self) -> None:
        """Closes the connection without sending what is still buffered."""
        self._stop_timer()
        self._open.closed(self)
        if self.transport is not None:
            self.transport.abort()

    def _close_after(self, seconds: float) -> None:
        self._stop_timer()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
