"""The REST side of the simulated exchange: routes, quotas, failures and the Date of its own clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import NamedTuple

import msgspec
from aiohttp import web

from daemon.simulator.dialects.base import Dialect, Handler, Refusal, Reply
from daemon.simulator.market import Market


class Failure(NamedTuple):
    """The status of every answer; None for the venue's error for too many requests."""

    status: int | None
    retry_after_s: int | None = None


class RestApi:
    """While ``failure`` is set, every request is answered with it."""

    def __init__(self, dialect: Dialect, market: Market) -> None:
        self.failure: Failure | None = None
        self._dialect = dialect
        self._market = market

    def application(self) -> web.Application:
        app = web.Application()
        for path, handler in self._dialect.routes().items():
            app.router.add_get(path, self._guarded(handler))
        app.router.add_get("/{anything:.*}", self._guarded(lambda _: self._dialect.unknown()))
        return app

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler behind the quota and the failure switch, with refusals in the venue's format."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if self.failure is not None:
                return self._response(self._failed(self.failure))
            try:
                spent = self._dialect.admit(request)
                reply = handler(request)
            except Refusal as refusal:
                return self._response(refusal.reply)
            return self._response(reply._replace(headers={**reply.headers, **spent}))

        return answer

    def _failed(self, failure: Failure) -> Reply:
        if failure.status is None:
            return self._dialect.rate_limit_reply()
        waiting = {} if failure.retry_after_s is None else {"Retry-After": str(failure.retry_after_s)}
        headers = {"Content-Type": "text/plain", **waiting}
        return Reply(b"the simulated exchange fails by request", failure.status, headers)

    def _response(self, reply: Reply) -> web.Response:
        body = reply.body if isinstance(reply.body, bytes) else msgspec.json.encode(reply.body)
        date = formatdate(self._market.now_us() // 1_000_000, usegmt=True)
        headers = {"Content-Type": "application/json", "Date": date, **reply.headers}
        return web.Response(status=reply.status, body=body, headers=headers)
