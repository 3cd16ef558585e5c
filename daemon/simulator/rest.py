"""The REST side of the simulated exchange: routes, quotas, faults and the Date of its own clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate

import msgspec
from aiohttp import web

from daemon.simulator.dialects.base import Dialect, Handler, Refusal, Reply
from daemon.simulator.faults.rest_faults import Failure, RestFaults
from daemon.simulator.market import Market


class RestApi:
    """The venue's REST answers, subject to ``faults``."""

    def __init__(self, dialect: Dialect, market: Market) -> None:
        self.faults = RestFaults()
        self._dialect = dialect
        self._market = market

    def application(self) -> web.Application:
        app = web.Application()
        for path, handler in self._dialect.routes().items():
            app.router.add_get(path, self._guarded(handler))
        app.router.add_get("/{anything:.*}", self._guarded(lambda _: self._dialect.unknown()))
        return app

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler behind the faults and the quota, with refusals in the venue's format."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if self.faults.region_status is not None:
                return self._response(self._dialect.region_reply(self.faults.region_status))
            symbol = self._dialect.symbol_of(request)
            if (failure := self.faults.failure_of(symbol)) is not None:
                return self._response(self._failed(failure))
            response = self._response(self._reply(request, handler))
            if self.faults.cut_listing and request.path == self._dialect.listing_path:
                assert isinstance(response.body, bytes)
                response.body = response.body[: len(response.body) * 2 // 3]
            return await self.faults.deliver(request.path, symbol, response)

        return answer

    def _reply(self, request: web.Request, handler: Handler) -> Reply:
        try:
            spent = self._dialect.admit(request)
            reply = handler(request)
        except Refusal as refusal:
            return refusal.reply
        return reply._replace(headers={**reply.headers, **spent})

    def _failed(self, failure: Failure) -> Reply:
        if failure.status is None:
            return self._dialect.rate_limit_reply()
        waiting = {} if failure.retry_after_s is None else {"Retry-After": str(failure.retry_after_s)}
        headers = {"Content-Type": "text/plain", **waiting}
        return Reply(b"the simulated exchange fails by request", failure.status, headers)

    def _response(self, reply: Reply) -> web.Response:
        body = reply.body if isinstance(reply.body, bytes) else msgspec.json.encode(reply.body)
        date = formatdate(self._market.server_time_us() // 1_000_000, usegmt=True)
        headers = {"Content-Type": "application/json", "Date": date, **reply.headers}
        return web.Response(status=reply.status, body=body, headers=headers)
