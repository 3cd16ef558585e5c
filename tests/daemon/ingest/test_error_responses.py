"""Errors that come with HTTP 200, request budgets, the reach of candles, and server times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from daemon.errors import DataFault, RateLimited, Retryable
from daemon.exchanges import venue as venue_of
from daemon.ingest.rest_client import RestClient
from daemon.market_time.venue_clock import TimeSample
from tests.daemon.ingest import fake_venue_rest
from tests.daemon.ingest.fake_binance_rest import BTC, HOUR_US, SECOND_US, SYMBOLS, T0_US, SleepingClock
from tests.daemon.ingest.fake_venue_rest import FakeVenueRest, Page

ETH = "ETH-USDT"


@asynccontextmanager
async def asking(name: str, page: Page) -> AsyncIterator[tuple[FakeVenueRest, RestClient, SleepingClock]]:
    clock = SleepingClock()
    async with (
        FakeVenueRest(page, newest_id=40) as rest,
        RestClient(venue_of(name, SYMBOLS), rest.url, clock=clock, sleep=clock.sleep, draw=lambda: 1.0) as client,
    ):
        yield rest, client, clock


async def one_request(client: RestClient, symbol: str = BTC) -> int:
    """The number of wanted trades on the newest page."""
    return len((await client.trades(symbol, from_id=None, until_id=None, after_us=T0_US + 30 * SECOND_US)).trades)


@pytest.mark.parametrize(
    ("name", "page", "complaint", "pause_s"),
    [
        ("kraken", fake_venue_rest.kraken, b'{"error":["EAPI:Rate limit exceeded"]}', 5),
        ("kraken", fake_venue_rest.kraken, b'{"error":["EGeneral:Too many requests"]}', 5),
        ("bybit", fake_venue_rest.bybit, b'{"retCode":10006,"retMsg":"Too many visits!"}', 5),
        ("okx", fake_venue_rest.okx, b'{"code":"50011","msg":"Too Many Requests","data":[]}', 2),
    ],
)
async def test_a_rate_limit_in_a_good_answer(name: str, page: Page, complaint: bytes, pause_s: float) -> None:
    """A rate limit with HTTP 200 is waited out like one with its own status, and the request is repeated."""
    async with asking(name, page) as (rest, client, clock):
        rest.complaints.append(complaint)
        assert await one_request(client) == 11
        assert clock.slept_s[0] == pytest.approx(pause_s)
        assert len(rest.queries) == 2


async def test_a_rate_limit_that_does_not_end() -> None:
    """After a bounded number of attempts the caller gets the error."""
    async with asking("kraken", fake_venue_rest.kraken) as (rest, client, clock):
        rest.complaints.extend([b'{"error":["EAPI:Rate limit exceeded"]}'] * 9)
        with pytest.raises(RateLimited, match="kraken: EAPI:Rate limit exceeded"):
            await one_request(client)
        assert len(rest.queries) == 4
        assert clock.wall_s() - T0_US / 1e6 >= 15


@pytest.mark.parametrize(
    ("name", "page", "complaint"),
    [
        ("kraken", fake_venue_rest.kraken, b'{"error":["EService:Unavailable"]}'),
        ("bybit", fake_venue_rest.bybit, b'{"retCode":10016,"retMsg":"Server error"}'),
        ("okx", fake_venue_rest.okx, b'{"code":"50013","msg":"Systems are busy","data":[]}'),
    ],
)
async def test_a_complaint_that_passes(name: str, page: Page, complaint: bytes) -> None:
    """A temporary error is retried after a short pause, a bounded number of times."""
    async with asking(name, page) as (rest, client, clock):
        rest.complaints.append(complaint)
        assert await one_request(client) == 11
        assert clock.slept_s[0] == 0.5
        rest.complaints.extend([complaint] * 9)
        with pytest.raises(Retryable, match=name):
            await one_request(client)
        assert len(rest.queries) == 6


@pytest.mark.parametrize(
    ("name", "page", "complaint"),
    [
        ("kraken", fake_venue_rest.kraken, b'{"error":["EQuery:Unknown asset pair"]}'),
        ("bybit", fake_venue_rest.bybit, b'{"retCode":10001,"retMsg":"Not supported symbols"}'),
        ("okx", fake_venue_rest.okx, b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}'),
        ("bitstamp", fake_venue_rest.bitstamp, b'{"status":"error","reason":"Invalid pair","code":"400.002"}'),
    ],
)
async def test_a_complaint_that_does_not_pass(name: str, page: Page, complaint: bytes) -> None:
    """A wrong request is sent once, and the error quotes the venue."""
    async with asking(name, page) as (rest, client, clock):
        rest.complaints.append(complaint)
        with pytest.raises(DataFault, match=r"Unknown|Not supported|not exist|Invalid pair"):
            await one_request(client)
        assert len(rest.queries) == 1
        assert clock.slept_s == []


async def test_every_pair_has_a_budget_of_its_own() -> None:
    """Kraken counts per pair: the used budget of one pair delays no other."""
    async with asking("kraken", fake_venue_rest.kraken) as (rest, client, clock):
        for symbol in SYMBOLS:
            await one_request(client, symbol)
        assert clock.slept_s == []
        await one_request(client, ETH)
        assert clock.slept_s == [pytest.approx(1 / 0.9)]
        await one_request(client, BTC)
        assert len(clock.slept_s) == 1, "its budget came back meanwhile"
        assert [query["pair"] for query in rest.queries] == ["XBTUSDT", "ETHUSDT", "LUNAUSDT", "ETHUSDT", "XBTUSDT"]


async def test_a_budget_that_all_share() -> None:
    """Coinbase counts per address."""
    async with asking("coinbase", fake_venue_rest.coinbase) as (_, client, clock):
        for _ in range(5):
            await one_request(client)  # two pages each
        assert clock.wall_s() - T0_US / 1e6 == pytest.approx((10 - 5) / 9, abs=0.01)


async def test_a_ban_stops_who_waited_for_the_budget_meanwhile() -> None:
    """A request that waits for its budget is not sent once the venue has banned another."""
    clock, banned = SleepingClock(), asyncio.Event()

    async def sleep(delay_s: float) -> None:
        await banned.wait()
        await clock.sleep(delay_s)

    async with (
        FakeVenueRest(fake_venue_rest.kraken, newest_id=40) as rest,
        RestClient(venue_of("kraken", SYMBOLS), rest.url, clock=clock, sleep=sleep) as client,
    ):
        rest.status, rest.retry_after = 418, "600"
        waiting = asyncio.create_task(one_request(client))
        with pytest.raises(RateLimited):
            await one_request(client)
        banned.set()
        with pytest.raises(RateLimited, match=r"allows no request for (29\d|300) s"):
            await waiting
        assert len(rest.queries) == 1


async def test_candles_only_as_far_back_as_the_venue_has_them() -> None:
    """Kraken keeps the newest 720 candles: older ones are not requested."""
    async with asking("kraken", fake_venue_rest.kraken_candles) as (rest, client, _):
        running_us = T0_US // HOUR_US * HOUR_US
        bars = await client.candles(BTC, HOUR_US, running_us - 5000 * HOUR_US, running_us + HOUR_US)
        assert len(rest.queries) == 1
        assert int(rest.queries[0]["since"]) >= (running_us - 722 * HOUR_US) // SECOND_US
        assert [bar.open_time_us for bar in bars] == list(range(running_us - 719 * HOUR_US, running_us, HOUR_US))
        assert await client.candles(BTC, HOUR_US, running_us - 5000 * HOUR_US, running_us - 4000 * HOUR_US) == []
        assert len(rest.queries) == 1


async def test_bars_whose_first_candles_are_out_of_reach() -> None:
    """A bar is left out where the venue keeps only its later candles."""
    async with asking("kraken", fake_venue_rest.kraken_candles) as (_, client, _):
        two_us, running_us = 2 * HOUR_US, T0_US // HOUR_US * HOUR_US
        bars = await client.candles(BTC, two_us, running_us - 5000 * HOUR_US, running_us)
        assert {bar.open_time_us % two_us for bar in bars} == {0}
        assert bars[0].open_time_us == -(-(running_us - 719 * HOUR_US) // two_us) * two_us
        assert {bar.volume for bar in bars} == {6.0}


async def test_time_from_the_date_of_an_answer() -> None:
    """Bitstamp gives its time in the Date header only: the middle of that second is used."""
    async with asking("bitstamp", fake_venue_rest.bitstamp) as (rest, client, clock):
        assert await client.time_sample() == TimeSample(500_000, 500_000)
        rest.date_s += 30
        assert (await client.time_sample()).offset_us == 30_500_000
        clock.now_us += 40 * SECOND_US
        assert (await client.time_sample()).offset_us == -9_500_000


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 21 Oct 2015 07:28:00"])
async def test_a_date_that_cannot_be_read(date: str) -> None:
    """An unreadable date is no time."""
    async with asking("bitstamp", fake_venue_rest.bitstamp) as (rest, client, _):
        rest.date = date
        with pytest.raises(DataFault, match="without a readable Date"):
            await client.time_sample()
