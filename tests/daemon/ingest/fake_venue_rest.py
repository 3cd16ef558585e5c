"""The REST sides of five venues on loopback: how each pages its trades, and its error answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, Self

import msgspec
from aiohttp import web

from daemon.timestamps import iso
from tests.daemon.ingest.fake_binance_rest import T0_MS, T0_US

Query = Mapping[str, str]
Page = Callable[["FakeVenueRest", str, Query], Any]


class FakeVenueRest:
    """Trade ``number`` of ``first_id`` to ``newest_id`` happened as many seconds after T0, on every pair alike.

    complaints: bodies with HTTP 200 that are served first. paths, queries: every request that came.
    """

    def __init__(self, page: Page, *, newest_id: int, first_id: int = 1) -> None:
        self._page = page
        self.first_id = first_id
        self.newest_id = newest_id
        self.complaints: deque[bytes] = deque()
        self.date_s = T0_MS / 1000
        self.date: str | None = None
        self.status = 200
        self.retry_after = "0"
        self.paths: list[str] = []
        self.queries: list[dict[str, str]] = []

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def between(self, first: int, last: int) -> range:
        return range(max(first, self.first_id), min(last, self.newest_id) + 1)

    async def _answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.queries.append(dict(request.query))
        date = formatdate(self.date_s, usegmt=True) if self.date is None else self.date
        if self.complaints:
            body = self.complaints.popleft()
        else:
            body = msgspec.json.encode(self._page(self, request.path, request.query))
        headers = {"Date": date, "Retry-After": self.retry_after}
        return web.Response(status=self.status, body=body, content_type="application/json", headers=headers)


def coinbase(venue: FakeVenueRest, path: str, query: Query) -> list[dict[str, Any]]:
    """Newest first, ``after`` an id; a page holds ten trades."""
    last = int(query.get("after", venue.newest_id + 1)) - 1
    return [
        {"trade_id": number, "price": "100.5", "size": "2", "side": "buy", "time": iso(T0_US + number * 1_000_000)}
        for number in reversed(venue.between(last - min(10, int(query["limit"])) + 1, last))
    ]


def kraken(venue: FakeVenueRest, path: str, query: Query) -> dict[str, Any]:
    """Oldest first, from ``since`` on in nanoseconds; a page holds a thousand."""
    since_ns = int(query.get("since", (T0_US + (venue.newest_id - 999) * 1_000_000) * 1000))
    first = max(-(-(since_ns - T0_US * 1000) // 1_000_000_000), venue.first_id)
    numbers = venue.between(first, first + 999)
    rows = [["100.5", "2", (T0_US + number * 1_000_000) / 1e6, "b", "m", "", number] for number in numbers]
    last = max(numbers, default=0)
    return {"error": [], "result": {query["pair"]: rows, "last": str((T0_US + last * 1_000_000) * 1000)}}


def kraken_candles(venue: FakeVenueRest, path: str, query: Query) -> dict[str, Any]:
    """The newest 720 hours up to the running one, from the one before ``since`` on."""
    running_s = T0_MS // 3_600_000 * 3600
    opens = [open_s for open_s in range(running_s - 719 * 3600, running_s + 1, 3600) if open_s > int(query["since"])]
    rows = [[open_s, "100", "101", "99", "100", "100", "3", 2] for open_s in opens]
    return {"error": [], "result": {query["pair"]: rows, "last": running_s}}


def bybit(venue: FakeVenueRest, path: str, query: Query) -> dict[str, Any]:
    """The newest, newest first."""
    first = venue.newest_id - int(query["limit"]) + 1
    records = [
        {
            "execId": str(number),
            "symbol": query["symbol"],
            "price": "100.5",
            "size": "2",
            "side": "Buy",
            "time": str(T0_MS + number * 1000),
        }
        for number in reversed(venue.between(first, venue.newest_id))
    ]
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": records}}


def okx(venue: FakeVenueRest, path: str, query: Query) -> dict[str, Any]:
    """Newest first: the newest, or older than an id or a time."""
    if path.endswith("history-trades"):
        after = int(query["after"])
        last = after - 1 if query["type"] == "1" else (after - 1 - T0_MS) // 1000
    else:
        last = venue.newest_id
    return {
        "code": "0",
        "data": [
            {
                "instId": query["instId"],
                "tradeId": str(number),
                "px": "100.5",
                "sz": "2",
                "side": "buy",
                "ts": str(T0_MS + number * 1000),
            }
            for number in reversed(venue.between(last - min(int(query["limit"]), 100) + 1, last))
        ],
    }


def bitstamp(venue: FakeVenueRest, path: str, query: Query) -> list[dict[str, Any]]:
    """The trades of the window that ends now, the second of the newest trade."""
    seconds = {"minute": 60, "hour": 3600, "day": 86_400}[query.get("time", "minute")]
    return [
        {"date": str(T0_MS // 1000 + number), "tid": str(number), "price": "100.5", "amount": "2", "type": "0"}
        for number in reversed(venue.between(venue.newest_id - seconds + 1, venue.newest_id))
    ]
