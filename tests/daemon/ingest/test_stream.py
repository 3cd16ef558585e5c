"""The websocket edge against a real server on loopback: subscriptions, their verification, frames and silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from itertools import pairwise

import msgspec
import pytest

from daemon.clock import SystemClock
from daemon.exchanges.base import TradeRecord
from daemon.ingest.stream import MarketStream
from tests.daemon.ingest.background_stream import BTC, DOT, ETH, FAST, IMPATIENT, RecordingListener, streaming
from tests.daemon.ingest.fake_binance import FakeBinance, SwiftBinance, stream_name
from tests.limits import LIMIT_S


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
    """A connection without acknowledgement is closed and opened again until the venue acknowledges."""
    server.acknowledges = False
    async with streaming(server.url, listener, settings=IMPATIENT):
        await listener.until_count("disconnected", 2)
        assert "not answer a request for 0.5 s" in listener.losses[0].reason
        server.acknowledges = True
        await listener.until_count("connected", 1)
        assert len(server.peers) == 1


async def test_symbol_missing_in_list(server: FakeBinance, listener: RecordingListener) -> None:
    """A symbol that is acknowledged but not listed is reported as not served and subscribed again; others deliver."""
    server.unlisted = {stream_name(ETH)}
    async with streaming(server.url, listener):
        await listener.until_count("refused", 2)
        server.send(BTC, 1)
        await listener.until(lambda: listener.ids == {BTC: [1]})
        server.unlisted = set()
        await listener.until(lambda: ("connected", (ETH,)) in listener.events)
    assert listener.all("refused")[0] == (ETH, "acknowledged but not listed")
    assert [loss.symbols for loss in listener.losses] == [(ETH,)]
    assert listener.events.index(("disconnected", (ETH,))) < listener.events.index(("subscribed", ETH))
    assert server.attempts == 1


async def test_nothing_listed(server: FakeBinance, listener: RecordingListener) -> None:
    """A connection on which no symbol is listed does not count as established."""
    server.unlisted = {stream_name(BTC), stream_name(ETH)}
    async with streaming(server.url, listener):
        await listener.until_count("disconnected", 2)
        assert "confirmed none of BTC-USDT, ETH-USDT" in listener.losses[0].reason
        assert listener.all("connected") == []


async def test_one_wrong_symbol_does_not_spoil_the_others(server: FakeBinance, listener: RecordingListener) -> None:
    """The venue refuses a whole request for one wrong stream, which bisection finds."""
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


async def test_malformed_frames_are_reported_and_survived(server: FakeBinance, listener: RecordingListener) -> None:
    """A frame that cannot be read reaches the listener; the connection continues."""
    bad = [b"{", b"[" * 100_000, b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT"}}']
    async with streaming(server.url, listener):
        await listener.until_count("connected", 1)
        server.send(BTC, 1)
        for frame in bad:
            server.tell(server.peers[0], frame)
        server.send(BTC, 2)
        await listener.until(lambda: listener.ids.get(BTC) == [1, 2])
    assert [frame for frame, _ in listener.all("malformed")] == bad
    assert listener.losses == []


async def test_oversized_frame_ends_the_connection(server: FakeBinance, listener: RecordingListener) -> None:
    """A frame beyond any real size is not read into memory: the connection is opened again."""
    async with streaming(server.url, listener):
        await listener.until_count("connected", 1)
        server.tell(server.peers[0], b"x" * (2**20 + 1))
        await listener.until_count("connected", 2)
    assert "1009" in listener.losses[0].reason


async def test_half_open_connection(server: FakeBinance, listener: RecordingListener) -> None:
    """The missing pong reveals a peer that is gone."""
    settings = msgspec.structs.replace(FAST, ping_interval_s=0.1, ping_timeout_s=0.1)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("connected", 1)
        server.peers[0].transport.pause_reading()
        await listener.until_count("connected", 2)
    assert "ping timeout" in listener.losses[0].reason


async def test_quiet_but_healthy_connection_is_kept(server: FakeBinance, listener: RecordingListener) -> None:
    """A silent venue is probed, answers, and keeps its connection."""
    settings = msgspec.structs.replace(FAST, quiet_s=0.05)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("connected", 1)
        while len(server.requests) < 5:
            await asyncio.sleep(0.01)
    assert server.attempts == 1
    assert listener.losses == []


async def test_connection_that_answers_nothing_any_more(server: FakeBinance, listener: RecordingListener) -> None:
    """A connection with protocol pongs but without answers is replaced."""
    settings = msgspec.structs.replace(IMPATIENT, quiet_s=0.05)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("connected", 1)
        server.acknowledges = False
        await listener.until_count("disconnected", 1)
        server.acknowledges = True
        await listener.until_count("connected", 2)
    assert "did not answer" in listener.losses[0].reason


async def test_subscription_lost_in_silence(server: FakeBinance, listener: RecordingListener) -> None:
    """The probe after a silence finds a subscription that the venue lost, and renews it."""
    settings = msgspec.structs.replace(FAST, quiet_s=0.05)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("connected", 1)
        removed_at_us = SystemClock().market_us()
        server.subscriptions[server.peers[0]].remove(stream_name(ETH))
        await listener.until_count("refused", 1)
        await listener.until(lambda: ("connected", (ETH,)) in listener.events)
    assert listener.all("subscribed").count((ETH,)) == 2
    ((symbols, reason, _, complete_until_us),) = listener.losses
    assert (symbols, reason) == ((ETH,), "the venue no longer lists it")
    assert complete_until_us < removed_at_us, "the last list that held it is all that is sure"
    assert server.attempts == 1


async def test_symbols_are_split_over_connections(server: FakeBinance, listener: RecordingListener) -> None:
    """Each connection carries as many symbols as the venue allows, and they fail independently."""
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
    assert {loss.symbols for loss in listener.losses} == {(BTC, ETH)}


async def test_listener_defects_are_not_swallowed(server: FakeBinance) -> None:
    """An exception of the listener ends the run: it is a bug, and no reconnection mends it."""

    class Defective(RecordingListener):
        def trades_received(self, symbol: str, records: Sequence[TradeRecord]) -> None:
            raise ZeroDivisionError("defect")

    listener = Defective()
    stream = MarketStream(SwiftBinance([BTC]), [BTC], server.url, listener=listener, clock=SystemClock(), settings=FAST)
    running = asyncio.create_task(stream.run())
    await listener.until_count("connected", 1)
    server.send(BTC, 1)
    async with asyncio.timeout(LIMIT_S):
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
    """While frames arrive without a pause, other tasks get many turns."""
    async with streaming(server.url, listener, (BTC,)):
        await listener.until_count("connected", 1)
        for trade_id in range(1, 30_001):
            server.send(BTC, trade_id)
        at_turn = [0]
        while at_turn[-1] < 30_000:
            await asyncio.sleep(0)
            at_turn.append(len(listener.ids.get(BTC, [])))
    steps = [after - before for before, after in pairwise(at_turn)]
    assert max(steps) < 30_000 / 3
    assert sum(step > 0 for step in steps) > 10
