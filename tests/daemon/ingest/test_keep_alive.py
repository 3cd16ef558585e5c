"""Keep-alive in the venue's way, replacement of a silent connection, and the time of its last frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from daemon.clock import SystemClock
from daemon.exchanges.base import KeepAlive
from daemon.ingest import connection
from daemon.ingest.listener import StreamSettings
from daemon.ingest.stream import MarketStream
from tests.daemon.ingest.background_stream import BTC, ETH, FAST, IMPATIENT, RecordingListener, streaming
from tests.daemon.ingest.fake_venues import STYLES, FakeVenue, swift

KEPT_ALIVE = [name for name, style in STYLES.items() if style.keep_alive is not None]
ANNOUNCING = [name for name, style in STYLES.items() if style.closing_soon]
QUIET_S = 0.5
SETTINGS = msgspec.structs.replace(IMPATIENT, quiet_s=QUIET_S)
LENIENT = msgspec.structs.replace(FAST, quiet_s=1.5)  # longer than this machine stalls
PERIOD_US = 20_000


@asynccontextmanager
async def kept(
    venue: FakeVenue,
    name: str,
    listener: RecordingListener,
    *,
    every_s: float = 0.05,
    per_connection: int = 9,
    settings: StreamSettings = SETTINGS,
) -> AsyncIterator[MarketStream]:
    """A stream of two symbols with short timeouts and a frequent keep-alive."""
    made = swift(name, [BTC, ETH])
    made.limits = msgspec.structs.replace(made.limits, streams_per_connection=per_connection)
    if made.keep_alive is not None:
        made.keep_alive = KeepAlive(made.keep_alive.text, every_s)
    async with streaming(venue.url, listener, [BTC, ETH], venue=made, settings=settings) as stream:
        yield stream


@pytest.mark.parametrize("name", KEPT_ALIVE)
async def test_the_answers_to_a_keep_alive_are_life(name: str, listener: RecordingListener) -> None:
    """The venue's keep-alive text is sent regularly, and while it is answered a quiet connection stays."""
    async with FakeVenue(name) as venue, kept(venue, name, listener, settings=LENIENT):
        await listener.until_count("connected", 1)
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(LENIENT.quiet_s + 0.5)
        assert venue.attempts == 1
        sent = [text for _, text in venue.received if text == venue.style.keep_alive]
        assert 6 <= len(sent) <= (asyncio.get_running_loop().time() - began_s) / 0.05 + 2
    assert listener.losses == []
    assert listener.all("malformed") == []


@pytest.mark.parametrize("name", STYLES)
async def test_a_venue_that_falls_silent_is_left(name: str, listener: RecordingListener) -> None:
    """After ``quiet_s`` without a frame, not even an answer to a keep-alive, the connection is replaced."""
    async with FakeVenue(name) as venue, kept(venue, name, listener):
        await listener.until_count("connected", 1)
        first = venue.peers[0]
        venue.answers = False
        await listener.until_count("disconnected", 1)
        venue.answers = True
        await listener.until_count("connected", 2)
        assert first not in venue.peers
        assert listener.losses[0].symbols == (BTC, ETH)
        assert listener.losses[0].reason == f"{name} sent nothing for {QUIET_S} s"


async def test_frames_of_any_kind_are_life(listener: RecordingListener) -> None:
    """Coinbase's heartbeats keep a connection open on which nothing is traded."""
    async with FakeVenue("coinbase") as venue, kept(venue, "coinbase", listener, settings=LENIENT):
        await listener.until_count("connected", 1)
        for _ in range(20):
            venue.tell(venue.peers[0], '{"channel":"heartbeats","events":[{"heartbeat_counter":1}]}')
            await asyncio.sleep(LENIENT.quiet_s / 15)
        assert venue.attempts == 1
    assert listener.losses == []
    assert listener.ids == {}


@pytest.mark.parametrize("name", ANNOUNCING)
async def test_an_announced_end_makes_before_it_breaks(name: str, listener: RecordingListener) -> None:
    """The old connection is read until the new one is subscribed, and a moment longer."""
    async with FakeVenue(name) as venue, kept(venue, name, listener):
        await listener.until_count("connected", 1)
        old = venue.peers[0]
        venue.tell(old, venue.style.closing_soon)
        await listener.until_count("connected", 2)
        assert len(venue.peers) == 2
        venue.send(BTC, 1)
        await listener.until(lambda: listener.ids == {BTC: [1, 1]})
        await old.wait_closed()
        assert old.close_code == 1000
        venue.send(BTC, 2)
        await listener.until(lambda: listener.ids == {BTC: [1, 1, 2]})
    assert listener.losses == []


async def test_a_symbol_that_the_new_connection_does_not_get(listener: RecordingListener) -> None:
    """It is reported as not served once the old connection is closed, and requested again."""
    async with FakeVenue("okx") as venue, kept(venue, "okx", listener):
        await listener.until_count("connected", 1)
        replaced_at_us = SystemClock().market_us()
        venue.wrong = {ETH}
        venue.tell(venue.peers[0], venue.style.closing_soon)
        await listener.until_count("disconnected", 1)
        assert len(venue.peers) == 1
        ((symbols, reason, _, complete_until_us),) = listener.losses
        assert (symbols, reason) == ((ETH,), "the venue did not confirm it")
        assert 0 < complete_until_us <= replaced_at_us
        venue.wrong.clear()
        await listener.until_count("connected", 3)
    assert listener.all("connected") == [((BTC, ETH),), ((BTC,),), ((ETH,),)]


@pytest.mark.parametrize("name", STYLES)
async def test_one_connection_dies_and_the_other_knows_nothing_of_it(name: str, listener: RecordingListener) -> None:
    """Connections of one venue fail and are replaced independently."""
    async with FakeVenue(name) as venue, kept(venue, name, listener, per_connection=1) as stream:
        await listener.until_count("connected", 2)
        (dying,) = [peer for peer, natives in venue.subscribed.items() if natives == [venue.style.native(BTC)]]
        (other,) = [peer for peer in venue.peers if peer is not dying]
        dying.transport.abort()
        await listener.until_count("disconnected", 1)
        venue.send(ETH, 1)
        await listener.until(lambda: listener.ids == {ETH: [1]})
        await listener.until_count("connected", 3)
        assert other in venue.peers
        assert [state.connected for state in stream.states] == [True, True]
    assert {loss.symbols for loss in listener.losses} == {(BTC,)}


@pytest.mark.parametrize("name", ["coinbase", "kraken"])
async def test_a_frame_beyond_any_real_size(name: str, listener: RecordingListener) -> None:
    """A frame over 1 MiB ends the connection, and the next serves its symbols; a smaller one does not."""
    async with FakeVenue(name) as venue, kept(venue, name, listener):
        await listener.until_count("connected", 1)
        venue.tell(venue.peers[0], "x" * 2**20)
        await listener.until_count("malformed", 1)
        assert listener.losses == []
        venue.tell(venue.peers[0], "x" * (2**20 + 1))
        await listener.until_count("connected", 2)
        venue.send(BTC, 1)
        await listener.until(lambda: listener.ids == {BTC: [1]})
    assert "1009" in listener.losses[0].reason


@pytest.fixture
def closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_ALIVE_PERIOD_S", PERIOD_US / 1e6)


@pytest.mark.usefixtures("closely")
async def test_data_are_complete_until_a_moment_before_the_last_frame(listener: RecordingListener) -> None:
    """The time until which data are complete is at most that of the last frame, and little before it."""
    clock = SystemClock()
    async with FakeVenue("bitstamp") as venue, kept(venue, "bitstamp", listener, every_s=30):
        await listener.until_count("connected", 1)
        for trade_id in range(1, 11):
            last_frame_us = clock.market_us()
            venue.send(BTC, trade_id)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        venue.peers[0].transport.abort()
        await listener.until_count("disconnected", 1)
    assert listener.ids == {BTC: list(range(1, 11))}
    complete_until_us = listener.losses[0].complete_until_us
    assert last_frame_us - 10 * PERIOD_US < complete_until_us <= last_frame_us


@pytest.mark.usefixtures("closely")
async def test_every_failed_attempt_reports_the_last_good_connection(listener: RecordingListener) -> None:
    """Every failed attempt reports the last frame of the last good connection; attempts receive nothing."""
    clock = SystemClock()
    async with FakeVenue("bybit") as venue, kept(venue, "bybit", listener):
        await listener.until_count("connected", 1)
        kept_since_us = clock.market_us()
        while len([text for _, text in venue.received if text == venue.style.keep_alive]) < 3:
            await asyncio.sleep(0.01)
        venue.answers = False
        cut_off_at_us = clock.market_us()
        venue.peers[0].transport.abort()
        await listener.until_count("disconnected", 3)
        venue.answers = True
        await listener.until_count("connected", 2)
    assert all(kept_since_us - PERIOD_US < loss.complete_until_us <= cut_off_at_us for loss in listener.losses)


async def test_nothing_is_complete_before_the_first_connection(
    unused_tcp_port: int, listener: RecordingListener
) -> None:
    """Before the first connection there is no last frame."""
    async with streaming(f"ws://127.0.0.1:{unused_tcp_port}", listener, [BTC], venue=swift("bybit", [BTC])):
        await listener.until_count("disconnected", 2)
    assert {loss.complete_until_us for loss in listener.losses} == {0}
