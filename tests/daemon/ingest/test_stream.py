"""The websocket edge against a real server on loopback that misbehaves in every documented way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from daemon.clock import SystemClock
from daemon.errors import ConfigError, RegionRefused, Unreachable
from daemon.ingest.listener import StreamSettings
from daemon.ingest.stream import MarketStream
from features.market import Trade
from tests.daemon.ingest.fake_binance import FAST, FakeBinance, RecordingListener, SwiftBinance, stream_name
from tests.daemon.ingest.self_signed import self_signed

BTC, ETH, DOT = "BTC-USDT", "ETH-USDT", "DOT-USDT"


@pytest.fixture
async def server() -> AsyncIterator[FakeBinance]:
    async with FakeBinance() as fake:
        yield fake


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@asynccontextmanager
async def streaming(
    url: str,
    listener: RecordingListener,
    symbols: tuple[str, ...] = (BTC, ETH),
    *,
    settings: StreamSettings = FAST,
    venue: SwiftBinance | None = None,
    **options: Any,
) -> AsyncIterator[MarketStream]:
    """A stream that runs in the background and must end cleanly when it is closed."""
    venue = venue or SwiftBinance(symbols)
    stream = MarketStream(venue, symbols, url, listener=listener, clock=SystemClock(), settings=settings, **options)
    running = asyncio.create_task(stream.run())
    try:
        async with asyncio.timeout(15):
            yield stream
    finally:
        await stream.close()
        async with asyncio.timeout(2):
            await running


def once_each(ids: list[int]) -> list[int]:
    """What an id watermark lets through."""
    passed: list[int] = []
    for trade_id in ids:
        if not passed or trade_id > passed[-1]:
            passed.append(trade_id)
    return passed


async def test_subscribes_verifies_and_delivers(server: FakeBinance, listener: RecordingListener) -> None:
    """Symbols are acknowledged, listed, announced, and their trades delivered in order."""
    async with streaming(server.url, listener) as stream:
        await listener.until_count("connected", 1)
        for trade_id in range(1, 201):
            server.send(BTC, trade_id)
            server.send(ETH, trade_id)
        await listener.until(lambda: len(listener.ids.get(ETH, [])) == 200)
        assert stream.states[0].connected
    assert listener.ids == {BTC: list(range(1, 201)), ETH: list(range(1, 201))}
    assert listener.events == [("subscribed", BTC), ("subscribed", ETH), ("connected", (BTC, ETH))]
    assert [request["method"] for request in server.requests] == ["SUBSCRIBE", "LIST_SUBSCRIPTIONS"]


async def test_missing_acknowledgement(server: FakeBinance, listener: RecordingListener) -> None:
    """A venue that does not acknowledge is left and tried again until it does."""
    server.acknowledges = False
    async with streaming(server.url, listener):
        await listener.until_count("disconnected", 2)
        assert "unanswered for 0.2 s" in listener.all("disconnected")[0][1]
        server.acknowledges = True
        await listener.until_count("connected", 1)
        assert len(server.peers) == 1


async def test_symbol_missing_in_list(server: FakeBinance, listener: RecordingListener) -> None:
    """A symbol that is acknowledged but not listed is reported and asked for again; the others flow."""
    server.unlisted = {stream_name(ETH)}
    async with streaming(server.url, listener):
        await listener.until_count("refused", 2)
        server.send(BTC, 1)
        await listener.until(lambda: listener.ids == {BTC: [1]})
        server.unlisted = set()
        await listener.until(lambda: ("subscribed", ETH) in listener.events)
    assert listener.all("refused")[0] == (ETH, "acknowledged but not listed")
    assert listener.all("disconnected") == []
    assert server.attempts == 1


async def test_nothing_listed(server: FakeBinance, listener: RecordingListener) -> None:
    """A connection on which no symbol is listed does not count as one."""
    server.unlisted = {stream_name(BTC), stream_name(ETH)}
    async with streaming(server.url, listener):
        await listener.until_count("disconnected", 2)
        assert "listed none of BTC-USDT, ETH-USDT" in listener.all("disconnected")[0][1]
        assert listener.all("connected") == []


async def test_one_wrong_symbol_does_not_spoil_the_others(server: FakeBinance, listener: RecordingListener) -> None:
    """The venue refuses a whole request for one wrong stream; it is found by halving."""
    server.refused = {stream_name(DOT)}
    async with streaming(server.url, listener, (BTC, ETH, DOT)):
        await listener.until_count("connected", 1)
    assert (DOT, "Invalid request: unknown stream (code 2)") in listener.all("refused")
    assert listener.all("subscribed") == [(BTC,), (ETH,)]


async def test_many_symbols_are_asked_for_in_parts(server: FakeBinance, listener: RecordingListener) -> None:
    """A request names a bounded number of symbols."""
    symbols = tuple(f"C{number}-USDT" for number in range(25))
    settings = msgspec.structs.replace(FAST, symbols_per_request=10)
    async with streaming(server.url, listener, symbols, settings=settings):
        await listener.until_count("connected", 1)
    assert [len(request.get("params", [])) for request in server.requests] == [10, 10, 5, 0]


async def test_requests_keep_the_venues_pace(server: FakeBinance, listener: RecordingListener) -> None:
    """Requests go out at half the rate that the venue allows; pings and pongs need the rest."""
    venue = SwiftBinance([BTC, ETH])
    venue.limits = msgspec.structs.replace(venue.limits, messages_per_second=20)
    settings = msgspec.structs.replace(FAST, symbols_per_request=1)
    loop = asyncio.get_running_loop()
    async with streaming(server.url, listener, settings=settings, venue=venue):
        await listener.until(lambda: True)
        started_s = loop.time()
        await listener.until_count("connected", 1)
        assert loop.time() - started_s >= 0.15
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012])
async def test_close_codes(server: FakeBinance, listener: RecordingListener, code: int) -> None:
    """Whatever way the venue closes, the loss is reported with its reason and mended."""
    async with streaming(server.url, listener):
        await listener.until_count("connected", 1)
        peer = server.peers[0]
        if code == 1006:
            peer.transport.abort()
        else:
            await peer.close(code)
        await listener.until_count("connected", 2)
    ((symbols, reason, next_try_s),) = listener.all("disconnected")
    assert symbols == (BTC, ETH)
    assert ("without a closing handshake" if code == 1006 else str(code)) in reason
    assert 0 <= next_try_s <= FAST.backoff_first_s


async def test_refused_connection_then_recovery(unused_tcp_port: int, listener: RecordingListener) -> None:
    """A venue that is not there yet is tried until it is; each failure says when the next attempt begins."""
    async with streaming(f"ws://127.0.0.1:{unused_tcp_port}", listener) as stream:
        await listener.until_count("disconnected", 3)
        state = stream.states[0]
        assert not state.connected
        assert state.failures >= 3
        assert state.last_failure
        assert 0 <= state.next_try_s <= FAST.backoff_cap_s


async def test_backoff_grows_to_its_cap_and_starts_over_when_settled(
    server: FakeBinance, listener: RecordingListener
) -> None:
    """Delays double up to the cap; only a connection that lived a while starts them over."""
    slept: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)
        await asyncio.sleep(0)

    settings = msgspec.structs.replace(FAST, backoff_first_s=100.0, backoff_cap_s=1000.0, settled_s=0.15)
    server.status = HTTPStatus.SERVICE_UNAVAILABLE
    async with streaming(server.url, listener, settings=settings, sleep=sleep, draw=lambda: 1.0):
        await listener.until_count("disconnected", 6)
        server.status = None
        await listener.until_count("connected", 1)
        await server.peers[0].close()  # too young to count
        await listener.until_count("connected", 2)
        await asyncio.sleep(0.2)
        await server.peers[0].close()
        await listener.until_count("connected", 3)
    planned = [round(next_try_s) for _, _, next_try_s in listener.all("disconnected")]
    assert planned[:6] == [100, 200, 400, 800, 1000, 1000]
    assert planned[-2:] == [1000, 100]
    assert max(slept) == pytest.approx(1000, abs=1)


async def test_jitter_spreads_the_attempts(unused_tcp_port: int, listener: RecordingListener) -> None:
    """The whole delay is drawn, so that a thousand clients do not return together."""
    draws = itertools.cycle([0.0, 0.0, 0.5, 0.5])  # one for the lifetime, one for the delay
    settings = msgspec.structs.replace(FAST, backoff_first_s=0.02, backoff_cap_s=0.02)
    async with streaming(f"ws://127.0.0.1:{unused_tcp_port}", listener, settings=settings, draw=lambda: next(draws)):
        await listener.until_count("disconnected", 4)
    planned = sorted(next_try_s for _, _, next_try_s in listener.all("disconnected")[:4])
    assert planned == pytest.approx([0, 0, 0.01, 0.01], abs=0.005)


async def test_connection_budget(server: FakeBinance, listener: RecordingListener) -> None:
    """However fast connections fail, attempts stay within the venue's budget."""
    venue = SwiftBinance([BTC])
    venue.limits = msgspec.structs.replace(venue.limits, connections_per_5_minutes=6)
    settings = msgspec.structs.replace(FAST, backoff_first_s=0.0)
    server.status = HTTPStatus.BAD_GATEWAY
    async with streaming(server.url, listener, (BTC,), settings=settings, venue=venue):
        await listener.until_count("disconnected", 3)
        await asyncio.sleep(0.1)
        assert server.attempts == 3


@pytest.mark.parametrize("status", [HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS, HTTPStatus.FORBIDDEN])
async def test_region_refused(server: FakeBinance, listener: RecordingListener, status: HTTPStatus) -> None:
    """A refusal of the region at the first handshake ends the run with the cure in its words."""
    server.status = status
    stream = MarketStream(SwiftBinance([BTC]), [BTC], server.url, listener=listener, clock=SystemClock(), settings=FAST)
    with pytest.raises(RegionRefused, match=rf"HTTP {status.value}.*ws_url.*another venue"):
        await stream.run()
    assert server.attempts == 1


async def test_certificate_that_nobody_vouches_for(tmp_path: Path, listener: RecordingListener) -> None:
    """A certificate that cannot be trusted at the first handshake ends the run: no retry makes it good."""
    async with FakeBinance(ssl=self_signed(tmp_path)) as server:
        stream = MarketStream(
            SwiftBinance([BTC]), [BTC], server.url, listener=listener, clock=SystemClock(), settings=FAST
        )
        with pytest.raises(Unreachable, match="nobody vouches for"):
            await stream.run()


async def test_address_that_is_none(listener: RecordingListener) -> None:
    """An address that cannot be one is a configuration error."""
    stream = MarketStream(
        SwiftBinance([BTC]), [BTC], "http://127.0.0.1:1", listener=listener, clock=SystemClock(), settings=FAST
    )
    with pytest.raises(ConfigError, match="ws_url was"):
        await stream.run()


async def test_refusal_after_having_been_connected(server: FakeBinance, listener: RecordingListener) -> None:
    """Once connected, a 403 is tried again: it is the venue's firewall, not the region."""
    async with streaming(server.url, listener):
        await listener.until_count("connected", 1)
        server.status = HTTPStatus.FORBIDDEN
        await server.peers[0].close()
        await listener.until_count("disconnected", 3)
        server.status = None
        await listener.until_count("connected", 2)


async def test_retry_after_at_the_handshake(server: FakeBinance, listener: RecordingListener) -> None:
    """HTTP 429 at the handshake is obeyed for as long as it says."""
    server.status, server.retry_after = HTTPStatus.TOO_MANY_REQUESTS, "7"
    async with streaming(server.url, listener):
        await listener.until_count("disconnected", 1)
        await asyncio.sleep(0.1)
        assert server.attempts == 1
    assert listener.all("disconnected")[0][2] == pytest.approx(7, abs=0.1)


async def test_malformed_frames_are_reported_and_survived(server: FakeBinance, listener: RecordingListener) -> None:
    """A frame that cannot be read reaches the listener; the connection and the trades around it live on."""
    bad = [b"{", b"[" * 100_000, b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT"}}']
    async with streaming(server.url, listener):
        await listener.until_count("connected", 1)
        server.send(BTC, 1)
        for frame in bad:
            server.tell(server.peers[0], frame)
        server.send(BTC, 2)
        await listener.until(lambda: listener.ids.get(BTC) == [1, 2])
    assert [frame for frame, _ in listener.all("malformed")] == bad
    assert listener.all("disconnected") == []


async def test_oversized_frame_ends_the_connection(server: FakeBinance, listener: RecordingListener) -> None:
    """A frame beyond any real size is not taken into memory: the connection is made anew."""
    async with streaming(server.url, listener):
        await listener.until_count("connected", 1)
        server.tell(server.peers[0], b"x" * (2**20 + 1))
        await listener.until_count("connected", 2)
    assert "1009" in listener.all("disconnected")[0][1]


async def pumping(server: FakeBinance, symbol: str, last_id: list[int]) -> None:
    """Trades without a break, to whoever is subscribed when they happen."""
    while True:
        for _ in range(5):
            last_id[0] += 1
            server.send(symbol, last_id[0])
        await asyncio.sleep(0.001)


@asynccontextmanager
async def pump(server: FakeBinance, symbol: str = BTC) -> AsyncIterator[list[int]]:
    last_id = [0]
    task = asyncio.create_task(pumping(server, symbol, last_id))
    try:
        yield last_id
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def assert_seamless(server: FakeBinance, listener: RecordingListener, last_id: list[int]) -> None:
    """Every id came, and an id watermark alone makes them come once: none lost, none doubled, none out of order."""
    await asyncio.sleep(0.2)
    final = last_id[0]
    await listener.until(lambda: max(listener.ids[BTC]) >= final)
    ids = once_each(listener.ids[BTC])
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert listener.all("disconnected") == []
    assert len(server.peers) == 1


async def test_server_shutdown_makes_before_it_breaks(server: FakeBinance, listener: RecordingListener) -> None:
    """On serverShutdown the new connection is verified before the old one closes; no trade is lost."""
    async with streaming(server.url, listener), pump(server) as last_id:
        await listener.until_count("connected", 1)
        old = server.peers[0]
        open_at_list: list[int] = []
        server.before_list = lambda _: open_at_list.append(len(server.peers))
        server.tell(old, '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}')
        await listener.until_count("connected", 2)
        assert open_at_list == [2]
        assert old in server.peers
        await old.wait_closed()
        assert old.close_code == 1000
        await assert_seamless(server, listener, last_id)


async def test_shutdown_that_is_announced_while_subscribing(server: FakeBinance, listener: RecordingListener) -> None:
    """A connection that is told to go before it was verified serves, and is replaced at once."""

    def announce_once(peer: ServerConnection) -> None:
        if server.attempts == 1:
            server.tell(peer, '{"e":"serverShutdown","E":1770123456789}')

    server.before_list = announce_once
    async with streaming(server.url, listener), pump(server) as last_id:
        await listener.until_count("connected", 2)
        await asyncio.sleep(0.15)
        await assert_seamless(server, listener, last_id)


async def test_planned_reconnect(server: FakeBinance, listener: RecordingListener) -> None:
    """Before a connection reaches the venue's lifetime another has taken over; no trade is lost."""
    settings = msgspec.structs.replace(FAST, lifetime_s=0.4)
    async with streaming(server.url, listener, settings=settings), pump(server) as last_id:
        await listener.until_count("connected", 3)
        await asyncio.sleep(0.15)
        await assert_seamless(server, listener, last_id)


async def test_planned_reconnect_is_drawn_short_of_the_lifetime(listener: RecordingListener) -> None:
    """Lifetimes are spread over half an hour, half an hour short of the venue's 24."""
    for draws, expected_s in ((itertools.repeat(0.0), 23.5 * 3600), (itertools.repeat(1.0), 23 * 3600)):
        stream = MarketStream(
            SwiftBinance([BTC]),
            [BTC],
            "ws://127.0.0.1:1",
            listener=listener,
            clock=SystemClock(),
            draw=draws.__next__,
        )
        assert stream._lifetime_s() == expected_s


async def test_requested_reconnect(server: FakeBinance, listener: RecordingListener) -> None:
    """A symbol that is acknowledged but mute gets a new connection; the others lose nothing."""
    async with streaming(server.url, listener) as stream, pump(server) as last_id:
        await listener.until_count("connected", 1)
        stream.reconnect(ETH)
        await listener.until_count("connected", 2)
        await assert_seamless(server, listener, last_id)


async def test_the_old_connection_serves_while_no_new_one_can_be_had(
    server: FakeBinance, listener: RecordingListener
) -> None:
    """A replacement that fails is tried again, and the old connection goes on until one succeeds."""
    async with streaming(server.url, listener) as stream, pump(server) as last_id:
        await listener.until_count("connected", 1)
        server.status = HTTPStatus.BAD_GATEWAY
        stream.reconnect(BTC)
        while server.attempts < 4:
            await asyncio.sleep(0.01)
        assert stream.states[0].connected
        assert stream.states[0].failures >= 2
        server.status = None
        await listener.until_count("connected", 2)
        await assert_seamless(server, listener, last_id)


async def test_the_old_connection_dies_before_the_new_one_is_there(
    server: FakeBinance, listener: RecordingListener
) -> None:
    """A loss in the midst of a replacement is reported once and mended by the attempts under way."""
    async with streaming(server.url, listener) as stream:
        await listener.until_count("connected", 1)
        server.status = HTTPStatus.BAD_GATEWAY
        stream.reconnect(BTC)
        while server.attempts < 3:
            await asyncio.sleep(0.01)
        await server.peers[0].close(1012)
        await listener.until_count("disconnected", 1)
        assert "1012" in listener.all("disconnected")[0][1]
        server.status = None
        await listener.until_count("connected", 2)
        assert stream.states[0].connected


async def test_half_open_connection(server: FakeBinance, listener: RecordingListener) -> None:
    """A peer that takes no more part is noticed by the missing pong."""
    settings = msgspec.structs.replace(FAST, ping_interval_s=0.1, ping_timeout_s=0.1)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("connected", 1)
        server.peers[0].transport.pause_reading()
        await listener.until_count("connected", 2)
    assert "ping timeout" in listener.all("disconnected")[0][1]


async def test_quiet_but_healthy_connection_is_kept(server: FakeBinance, listener: RecordingListener) -> None:
    """Silence alone is no death: the venue is asked, answers, and the connection stays."""
    settings = msgspec.structs.replace(FAST, quiet_s=0.05)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("connected", 1)
        while len(server.requests) < 5:
            await asyncio.sleep(0.01)
    assert server.attempts == 1
    assert listener.all("disconnected") == []


async def test_connection_that_answers_nothing_any_more(server: FakeBinance, listener: RecordingListener) -> None:
    """Protocol pongs without answers are no life: the connection is replaced."""
    settings = msgspec.structs.replace(FAST, quiet_s=0.05)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("connected", 1)
        server.acknowledges = False
        await listener.until_count("disconnected", 1)
        server.acknowledges = True
        await listener.until_count("connected", 2)
    assert "unanswered" in listener.all("disconnected")[0][1]


async def test_subscription_lost_in_silence(server: FakeBinance, listener: RecordingListener) -> None:
    """A subscription that the venue forgot is found by the question in the silence, and made again."""
    settings = msgspec.structs.replace(FAST, quiet_s=0.05)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("connected", 1)
        server.subscriptions[server.peers[0]].remove(stream_name(ETH))
        await listener.until_count("refused", 1)
        await listener.until(lambda: listener.all("subscribed").count((ETH,)) == 2)
    assert listener.all("disconnected") == []


async def test_symbols_are_split_over_connections(server: FakeBinance, listener: RecordingListener) -> None:
    """Each connection carries what the venue allows, and the death of one leaves the others alone."""
    venue = SwiftBinance([BTC, ETH, DOT])
    venue.limits = msgspec.structs.replace(venue.limits, streams_per_connection=2)
    async with streaming(server.url, listener, (BTC, ETH, DOT), venue=venue) as stream:
        await listener.until_count("connected", 2)
        assert sorted(sorted(server.subscriptions[peer]) for peer in server.peers) == [
            [stream_name(BTC), stream_name(ETH)],
            [stream_name(DOT)],
        ]
        first = next(peer for peer in server.peers if stream_name(DOT) not in server.subscriptions[peer])
        other = next(peer for peer in server.peers if peer is not first)
        server.status = HTTPStatus.BAD_GATEWAY
        first.transport.abort()
        await listener.until_count("disconnected", 2)
        server.send(DOT, 1)
        await listener.until(lambda: listener.ids == {DOT: [1]})
        assert [state.connected for state in stream.states] == [False, True]
        assert server.peers == [other]
        server.status = None
        await listener.until_count("connected", 3)
    assert {symbols for symbols, _, _ in listener.all("disconnected")} == {(BTC, ETH)}


async def test_listener_defects_are_not_swallowed(server: FakeBinance) -> None:
    """What a listener raises ends the run: it is a defect of ours, and no reconnect mends it."""

    class Defective(RecordingListener):
        def trades(self, symbol: str, trades: list[Trade]) -> None:
            raise ZeroDivisionError("defect")

    listener = Defective()
    stream = MarketStream(SwiftBinance([BTC]), [BTC], server.url, listener=listener, clock=SystemClock(), settings=FAST)
    running = asyncio.create_task(stream.run())
    await listener.until_count("connected", 1)
    server.send(BTC, 1)
    async with asyncio.timeout(2):
        with pytest.raises(ZeroDivisionError, match="defect"):
            await running
    assert listener.all("malformed") == []


async def test_cancelled_run_leaves_nothing_behind(server: FakeBinance, listener: RecordingListener) -> None:
    """A cancelled run closes its sockets and ends its tasks."""
    stream = MarketStream(SwiftBinance([BTC]), [BTC], server.url, listener=listener, clock=SystemClock(), settings=FAST)
    running = asyncio.create_task(stream.run())
    await listener.until_count("connected", 1)
    peer = server.peers[0]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await peer.wait_closed()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("binance-", "feed-"))]


async def test_a_flood_does_not_starve_the_loop(server: FakeBinance, listener: RecordingListener) -> None:
    """While frames pour in, other work has its turn many times, never only once they have all been read."""
    async with streaming(server.url, listener, (BTC,)):
        await listener.until_count("connected", 1)
        loop = asyncio.get_running_loop()
        for trade_id in range(1, 30_001):
            server.send(BTC, trade_id)
        started_s, longest_s = loop.time(), 0.0
        while len(listener.ids.get(BTC, [])) < 30_000:
            before_s = loop.time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, loop.time() - before_s)
    assert longest_s < (loop.time() - started_s) / 3
