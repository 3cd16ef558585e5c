"""Trades of venues that page downwards, by time or not at all, against a real HTTP server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from daemon.errors import Retryable
from daemon.exchanges import venue as venue_of
from daemon.ingest.rest_client import RestClient
from daemon.ingest.rest_transport import RestSettings
from daemon.pipeline.answers import SequenceStart
from features.market import Trade
from tests.daemon.ingest import fake_venue_rest
from tests.daemon.ingest.fake_binance_rest import BTC, SECOND_US, SYMBOLS, T0_US, SleepingClock
from tests.daemon.ingest.fake_venue_rest import FakeVenueRest

PAGES = {
    "coinbase": fake_venue_rest.coinbase,
    "kraken": fake_venue_rest.kraken,
    "bybit": fake_venue_rest.bybit,
    "okx": fake_venue_rest.okx,
    "bitstamp": fake_venue_rest.bitstamp,
}


@asynccontextmanager
async def asking(
    name: str, *, newest_id: int, first_id: int = 1, **settings: Any
) -> AsyncIterator[tuple[FakeVenueRest, RestClient, SleepingClock]]:
    """A client of the venue called ``name``, at the second of its newest trade."""
    clock = SleepingClock(T0_US + newest_id * SECOND_US)
    async with (
        FakeVenueRest(PAGES[name], newest_id=newest_id, first_id=first_id) as rest,
        RestClient(
            venue_of(name, SYMBOLS),
            rest.url,
            clock=clock,
            sleep=clock.sleep,
            draw=lambda: 1.0,
            settings=RestSettings(**settings),
        ) as client,
    ):
        yield rest, client, clock


def time_us(number: int) -> int:
    return T0_US + number * SECOND_US


def ids(trades: list[Trade]) -> list[int]:
    return [trade.trade_id for trade in trades]


@pytest.mark.parametrize(("name", "requests"), [("coinbase", 5), ("okx", 1), ("kraken", 1)])
async def test_everything_from_an_id_on(name: str, requests: int) -> None:
    """For every way of paging the answer is oldest first, each trade once, and none older than the id."""
    async with asking(name, newest_id=95) as (rest, client, clock):
        asked_at_us = clock.market_us()
        answer = await client.trades(BTC, from_id=53, until_id=None, after_us=time_us(52))
        assert ids(answer.trades) == list(range(53, 96))
        assert answer.head_reached
        assert answer.complete
        assert answer.asked_at_us == asked_at_us
        assert len(rest.queries) == requests


@pytest.mark.parametrize("name", ["coinbase", "okx", "kraken"])
async def test_a_gap_in_the_midst(name: str) -> None:
    """A walk that begins at the last wanted id proves nothing about the newest trade."""
    async with asking(name, newest_id=900) as (rest, client, _):
        answer = await client.trades(BTC, from_id=300, until_id=345, after_us=time_us(299))
        assert ids(answer.trades) == list(range(300, 346))
        assert not answer.head_reached
        assert answer.complete
        if name != "kraken":
            assert rest.queries[0]["after"] == "346"


async def test_the_time_of_the_question_is_before_every_page() -> None:
    """A downward walk proves completeness only up to the time of its first request."""
    async with asking("coinbase", newest_id=95, pages_per_call=20) as (rest, client, clock):
        asked_at_us = clock.market_us()
        answer = await client.trades(BTC, from_id=1, until_id=None, after_us=0)
        assert len(rest.queries) == 10
        assert clock.slept_s, "the budget made it wait"
        assert answer.asked_at_us == asked_at_us < clock.market_us()


async def test_a_downward_walk_that_is_too_long() -> None:
    """The newest pages are returned as incomplete; the newest trade is reached."""
    async with asking("coinbase", newest_id=95, pages_per_call=3) as (rest, client, _):
        answer = await client.trades(BTC, from_id=1, until_id=None, after_us=0)
        assert ids(answer.trades) == list(range(66, 96))
        assert answer.head_reached
        assert not answer.complete
        answer = await client.trades(BTC, from_id=1, until_id=65, after_us=0)
        assert ids(answer.trades) == list(range(36, 66))
        assert not answer.head_reached
        assert not answer.complete
        assert len(rest.queries) == 6


async def test_pages_that_overlap() -> None:
    """Kraken's pages begin with the last trade of the page before, which is returned once."""
    async with asking("kraken", newest_id=2500) as (rest, client, _):
        answer = await client.trades(BTC, from_id=11, until_id=None, after_us=time_us(10))
        assert ids(answer.trades) == list(range(11, 2501))
        assert answer.head_reached
        assert answer.complete
        sinces = [int(query["since"]) for query in rest.queries]
        assert len(sinces) == 3
        assert sinces == sorted(sinces)


async def test_an_upward_walk_that_is_too_long() -> None:
    """The oldest pages are returned; the newest trade is not reached."""
    async with asking("kraken", newest_id=2500, pages_per_call=2) as (_, client, _):
        answer = await client.trades(BTC, from_id=11, until_id=None, after_us=time_us(10))
        assert ids(answer.trades) == list(range(11, 2009))
        assert not answer.head_reached
        assert not answer.complete


@pytest.mark.parametrize(("ago_s", "whole"), [(30, True), (59, True), (60, False), (300, False)])
async def test_by_time_where_only_the_newest_are_given(ago_s: int, whole: bool) -> None:
    """Bybit's newest 60 trades are complete only if they reach back before the requested time."""
    async with asking("bybit", newest_id=1000) as (_, client, _):
        answer = await client.trades(BTC, from_id=None, until_id=None, after_us=time_us(1000 - ago_s + 1))
        assert ids(answer.trades) == list(range(max(1000 - ago_s + 1, 941), 1001))
        assert answer.head_reached
        assert answer.complete is whole


@pytest.mark.parametrize(
    ("ago_s", "window", "whole"),
    [(30, "minute", True), (600, "hour", True), (7200, "day", True), (90_000, "day", False)],
)
async def test_by_time_where_a_window_is_given(ago_s: int, window: str, whole: bool) -> None:
    """Bitstamp gives the last minute, hour or day; beyond a day the answer is marked incomplete."""
    async with asking("bitstamp", newest_id=100_000) as (rest, client, _):
        answer = await client.trades(BTC, from_id=None, until_id=None, after_us=time_us(100_000 - ago_s))
        assert rest.queries == [{"time": window}]
        assert ids(answer.trades) == list(range(100_000 - min(ago_s, 86_399), 100_001))
        assert answer.complete is whole


async def test_the_start_after_the_last_trade_before_it() -> None:
    """OKX returns the last trade before a time in one small request; the trades since follow by id."""
    async with asking("okx", newest_id=5000) as (rest, client, _):
        start = await client.sequence_start(BTC, time_us(4200))
        assert start.trades == []
        assert start.latest is not None
        assert start.latest.trade_id == 4199
        assert len(rest.queries) == 1


async def test_the_start_of_a_market_that_is_new() -> None:
    """Where nothing was traded before the start, the first trades of the market are its beginning."""
    async with asking("okx", newest_id=950, first_id=700) as (_, client, _):
        start = await client.sequence_start(BTC, time_us(500))
        assert ids(start.trades) == list(range(700, 951))
        assert start.latest is None


async def test_the_start_that_is_paged_down_to() -> None:
    """Coinbase has no requests by time: the client pages down to before the start, within a bound."""
    async with asking("coinbase", newest_id=500, pages_per_call=2) as (rest, client, _):
        start = await client.sequence_start(BTC, time_us(400))
        assert ids(start.trades) == list(range(400, 501))
        assert len(rest.queries) == 11


async def test_a_start_that_is_too_far_away() -> None:
    """A start beyond the bound is refused, because trades would be missing behind it."""
    async with asking("coinbase", newest_id=500, pages_per_start=3) as (rest, client, _):
        with pytest.raises(Retryable, match="too many trades of BTC-USDT"):
            await client.sequence_start(BTC, time_us(400))
        assert len(rest.queries) == 3


async def test_the_start_by_time() -> None:
    """Kraken is requested by time: the first page from there on, without older trades."""
    async with asking("kraken", newest_id=2500) as (rest, client, _):
        start = await client.sequence_start(BTC, time_us(400))
        assert ids(start.trades)[0] == 400
        assert len(rest.queries) == 1


@pytest.mark.parametrize("name", ["coinbase", "kraken"])
async def test_the_start_of_a_quiet_market(name: str) -> None:
    """Without trades since the start the newest trade gives the last id."""
    async with asking(name, newest_id=95) as (_, client, clock):
        clock.now_us += 3600 * SECOND_US
        start = await client.sequence_start(BTC, time_us(2000))
        assert start.trades == []
        assert start.latest is not None
        assert start.latest.trade_id == 95


@pytest.mark.parametrize("name", ["coinbase", "kraken", "okx"])
async def test_the_start_of_a_market_that_never_traded(name: str) -> None:
    """A market without trades has no last id."""
    async with asking(name, newest_id=0) as (_, client, _):
        assert await client.sequence_start(BTC, time_us(-100)) == SequenceStart([], None)
