"""The trades of four venues by REST on loopback, paged as each venue pages them, and answered at once.

Trade ``n`` happened n * ``STEP_US`` after ``begin_us``, on every pair alike; the newest is ``newest_id``. In a process
of its own: ``python -m benchmarks.rest_venue BEGIN_US NEWEST_ID`` prints its address.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import uvloop
from aiohttp import web

from benchmarks.venue_process import venue_process

STEP_US = 50_000

Query = Mapping[str, str]


class Trades:
    """The existing ids and their times."""

    def __init__(self, begin_us: int, newest_id: int) -> None:
        self.begin_us = begin_us
        self.newest_id = newest_id

    def time_us(self, trade_id: int) -> int:
        return self.begin_us + trade_id * STEP_US

    def since(self, time_us: int) -> int:
        """The first trade at or after a time."""
        return max(1, -(-(time_us - self.begin_us) // STEP_US))

    def up_from(self, first_id: int, count: int) -> range:
        return range(first_id, min(first_id + count - 1, self.newest_id) + 1)

    def down_from(self, last_id: int, count: int) -> range:
        last_id = min(last_id, self.newest_id)
        return range(last_id, max(last_id - count, 0), -1)


def binance(trades: Trades, query: Query) -> list[dict[str, Any]]:
    ids = trades.up_from(int(query["fromId"]), int(query["limit"]))
    return [
        {"a": n, "p": "98000.50000000", "q": "0.01250000", "f": n, "l": n, "T": trades.time_us(n) // 1000, "m": True}
        for n in ids
    ]


def coinbase(trades: Trades, query: Query) -> list[dict[str, Any]]:
    ids = trades.down_from(int(query.get("after", trades.newest_id + 1)) - 1, int(query["limit"]))
    return [
        {"trade_id": n, "side": "buy", "size": "0.01250000", "price": "98000.50", "time": _iso(trades.time_us(n))}
        for n in ids
    ]


def kraken(trades: Trades, query: Query) -> dict[str, Any]:
    ids = trades.up_from(trades.since(int(query["since"]) // 1000), int(query["count"]))
    rows = [["98000.5", "0.0125", trades.time_us(n) / 1e6, "b", "m", "", n] for n in ids]
    return {"error": [], "result": {query["pair"]: rows, "last": str(trades.time_us(ids[-1]) * 1000)}}


def okx(trades: Trades, query: Query) -> dict[str, Any]:
    ids = trades.down_from(int(query.get("after", trades.newest_id + 1)) - 1, int(query["limit"]))
    native = query["instId"]
    data = [
        {
            "instId": native,
            "tradeId": str(n),
            "px": "98000.5",
            "sz": "0.0125",
            "side": "buy",
            "ts": str(trades.time_us(n) // 1000),
        }
        for n in ids
    ]
    return {"code": "0", "msg": "", "data": data}


_PATHS: dict[str, Callable[[Trades, Query], Any]] = {
    "/api/v3/aggTrades": binance,
    "/products/{product}/trades": coinbase,
    "/0/public/Trades": kraken,
    "/api/v5/market/history-trades": okx,
    "/api/v5/market/trades": okx,
}


@contextmanager
def served(begin_us: int, newest_id: int) -> Iterator[str]:
    """The venue in a process of its own; yields its address."""
    with venue_process("benchmarks.rest_venue", str(begin_us), str(newest_id)) as address:
        yield address


async def _serve(trades: Trades) -> None:
    def answering(page: Callable[[Trades, Query], Any]) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            body = msgspec.json.encode(page(trades, request.query))
            return web.Response(body=body, content_type="application/json")

        return answer

    application = web.Application()
    application.add_routes([web.get(path, answering(page)) for path, page in _PATHS.items()])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def _iso(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06}Z"


if __name__ == "__main__":
    uvloop.run(_serve(Trades(int(sys.argv[1]), int(sys.argv[2]))))
