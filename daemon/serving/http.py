"""Read-only HTTP server: the status page, metrics, health checks and the status document."""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import hmac
from collections.abc import Callable
from importlib import resources

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from daemon.config.types import ListenAddress
from daemon.errors import ConfigError, Retryable
from daemon.serving.health import Health
from daemon.serving.http_connections import NOSNIFF, BoundedConnection, HttpLimits, OpenConnections
from daemon.serving.status import StatusDocument

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
SHUTDOWN_TIMEOUT_S = 1.0

# The page is one file with inline style and script, and fetches only this server's status.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class HttpServer:
    """Serves on ``listen``; port 0 picks a free one.

    On loopback only requests for a loopback host name are answered, so that a web site cannot read the API through a
    DNS name of its own that points here. With ``token`` every path but the health checks needs it, as
    ``Authorization: Bearer`` or as the password of HTTP Basic (which browsers can ask for).
    """

    def __init__(
        self,
        listen: ListenAddress,
        *,
        registry: CollectorRegistry,
        status: Callable[[], StatusDocument],
        health: Health,
        token: str | None = None,
        limits: HttpLimits | None = None,
    ) -> None:
        self._listen = listen
        self._status = status
        self._health = health
        self._token = token
        self._limits = limits or HttpLimits()
        self._page = resources.files("daemon.serving").joinpath("page/index.html").read_text(encoding="utf-8")
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.AbstractServer | None = None
        self._registry = registry

    async def start(self) -> str:
        """Listens and returns the address, e.g. ``http://127.0.0.1:9464``.

        Raises Retryable when the port is taken and ConfigError when the address cannot be used at all.
        """
        self._runner = runner = web.AppRunner(self._application(), shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        assert runner.server is not None, "setup() makes the server"
        connections = OpenConnections(runner.server, self._limits)
        try:
            listening = await asyncio.get_running_loop().create_server(
                connections, self._listen.host, self._listen.port, backlog=self._limits.connections
            )
        except OSError as error:
            await self.stop()
            if error.errno == errno.EADDRINUSE:
                raise Retryable(
                    f"[http] listen {self._listen}: the port is taken; stop its user or choose another"
                ) from error
            raise ConfigError([f"[http] listen {self._listen}: {error.strerror}"]) from error
        self._listening = listening
        port = listening.sockets[0].getsockname()[1]
        return f"http://{self._listen._replace(port=port)}"

    async def stop(self) -> None:
        """Stops listening; requests under way have a second to end."""
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard])
        application.on_response_prepare.append(_protect)
        application.add_routes(
            [
                web.get("/", self._show_page),
                web.get("/metrics", make_aiohttp_handler(self._registry)),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/api/v1/status", self._show_status),
            ]
        )
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if isinstance(request.protocol, BoundedConnection):
            request.protocol.answering()
        host = str(self._listen).rpartition(":")[0]  # an IPv6 host in brackets, as in the request's header
        if self._listen.is_loopback and _host_name(request) not in {host, *LOOPBACK_NAMES}:
            return web.Response(status=421, text="ask for this address by a loopback name, e.g. localhost\n")
        if request.path not in OPEN_PATHS and not self._authorised(request):
            challenge = {hdrs.WWW_AUTHENTICATE: 'Bearer, Basic realm="forecastd", charset="UTF-8"'}
            return web.Response(status=401, headers=challenge, text="a token is needed, see [http] token_file\n")
        return await handler(request)

    def _authorised(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        offered = _offered_token(request.headers.get(hdrs.AUTHORIZATION, ""))
        return hmac.compare_digest(offered, self._token.encode())

    async def _show_page(self, _request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": PAGE_POLICY, "Referrer-Policy": "no-referrer"}
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def _show_status(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._status()), content_type="application/json")

    async def _healthz(self, _request: web.Request) -> web.Response:
        """Health check; that this handler runs proves that the event loop is responsive."""
        reason = self._health.fatal_reason()
        components = {each.component: each.state.value for each in self._health.components}
        body = {"healthy": reason is None, "problems": [] if reason is None else [reason], "components": components}
        return web.json_response(body, status=200 if reason is None else 503)

    async def _readyz(self, _request: web.Request) -> web.Response:
        problems = self._health.readiness_problems()
        body = {"ready": not problems, "problems": problems}
        return web.json_response(body, status=503 if problems else 200)


async def _protect(_request: web.Request, response: web.StreamResponse) -> None:
    """Headers of every answer, errors included."""
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers.update(NOSNIFF)


def _host_name(request: web.Request) -> str:
    host = request.headers.get(hdrs.HOST, "").lower()
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdecimal() else host


def _offered_token(authorization: str) -> bytes:
    """The token in an Authorization header, empty when there is none that can be read."""
    # aiohttp decodes bytes that are not UTF-8 to surrogates.
    scheme, _, credentials = authorization.encode("utf-8", "surrogateescape").partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        _, _, password = base64.b64decode(credentials, validate=True).partition(b":")
    except binascii.Error:
        return b""
    return password
