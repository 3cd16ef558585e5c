"""Binance's REST side on loopback: aggTrades and klines from memory, after scripted errors."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from ssl import SSLContext
from typing import Any, Self

import msgspec
from aiohttp import web

from daemon.clock import ManualClock
from daemon.exchanges.binance import Binance
from daemon.ingest.rest_client import RestClient
from features.market import Trade

T0_MS = 1_700_000_000_000  # on a 100-second boundary, not on an hour
T0_US = T0_MS * 1000
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
BTC = "BTC-USDT"
SYMBOLS = [BTC, "ETH-USDT", "LUNA-USDT"]

Connect = Callable[..., RestClient]


class SmallPages(Binance):
    """Binance with candle pages of ten, so that tests see many."""

    limits = msgspec.structs.replace(Binance.limits, candles_per_page=10)


class SleepingClock(ManualClock):
    """A clock that advances only by sleeping, and records every sleep."""

    def __init__(self, start_us: int = T0_US) -> None:
        super().__init__(start_us)
        self.slept_s: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        self.now_us += round(delay_s * 1_000_000) + 1
        await asyncio.sleep(0)


async def newest(client: RestClient) -> Trade | None:
    """Any small question that takes one request."""
    answer = await client.trades(BTC, from_id=95, until_id=95, after_us=0)
    return answer.trades[-1] if answer.trades else None


class FakeRest:
    """``misfortunes`` are served first, one a request: (status, headers, body). ``queries`` holds every request."""

    def __init__(self, *, newest_id: int = 0, ssl: SSLContext | None = None) -> None:
        self._ssl = ssl
        self.newest_id = newest_id
        self.invalidated: set[int] = set()
        self.klines: dict[str, list[list[Any]]] = {}
        self.symbols = [("BTC", "USDT", "TRADING"), ("ETH", "USDT", "TRADING"), ("LUNA", "USDT", "BREAK")]
        self.server_time_ms = T0_MS
        self.misfortunes: deque[tuple[int, dict[str, str], bytes]] = deque()
        self.delay_s = 0.0
        self.queries: list[tuple[str, dict[str, str]]] = []

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[self._misfortune])
        application.add_routes(
            [
                web.get("/api/v3/aggTrades", self._trades),
                web.get("/api/v3/klines", self._klines),
                web.get("/api/v3/exchangeInfo", self._exchange_info),
                web.get("/api/v3/time", self._time),
            ]
        )
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._ssl)
        await site.start()
        self.url = f"{'http' if self._ssl is None else 'https'}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _misfortune(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.queries.append((request.path, dict(request.query)))
        await asyncio.sleep(self.delay_s)
        if self.misfortunes:
            status, headers, body = self.misfortunes.popleft()
            return web.Response(status=status, headers=headers, body=body)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _trades(self, request: web.Request) -> web.Response:
        limit = int(request.query["limit"])
        if "fromId" in request.query:
            first = int(request.query["fromId"])
        elif "startTime" in request.query:
            first = int(request.query["startTime"]) - T0_MS
        else:
            first = self.newest_id - limit + 1
        first = max(first, 1)
        return _json([self._trade(number) for number in range(first, min(first + limit, self.newest_id + 1))])

    def _trade(self, number: int) -> dict[str, Any]:
        """Trade ``number`` happened ``number`` milliseconds after T0."""
        if number in self.invalidated:
            return {"a": number, "p": "0", "q": "0", "f": -1, "l": -1, "T": T0_MS + number, "m": True}
        return {"a": number, "p": "100.5", "q": "2", "f": number, "l": number, "T": T0_MS + number, "m": True}

    async def _klines(self, request: web.Request) -> web.Response:
        start_ms, end_ms = int(request.query["startTime"]), int(request.query["endTime"])
        rows = [row for row in self.klines[request.query["interval"]] if start_ms <= row[0] <= end_ms]
        return _json(rows[: int(request.query["limit"])])

    async def _exchange_info(self, _: web.Request) -> web.Response:
        described = [
            {"symbol": base + quote, "status": status, "baseAsset": base, "quoteAsset": quote}
            for base, quote, status in self.symbols
        ]
        return _json({"symbols": described})

    async def _time(self, _: web.Request) -> web.Response:
        return _json({"serverTime": self.server_time_ms})


def kline(open_ms: int, length_ms: int, price: float, *, trades: int = 2) -> list[Any]:
    """A candle from ``price`` to ``price + 1``, its range half a unit wider on both sides."""
    prices = [str(value) for value in (price, price + 1.5, price - 0.5, price + 1)]
    amounts = [
        "3.0" if trades else "0",
        "300.0" if trades else "0",
        "1.0" if trades else "0",
        "100.0" if trades else "0",
    ]
    return [open_ms, *prices, amounts[0], open_ms + length_ms - 1, amounts[1], trades, amounts[2], amounts[3], "0"]


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
