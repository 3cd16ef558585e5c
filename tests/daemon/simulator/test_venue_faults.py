"""Faults of a venue's symbols, regions, clock and REST answers, over real sockets and in every venue's dialect."""

from __future__ import annotations

import asyncio
import json
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from daemon.clock import ManualClock
from daemon.errors import DataFault
from daemon.exchanges.base import Acknowledged, Heartbeat, Message, Refused, RestRequest, TradesWanted
from daemon.simulator.exchange import SimulatedExchange
from daemon.simulator.faults.plan import Fault, FaultPlan
from tests.daemon.simulator.bars import HOUR_US, small_market
from tests.daemon.simulator.running_exchange import LIVE_US, Venue
from tests.daemon.simulator.venue_client import SYMBOLS, VenueClient
from tests.limits import LIMIT_S

BTC, ETH = SYMBOLS
WHOLE_SECONDS = {"kraken", "bitstamp"}


async def ask(feed: VenueClient, request: RestRequest) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an answer, whatever it is."""
    address = feed.venue.addresses.rest_url + request.path
    async with aiohttp.ClientSession() as session, session.get(address, params=dict(request.query)) as response:
        return response.status, await response.read(), dict(response.headers)


def candles_of(feed: VenueClient, symbol: str, hours: int = 2) -> RestRequest:
    return feed.protocol.candles(symbol, HOUR_US, LIVE_US - hours * HOUR_US, LIVE_US)


async def is_served(feed: VenueClient, request: RestRequest) -> bool:
    """Whether an answer has status 200 and no error of the venue in it."""
    status, body, _ = await ask(feed, request)
    try:
        feed.protocol.check_answer(body)
    except DataFault:
        return False
    return status == 200


async def listed(feed: VenueClient) -> set[str]:
    body, _ = await feed.body(feed.protocol.instruments())
    return set(feed.protocol.decode_instruments(body))


async def answer_to_subscription(feed: VenueClient, symbol: str) -> Message:
    async with feed.connect() as connection:
        await connection.send(feed.protocol.subscribe((symbol,), 1))
        async with asyncio.timeout(LIMIT_S):
            while isinstance(message := feed.take(await connection.recv()), Heartbeat):
                pass
    return message


async def test_a_delisted_symbol_is_unknown(feed: VenueClient) -> None:
    """It leaves the symbol list, REST and websocket refuse it, its trades end, and the other symbol continues."""
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        await feed.receive_trades(connection, quiet_s=0.3)
        feed.exchange.delist(BTC)
        feed.received[BTC].clear()
        feed.clock.set(LIVE_US + HOUR_US)
        await feed.receive_trades(connection)
    assert not feed.received[BTC]
    assert feed.received[ETH]
    assert await listed(feed) == {ETH}
    assert not await is_served(feed, candles_of(feed, BTC))
    assert not await is_served(feed, feed.protocol.latest_trade(BTC))
    assert await is_served(feed, candles_of(feed, ETH))
    answer = await answer_to_subscription(feed, BTC)
    assert isinstance(answer, Acknowledged if feed.name in {"binance", "bitstamp"} else Refused)
    feed.exchange.relist(BTC)
    assert await listed(feed) == {BTC, ETH}
    assert await is_served(feed, candles_of(feed, BTC))


async def test_a_relisted_symbol_can_be_subscribed_again(feed: VenueClient) -> None:
    """A new subscription receives the trades from then on; the old one has ended."""
    feed.exchange.delist(BTC)
    feed.exchange.relist(BTC)
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        feed.clock.set(LIVE_US + HOUR_US)
        await feed.receive_trades(connection)
    feed.check(feed.between(BTC, LIVE_US, LIVE_US + HOUR_US), BTC, LIVE_US, HOUR_US)


async def test_symbol_lists_that_lack_symbols(feed: VenueClient) -> None:
    """An empty and a partial list are valid; a truncated one is not JSON; trading continues."""
    feed.exchange.set_listing("empty")
    assert await listed(feed) == set()
    feed.exchange.set_listing("partial", BTC)
    assert await listed(feed) == {ETH}
    assert await is_served(feed, candles_of(feed, BTC))
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        feed.clock.set(LIVE_US + HOUR_US)
        await feed.receive_trades(connection)
    assert feed.received[BTC]
    feed.exchange.set_listing("cut")
    status, body, _ = await ask(feed, feed.protocol.instruments())
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    feed.exchange.set_listing(None)
    assert await listed(feed) == {BTC, ETH}


@pytest.mark.parametrize("status", [403, 451])
async def test_a_refused_region(feed: VenueClient, status: int) -> None:
    """Open websockets are cut, and every request and new websocket is answered with the status."""
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        feed.exchange.refuse_region(status)
        with pytest.raises(ConnectionClosed):
            await feed.receive_trades(connection, quiet_s=2.0)
    with pytest.raises(InvalidStatus) as refused:
        async with feed.connect():
            pass
    assert refused.value.response.status_code == status
    for request in (feed.protocol.instruments(), feed.protocol.server_time(), candles_of(feed, BTC)):
        assert (await ask(feed, request))[0] == status
    feed.exchange.refuse_region(None)
    assert await listed(feed) == {BTC, ETH}
    async with feed.connect() as connection:
        await feed.subscribe(connection)


async def test_a_partial_list_needs_its_symbol(venue: Venue) -> None:
    """A list that lacks nothing would be no fault."""
    with pytest.raises(ValueError, match="needs the symbol"):
        venue.exchange.set_listing("partial")


async def test_a_region_is_refused_with_its_own_statuses(venue: Venue) -> None:
    """Another status is an error of the caller, in a plan of the file."""
    with pytest.raises(ValueError, match="403 or 451"):
        venue.exchange.refuse_region(500)
    with pytest.raises(ValueError, match="403 or 451"):
        Fault(kind="region", status=500)


async def reported_us(feed: VenueClient) -> int:
    return feed.protocol.decode_server_time(*(await feed.body(feed.protocol.server_time())))


@pytest.mark.parametrize("ms", [20_000, -7_000, 36_000_000])
async def test_a_server_time_that_is_wrong(feed: VenueClient, ms: int) -> None:
    """The reported time and the Date are off by the offset; trades and candles have right times."""
    feed.clock.set(LIVE_US + HOUR_US)
    right_us = await reported_us(feed)
    feed.exchange.set_server_time_offset(ms)
    assert await reported_us(feed) - right_us == ms * 1000
    _, date = await feed.body(feed.protocol.server_time())
    assert parsedate_to_datetime(date).timestamp() == (LIVE_US + HOUR_US + ms * 1000) // 1_000_000
    wanted = TradesWanted(symbol=BTC, from_id=None, from_time_us=LIVE_US, until_id=None, asked_at_us=LIVE_US + HOUR_US)
    request = feed.protocol.latest_trade(BTC)
    trades = feed.protocol.decode_trades((await feed.body(request))[0], wanted, request).trades
    assert LIVE_US <= trades[-1].time_us < LIVE_US + HOUR_US
    feed.exchange.set_server_time_offset(0)
    assert await reported_us(feed) == right_us


async def test_kraken_and_bitstamp_report_whole_seconds(feed: VenueClient) -> None:
    """Their time stays for a second and then steps by one; the others report milliseconds."""
    reported = []
    for ms in (0, 400, 999, 1_000):
        feed.clock.set(LIVE_US + ms * 1000)
        reported.append(await reported_us(feed))
    steps_ms = [(us - reported[0]) // 1000 for us in reported]
    assert steps_ms == ([0, 0, 0, 1_000] if feed.name in WHOLE_SECONDS else [0, 400, 999, 1_000])


async def test_the_first_requests_of_a_symbol_are_refused(feed: VenueClient) -> None:
    """Three requests of one symbol get 429 with the given Retry-After; the other symbol and the fourth are answered."""
    feed.exchange.refuse_requests(3, symbol=BTC, retry_after_s=99_999_999)
    assert await is_served(feed, candles_of(feed, ETH))
    assert await is_served(feed, feed.protocol.server_time())
    for request in (candles_of(feed, BTC), feed.protocol.latest_trade(BTC), candles_of(feed, BTC)):
        status, _, headers = await ask(feed, request)
        assert (status, headers["Retry-After"]) == (429, "99999999")
    assert await is_served(feed, candles_of(feed, BTC))


async def test_refused_requests_of_any_symbol(venue: Venue) -> None:
    """Without a symbol the next requests of all are refused, with the given status."""
    venue.exchange.refuse_requests(2, status=503)
    assert [(await venue.get(path))[0] for path in ("time", "ping", "time")] == [503, 503, 200]


async def timed(feed: VenueClient, request: RestRequest) -> tuple[float, bytes]:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    _, body, _ = await ask(feed, request)
    return loop.time() - began_s, body


async def test_a_late_answer_is_the_old_answer(feed: VenueClient) -> None:
    """It comes late and holds what was true at the request; a request after it is answered before it."""
    feed.exchange.delay_answers(1, for_s=0.6, symbol=BTC)
    other_s, _ = await timed(feed, candles_of(feed, ETH))
    request = feed.protocol.latest_trade(BTC)
    late = asyncio.create_task(timed(feed, request))
    await asyncio.sleep(0.2)
    feed.clock.set(LIVE_US + HOUR_US)
    at_once_s, newer = await timed(feed, request)
    assert not late.done()
    late_s, older = await late
    assert other_s < 0.4
    assert at_once_s < 0.4
    assert late_s >= 0.6
    assert older != newer


async def crossed(feed: VenueClient, first: RestRequest, second: RestRequest) -> list[Any]:
    """The answers to two requests, the second sent while the first waits."""
    waiting = asyncio.create_task(ask(feed, first))
    await asyncio.sleep(0.2)
    other = await ask(feed, second)
    return [(await waiting)[1], other[1]]


async def test_crossed_answers(feed: VenueClient) -> None:
    """Each of two requests of one path gets the answer to the other, then each its own again."""
    short, long = candles_of(feed, BTC, hours=1), candles_of(feed, BTC, hours=3)
    # OKX has two paths, and Kraken's candles have no end.
    since = {"since": LIVE_US // 1_000_000 - 3_601} if feed.name == "kraken" else {}
    short = RestRequest(long.path, {**short.query, **since})
    own = [(await ask(feed, request))[1] for request in (short, long)]
    feed.exchange.cross_answers(1, for_s=3.0, symbol=BTC)
    answers = await crossed(feed, short, long)
    if feed.name.startswith("bybit"):  # the envelope has the time
        own, answers = ([json.loads(body)["result"] for body in bodies] for bodies in (own, answers))
    assert own[0] != own[1]
    assert answers == own[::-1]
    assert (await ask(feed, long))[0] == 200


async def test_answers_of_two_symbols_are_crossed_on_request(venue: Venue) -> None:
    """With a symbol both requests must name it; without one, a symbol gets the other's trades."""
    btc, eth = [(await venue.get("aggTrades", symbol=symbol))[1] for symbol in ("BTCUSDT", "ETHUSDT")]
    for symbol, expected in (("BTCUSDT", [btc, eth]), (None, [eth, btc])):
        venue.exchange.cross_answers(1, for_s=0.4, symbol=symbol)
        waiting = asyncio.create_task(venue.get("aggTrades", symbol="BTCUSDT"))
        await asyncio.sleep(0.1)
        other = await venue.get("aggTrades", symbol="ETHUSDT")
        assert [(await waiting)[1], other[1]] == expected


async def test_an_answer_without_another_is_sent_as_it_is(feed: VenueClient) -> None:
    """When no second request comes in time, after that time."""
    feed.exchange.cross_answers(1, for_s=0.3)
    late_s, body = await timed(feed, candles_of(feed, BTC))
    assert late_s >= 0.3
    feed.protocol.check_answer(body)


async def test_planned_faults_of_a_venue_end_by_themselves() -> None:
    """Delisting, list, region and clock of a plan begin at their times and end after theirs; ``inf`` does not end."""
    plan = FaultPlan(
        faults=(
            Fault(kind="delist", symbol=BTC, for_s=0.2),
            Fault(kind="listing", symbol=ETH, listing="partial", for_s=0.2),
            Fault(kind="server_time", ms=5_000, for_s=0.2),
            Fault(kind="delist", symbol=ETH, at_s=0.5, for_s=float("inf")),
        )
    )
    clock = ManualClock(LIVE_US)
    exchange = SimulatedExchange(small_market(bars=6, trades=40), clock=clock, venue="okx", faults=plan)
    feed = VenueClient("okx", Venue(exchange, clock, await exchange.start()))
    try:
        await asyncio.sleep(0.1)
        assert await listed(feed) == set()
        assert await reported_us(feed) == LIVE_US + 5_000_000
        await asyncio.sleep(0.25)
        assert await listed(feed) == {BTC, ETH}
        assert await reported_us(feed) == LIVE_US
        await asyncio.sleep(0.5)
        assert await listed(feed) == {BTC}
    finally:
        await feed.venue.close()
    kinds = [entry.kind for entry in exchange.log.entries]
    assert sorted(kinds) == ["delist", "delist", "listing", "listing", "relist", "server_time", "server_time"]
