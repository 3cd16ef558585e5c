"""The REST side of the simulated exchange: Binance's market data endpoints, their paging, limits and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from daemon.clock import Clock
from daemon.simulator.candles import INTERVALS, Candles, fixed
from daemon.simulator.market_data import Series
from daemon.simulator.tape import AggregateTrade, Tape

WEIGHT_PER_MINUTE = 6_000
_LARGEST_PAGE = 1_000
_DEFAULT_PAGE = 500

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class VenueError(Exception):
    """A refusal in Binance's words."""

    def __init__(self, code: int, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class WeightWindow:
    """Request weight used in the running wall-clock minute; all clients of the simulator share one address."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._minute = -1

    def spend(self, weight: int) -> int:
        """The weight used with this request; raises VenueError past the limit."""
        minute = int(asyncio.get_running_loop().time() // 60)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += weight
        if self._used > self._limit:
            text = f"Too much request weight used; current limit is {self._limit} request weight per 1 MINUTE."
            raise VenueError(-1003, text, status=429)
        return self._used

    @staticmethod
    def seconds_left() -> int:
        return 60 - int(asyncio.get_running_loop().time() % 60)


class RestApi:
    """``failing`` holds an HTTP status that every request is answered with, for tests of a broken venue."""

    def __init__(self, tape: Tape, clock: Clock, *, weight_per_minute: int = WEIGHT_PER_MINUTE) -> None:
        self.failing: int | None = None
        self._tape = tape
        self._clock = clock
        self._candles = Candles(tape)
        self._window = WeightWindow(weight_per_minute)

    def application(self) -> web.Application:
        app = web.Application()
        for path, weight, handler in (
            ("ping", 1, self._ping),
            ("time", 1, self._time),
            ("exchangeInfo", 20, self._exchange_info),
            ("klines", 2, self._klines),
            ("aggTrades", 4, self._agg_trades),
        ):
            app.router.add_get(f"/api/v3/{path}", self._guarded(weight, handler))
        return app

    def _guarded(self, weight: int, handler: Callable[[web.Request], object]) -> Handler:
        """A handler behind the weight limit and the failure switch, with refusals as Binance's JSON."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if self.failing is not None:
                return web.Response(status=self.failing, text="the simulated exchange was told to fail")
            try:
                used = self._window.spend(weight)
                body = handler(request)
            except VenueError as error:
                return self._refusal(error)
            headers = {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
            return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)

        return answer

    def _refusal(self, error: VenueError) -> web.Response:
        body = msgspec.json.encode({"code": error.code, "msg": str(error)})
        headers = {"Retry-After": str(self._window.seconds_left())} if error.status == 429 else {}
        return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)

    def _ping(self, _: web.Request) -> dict[str, object]:
        return {}

    def _time(self, _: web.Request) -> dict[str, object]:
        return {"serverTime": self._clock.market_us() // 1000}

    def _exchange_info(self, request: web.Request) -> dict[str, object]:
        wanted = [self._symbol(request)] if "symbol" in request.query else self._tape.data.symbols
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_PER_MINUTE}
        return {
            "timezone": "UTC",
            "serverTime": self._clock.market_us() // 1000,
            "rateLimits": [limit],
            "exchangeFilters": [],
            "symbols": [_listing(self._tape.data.series[symbol]) for symbol in wanted],
        }

    def _klines(self, request: web.Request) -> object:
        symbol = self._symbol(request)
        interval_us = INTERVALS.get(_required(request, "interval"))
        if interval_us is None or not self._candles.serves(interval_us):
            raise VenueError(-1120, "Invalid interval.")
        start_ms, end_ms = _integer(request, "startTime"), _integer(request, "endTime")
        return self._candles.klines(
            symbol,
            interval_us,
            start_us=None if start_ms is None else start_ms * 1000,
            end_us=None if end_ms is None else end_ms * 1000,
            limit=_limit(request),
            now_us=self._clock.market_us(),
        )

    def _agg_trades(self, request: web.Request) -> object:
        symbol, limit = self._symbol(request), _limit(request)
        from_id, start_ms, end_ms = (_integer(request, name) for name in ("fromId", "startTime", "endTime"))
        now_us = self._clock.market_us()
        if from_id is not None:
            if start_ms is not None or end_ms is not None:
                raise VenueError(-1128, "Combination of optional parameters invalid.")
            trades = self._tape.from_id(symbol, from_id, limit, now_us)
        elif start_ms is not None:
            last_ms = now_us // 1000 if end_ms is None else end_ms
            trades = self._tape.between(symbol, start_ms, last_ms, limit, now_us)
        else:
            until_us = now_us if end_ms is None else min(now_us, end_ms * 1000)
            trades = self._tape.latest(symbol, limit, until_us)
        series = self._tape.data.series[symbol]
        return [worded(series, trade) for trade in trades]

    def _symbol(self, request: web.Request) -> str:
        symbol = _required(request, "symbol")
        if symbol not in self._tape.data.series:
            raise VenueError(-1121, "Invalid symbol.")
        return symbol


def worded(series: Series, trade: AggregateTrade) -> dict[str, int | str | bool]:
    """A trade with Binance's keys, as both the REST answer and the stream carry it."""
    return {
        "a": trade.id,
        "p": fixed(trade.price, series.price_decimals),
        "q": fixed(trade.size, series.size_decimals),
        "f": trade.first_id,
        "l": trade.last_id,
        "T": trade.time_ms,
        "m": trade.buyer_is_maker,
        "M": True,
    }


def _listing(series: Series) -> dict[str, object]:
    tick, step = fixed(1, series.price_decimals), fixed(1, series.size_decimals)
    return {
        "symbol": series.symbol,
        "status": "TRADING",
        "baseAsset": series.base,
        "baseAssetPrecision": 8,
        "quoteAsset": series.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
        ],
        "permissions": ["SPOT"],
    }


def _required(request: web.Request, name: str) -> str:
    value = request.query.get(name, "")
    if not value:
        raise VenueError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return value


def _integer(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise VenueError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def _limit(request: web.Request) -> int:
    limit = _integer(request, "limit")
    if limit is None:
        return _DEFAULT_PAGE
    if limit == 0:
        raise VenueError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, _LARGEST_PAGE)
