"""REST over real HTTP: paging, limits, and refusals in Binance's format."""

from __future__ import annotations

import pytest

from daemon.clock import ManualClock
from daemon.simulator.exchange import SimulatedExchange
from tests.daemon.simulator.bars import HOUR_US, START_US, small_market
from tests.daemon.simulator.running_exchange import LIVE_US, Venue


async def test_klines_are_history_only(venue: Venue) -> None:
    """Three hours are over; the fourth is served when the clock passes its end, not before."""
    _, rows = await venue.get("klines", symbol="BTCUSDT", interval="1h")
    assert [row[0] for row in rows] == [(START_US + hours * HOUR_US) // 1000 for hours in range(3)]
    venue.clock.set(LIVE_US + HOUR_US - 1)
    assert len((await venue.get("klines", symbol="BTCUSDT", interval="1h"))[1]) == 3
    venue.clock.set(LIVE_US + HOUR_US)
    assert len((await venue.get("klines", symbol="BTCUSDT", interval="1h"))[1]) == 4


async def test_klines_page_by_start_and_limit(venue: Venue) -> None:
    """A reader that asks again from the next open time sees every candle once."""
    seen: list[int] = []
    start_ms = 0
    while True:
        _, page = await venue.get("klines", symbol="ETHUSDT", interval="1m", startTime=start_ms, limit=50)
        if not page:
            break
        seen += [row[0] for row in page]
        start_ms = page[-1][6] + 1
    assert seen == list(range(START_US // 1000, LIVE_US // 1000, 60_000))


async def test_a_page_holds_a_thousand_at_most(venue: Venue) -> None:
    """A page has 500 rows by default and 1,000 at most."""
    assert len((await venue.get("klines", symbol="BTCUSDT", interval="1s"))[1]) == 500
    assert len((await venue.get("klines", symbol="BTCUSDT", interval="1s", limit=5_000))[1]) == 1_000


async def test_aggregate_trades_page_by_id(venue: Venue) -> None:
    """Paging with fromId = last + 1 walks every trade that has happened, without a gap or a duplicate."""
    seen: list[int] = []
    while page := (await venue.get("aggTrades", symbol="BTCUSDT", fromId=len(seen) + 1, limit=33))[1]:
        assert len(page) <= 33
        seen += [row["a"] for row in page]
    assert seen == list(range(1, 121))


async def test_an_aggregate_trade_has_binances_keys(venue: Venue) -> None:
    """Ids and times are numbers, price and size are text with eight decimals, m is a boolean."""
    _, (row,) = await venue.get("aggTrades", symbol="BTCUSDT", limit=1)
    assert list(row) == ["a", "p", "q", "f", "l", "T", "m", "M"]
    assert (row["a"], row["l"]) == (120, 120)
    assert len(row["p"].split(".")[1]) == len(row["q"].split(".")[1]) == 8
    assert isinstance(row["m"], bool)


async def test_aggregate_trades_by_time_include_both_ends(venue: Venue) -> None:
    """startTime and endTime belong to the answer."""
    _, trades = await venue.get("aggTrades", symbol="BTCUSDT", fromId=41, limit=10)
    span = {"startTime": trades[2]["T"], "endTime": trades[7]["T"]}
    assert (await venue.get("aggTrades", symbol="BTCUSDT", **span))[1] == trades[2:8]
    assert (await venue.get("aggTrades", symbol="BTCUSDT", endTime=trades[7]["T"], limit=3))[1] == trades[5:8]


async def test_the_future_is_not_served(venue: Venue) -> None:
    """Trades appear with the clock, to the millisecond."""
    future = venue.exchange.tape.bar("BTCUSDT", 3)[5]
    venue.clock.set(future.time_ms * 1000 - 1)
    assert (await venue.get("aggTrades", symbol="BTCUSDT", fromId=future.id))[1] == []
    venue.clock.set(future.time_ms * 1000)
    assert [row["a"] for row in (await venue.get("aggTrades", symbol="BTCUSDT", fromId=future.id))[1]] == [future.id]


async def test_exchange_info_time_and_ping(venue: Venue) -> None:
    """Symbols trade, the time is market time, ping is empty."""
    _, info = await venue.get("exchangeInfo")
    listed = [(row["symbol"], row["status"], row["baseAsset"], row["quoteAsset"]) for row in info["symbols"]]
    assert listed == [("BTCUSDT", "TRADING", "BTC", "USDT"), ("ETHUSDT", "TRADING", "ETH", "USDT")]
    assert len((await venue.get("exchangeInfo", symbol="ETHUSDT"))[1]["symbols"]) == 1
    assert await venue.get("time") == (200, {"serverTime": LIVE_US // 1000})
    assert await venue.get("ping") == (200, {})


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("klines", {"symbol": "NOPEUSDT", "interval": "1h"}, -1121),
        ("aggTrades", {"symbol": "btcusdt"}, -1121),
        ("aggTrades", {}, -1102),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "1h", "limit": "many"}, -1100),
        ("klines", {"symbol": "BTCUSDT", "interval": "1h", "limit": "0"}, -1130),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "1", "startTime": "1"}, -1128),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "-1"}, -1100),
    ],
)
async def test_refusals(venue: Venue, path: str, query: dict[str, str], code: int) -> None:
    """A bad request is answered 400 with Binance's code and a message."""
    status, body = await venue.get(path, **query)
    assert (status, body["code"]) == (400, code)
    assert body["msg"]


async def test_weight_is_counted_and_limited() -> None:
    """Each answer says the weight used; past the limit comes 429 with Retry-After."""
    exchange = SimulatedExchange(small_market(), clock=ManualClock(LIVE_US), rest_limit=12)
    venue = Venue(exchange, ManualClock(LIVE_US), await exchange.start())
    try:
        used = [(await venue.headers("aggTrades?symbol=BTCUSDT"))["X-MBX-USED-WEIGHT-1M"] for _ in range(3)]
        assert used == ["4", "8", "12"]
        status, body = await venue.get("ping")
        assert (status, body["code"]) == (429, -1003)
        assert 1 <= int((await venue.headers("ping"))["Retry-After"]) <= 60
    finally:
        await venue.close()


async def test_a_failing_venue_fails_until_reset(venue: Venue) -> None:
    """Every endpoint answers with the given status, then recovers."""
    venue.exchange.rest_failing(503)
    assert (await venue.get("time"))[0] == 503
    assert (await venue.get("klines", symbol="BTCUSDT", interval="1h"))[0] == 503
    venue.exchange.rest_failing(None)
    assert (await venue.get("time"))[0] == 200
