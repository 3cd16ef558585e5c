"""Symbols are confirmed one by one in every venue's way, and a refused one affects no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from daemon.ingest.stream import MarketStream
from tests.daemon.ingest.background_stream import BTC, DOT, ETH, FAST, IMPATIENT, RecordingListener, streaming
from tests.daemon.ingest.fake_venues import STYLES, FakeVenue, KrakenStyle, swift
from tests.limits import LIMIT_S

SYMBOLS = (BTC, ETH, DOT)


@asynccontextmanager
async def subscribing(
    name: str, listener: RecordingListener, prepare: Callable[[FakeVenue], None] = lambda _: None, **options: Any
) -> AsyncIterator[tuple[FakeVenue, MarketStream]]:
    """A stream of three symbols at the venue called ``name``, with the faults that ``prepare`` sets."""
    async with FakeVenue(name) as venue:
        prepare(venue)
        async with streaming(venue.url, listener, SYMBOLS, venue=swift(name, SYMBOLS), **options) as stream:
            yield venue, stream


async def assert_flowing(venue: FakeVenue, listener: RecordingListener, *symbols: str) -> None:
    """Trades of exactly these symbols arrive."""
    before = {symbol: len(listener.ids.get(symbol, [])) for symbol in SYMBOLS}
    for symbol in SYMBOLS:
        venue.send(symbol, 1)
    await listener.until(lambda: all(len(listener.ids.get(symbol, [])) > before[symbol] for symbol in symbols))
    assert {symbol for symbol in SYMBOLS if len(listener.ids.get(symbol, [])) > before[symbol]} == set(symbols)


@pytest.mark.parametrize("name", STYLES)
async def test_every_venue_is_subscribed_to_in_its_own_way(name: str, listener: RecordingListener) -> None:
    """The opening frames are sent first, every symbol is confirmed, and its trades arrive."""
    async with subscribing(name, listener) as (venue, stream):
        await listener.until_count("connected", 1)
        await assert_flowing(venue, listener, *SYMBOLS)
        opening = list(swift(name, SYMBOLS).opening())
        assert [text for _, text in venue.received][: len(opening)] == opening
        assert stream.states[0].connected
    assert listener.events[:4] == [*(("subscribed", symbol) for symbol in SYMBOLS), ("connected", SYMBOLS)]
    assert listener.losses == []
    assert listener.all("refused") == []


async def test_trades_of_several_symbols_in_one_frame(listener: RecordingListener) -> None:
    """Each symbol gets its own."""
    async with subscribing("kraken", listener) as (venue, _):
        await listener.until_count("connected", 1)
        assert isinstance(venue.style, KrakenStyle)
        venue.tell(venue.peers[0], venue.style.batch([("BTC/USDT", 1), ("ETH/USDT", 7), ("BTC/USDT", 2)]))
        await listener.until(lambda: listener.ids == {BTC: [1, 2], ETH: [7]})


@pytest.mark.parametrize("name", ["kraken", "okx"])
async def test_acknowledgements_in_any_order(name: str, listener: RecordingListener) -> None:
    """A request is answered with the last of its symbols, in any order."""

    def prepare(venue: FakeVenue) -> None:
        venue.ordered = lambda frames: frames[::-1]

    async with subscribing(name, listener, prepare) as (venue, _):
        await listener.until_count("connected", 1)
        assert len(venue.requests) == 1
    assert listener.all("connected") == [(SYMBOLS,)]


@pytest.mark.parametrize("name", ["kraken", "bitstamp"])
async def test_a_refusal_that_names_its_symbol(name: str, listener: RecordingListener) -> None:
    """Only that symbol is left out, without another request; it is reported as not served and requested again."""
    settings = msgspec.structs.replace(FAST, resubscribe_s=0.15)
    async with subscribing(name, listener, lambda venue: refuse(venue, ETH), settings=settings) as (venue, _):
        await listener.until_count("disconnected", 1)
        assert sum(venue.style.native(ETH) in request for request in venue.requests) == 1
        await assert_flowing(venue, listener, BTC, DOT)
        assert [(loss.symbols, loss.next_try_s) for loss in listener.losses] == [((ETH,), 0.15)]
        await listener.until_count("refused", 2)
        assert venue.requests[-1] == [venue.style.native(ETH)]
        venue.wrong.clear()
        await listener.until_count("connected", 2)
        await assert_flowing(venue, listener, *SYMBOLS)
        assert venue.attempts == 1
    assert listener.all("connected") == [((BTC, DOT),), ((ETH,),)]
    assert {symbol for symbol, _ in listener.all("refused")} == {ETH}


@pytest.mark.parametrize("name", ["coinbase", "bybit", "bybit_linear", "okx"])
@pytest.mark.parametrize("wrong", SYMBOLS)
async def test_a_refusal_that_names_no_symbol(name: str, wrong: str, listener: RecordingListener) -> None:
    """The request is bisected down to the wrong symbol; the others are served."""
    others = [symbol for symbol in SYMBOLS if symbol != wrong]
    async with subscribing(name, listener, lambda venue: refuse(venue, wrong)) as (venue, _):
        await listener.until_count("disconnected", 1)
        await assert_flowing(venue, listener, *others)
        venue.wrong.clear()
        await listener.until_count("connected", 2)
        await assert_flowing(venue, listener, *SYMBOLS)
        assert venue.attempts == 1
    assert {symbol for symbol, _ in listener.all("refused")} == {wrong}
    assert all(reason for _, reason in listener.all("refused"))
    assert listener.all("connected") == [(tuple(others),), ((wrong,),)]


async def test_acknowledgements_that_come_after_the_refusal(listener: RecordingListener) -> None:
    """Symbols that OKX acknowledges beside a wrong one are confirmed, also after the bisection began."""

    def refusals_first(frames: list[str]) -> list[str]:
        return sorted(frames, key=lambda frame: '"error"' not in frame)

    def prepare(venue: FakeVenue) -> None:
        refuse(venue, BTC)
        venue.ordered = refusals_first

    async with subscribing("okx", listener, prepare) as (venue, _):
        await listener.until_count("disconnected", 1)
        await assert_flowing(venue, listener, ETH, DOT)
    assert listener.all("connected")[0] == ((ETH, DOT),)
    assert {symbol for symbol, _ in listener.all("refused")} == {BTC}
    assert venue.requests[0] == [BTC, ETH, DOT]
    assert {tuple(request) for request in venue.requests[1:]} <= {(BTC,), (ETH, DOT)}


async def test_every_symbol_wrong(listener: RecordingListener) -> None:
    """A connection on which nothing is confirmed does not count as established."""
    async with subscribing("kraken", listener, lambda venue: refuse(venue, *SYMBOLS)) as (venue, _):
        await listener.until_count("disconnected", 2)
        assert venue.attempts >= 2
    assert "kraken confirmed none of BTC-USDT, ETH-USDT, DOT-USDT" in listener.losses[0].reason
    assert listener.all("connected") == []


@pytest.mark.parametrize("name", ["coinbase", "kraken", "okx"])
async def test_a_symbol_that_is_never_answered_for(name: str, listener: RecordingListener) -> None:
    """The acknowledged symbols are served while the request for the other is repeated."""
    async with subscribing(name, listener, lambda venue: mute(venue, ETH), settings=IMPATIENT) as (venue, _):
        await listener.until_count("disconnected", 1)
        await assert_flowing(venue, listener, BTC, DOT)
        assert listener.all("refused") == [(ETH, "no answer")]
        assert [loss.symbols for loss in listener.losses] == [(ETH,)]
        venue.mute.clear()
        await listener.until(lambda: (ETH,) in [symbols for (symbols,) in listener.all("connected")])
        await assert_flowing(venue, listener, *SYMBOLS)


@pytest.mark.parametrize("name", STYLES)
async def test_a_venue_that_answers_nothing(name: str, listener: RecordingListener) -> None:
    """The connection is closed and opened again until the venue answers."""

    def prepare(venue: FakeVenue) -> None:
        venue.answers = False

    async with subscribing(name, listener, prepare, settings=IMPATIENT) as (venue, _):
        await listener.until_count("disconnected", 2)
        venue.answers = True
        await listener.until_count("connected", 1)
    assert f"{name} did not answer a request for 0.5 s" in listener.losses[0].reason
    assert listener.losses[0].symbols == SYMBOLS


async def test_an_answer_that_comes_too_late(listener: RecordingListener) -> None:
    """A late acknowledgement that names its symbol is valid: the symbol is not requested again."""
    settings = msgspec.structs.replace(IMPATIENT, resubscribe_s=3.0)
    async with subscribing("kraken", listener, lambda venue: mute(venue, ETH), settings=settings) as (venue, _):
        await listener.until_count("disconnected", 1)
        venue.tell(venue.peers[0], *venue.style.acknowledge(["ETH/USDT"], {"req_id": 1}, []))
        await listener.until_count("connected", 2)
        assert len(venue.requests) == 1
    assert listener.all("connected") == [((BTC, DOT),), ((ETH,),)]


async def test_an_answer_that_comes_to_the_first_question_during_the_second(listener: RecordingListener) -> None:
    """An answer to either request confirms the symbol."""
    async with subscribing("kraken", listener, lambda venue: mute(venue, ETH), settings=IMPATIENT) as (venue, _):
        await listener.until_count("disconnected", 1)
        async with asyncio.timeout(LIMIT_S):
            while len(venue.requests) < 2:
                await asyncio.sleep(0.001)
        venue.tell(venue.peers[0], *venue.style.acknowledge(["ETH/USDT"], {"req_id": 1}, []))
        await listener.until_count("connected", 2)
        assert len(venue.requests) >= 2
        assert venue.attempts == 1
    assert len(listener.losses) == 1


@pytest.mark.parametrize("name", STYLES)
async def test_answers_without_a_request(name: str, listener: RecordingListener) -> None:
    """A repeated acknowledgement or an unexpected refusal changes nothing."""
    async with subscribing(name, listener) as (venue, _):
        await listener.until_count("connected", 1)
        natives = [venue.style.native(symbol) for symbol in SYMBOLS]
        request = {"req_id": "1", "id": "1"} if name != "kraken" else {"req_id": 1}
        venue.tell(venue.peers[0], *venue.style.acknowledge(natives, request, natives))
        venue.tell(venue.peers[0], *venue.style.refuse(natives, request))
        await assert_flowing(venue, listener, *SYMBOLS)
    assert [kind for kind, *_ in listener.events] == ["subscribed"] * 3 + ["connected"]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("coinbase", [20, 20, 20, 20, 20, 20]),
        ("kraken", [25, 25, 25, 25, 20]),
        ("bybit", [10] * 12),
        ("bybit_linear", [100, 20]),
        ("okx", [100, 20]),
        ("bitstamp", [1] * 120),
    ],
)
async def test_requests_are_as_large_as_the_venue_allows(
    name: str, sizes: list[int], listener: RecordingListener
) -> None:
    """No request names more symbols than the venue takes at once."""
    symbols = [f"C{number}-USDT" for number in range(120)]
    made = swift(name, symbols)
    made.limits = msgspec.structs.replace(made.limits, streams_per_connection=500)
    async with FakeVenue(name) as venue, streaming(venue.url, listener, symbols, venue=made):
        await listener.until_count("connected", 1)
        assert [len(request) for request in venue.requests] == sizes
    assert listener.all("connected") == [(tuple(symbols),)]


@pytest.mark.parametrize(
    ("name", "connections"),
    [("coinbase", 20), ("kraken", 10), ("bybit", 4), ("bybit_linear", 4), ("okx", 5), ("bitstamp", 2)],
)
async def test_two_thousand_symbols(name: str, connections: int, listener: RecordingListener) -> None:
    """They are split over the connections that the venue's limit requires, and each is served once."""
    symbols = [f"C{number}-USDT" for number in range(2000)]
    settings = msgspec.structs.replace(FAST, answer_timeout_s=10.0, open_timeout_s=10.0)
    async with (
        FakeVenue(name) as venue,
        streaming(venue.url, listener, symbols, venue=swift(name, symbols), settings=settings) as stream,
    ):
        await listener.until(lambda: len(listener.all("connected")) == connections)
        served = [symbol for (group,) in listener.all("connected") for symbol in group]
        assert sorted(served) == sorted(symbols)
        limit = swift(name, symbols).limits.streams_per_connection
        assert max(len(natives) for natives in venue.subscribed.values()) <= limit
        assert len(stream.states) == len(venue.peers) == connections
    assert listener.losses == []


async def test_pace_is_kept_by_all_that_is_sent(listener: RecordingListener) -> None:
    """Opening frames and requests go out one by one, at half the rate that the venue allows."""
    made = swift("coinbase", SYMBOLS)
    made.limits = msgspec.structs.replace(made.limits, messages_per_second=20, symbols_per_request=1)
    async with FakeVenue("coinbase") as venue:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        async with streaming(venue.url, listener, SYMBOLS, venue=made):
            await listener.until_count("connected", 1)
            assert loop.time() - started_s >= 0.3
        assert len(venue.received) == 4


def refuse(venue: FakeVenue, *symbols: str) -> None:
    venue.wrong = {venue.style.native(symbol) for symbol in symbols}


def mute(venue: FakeVenue, symbol: str) -> None:
    venue.mute = {venue.style.native(symbol)}
