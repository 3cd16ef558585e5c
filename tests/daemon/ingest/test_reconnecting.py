"""A broken or refused connection is opened again at a bounded rate, unless retries cannot help."""

from __future__ import annotations

import asyncio
import itertools
import re
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest

from daemon.clock import SystemClock
from daemon.errors import ConfigError
from daemon.ingest.stream import MarketStream
from tests.daemon.ingest.background_stream import BTC, ETH, FAST, RecordingListener, streaming
from tests.daemon.ingest.fake_binance import FakeBinance, SwiftBinance
from tests.daemon.ingest.self_signed import self_signed


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012])
async def test_close_codes(server: FakeBinance, listener: RecordingListener, code: int) -> None:
    """For every close code the loss is reported with its reason, and the connection is opened again."""
    async with streaming(server.url, listener):
        await listener.until_count("connected", 1)
        peer = server.peers[0]
        if code == 1006:
            peer.transport.abort()
        else:
            await peer.close(code)
        await listener.until_count("connected", 2)
    ((symbols, reason, next_try_s, _),) = listener.losses
    assert symbols == (BTC, ETH)
    assert ("without a closing handshake" if code == 1006 else str(code)) in reason
    assert 0 <= next_try_s <= FAST.backoff_first_s


async def test_refused_connection_then_recovery(unused_tcp_port: int, listener: RecordingListener) -> None:
    """The stream retries a venue that is down; each failure reports the time of the next attempt."""
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
    planned = [round(loss.next_try_s) for loss in listener.losses]
    assert planned[:6] == [100, 200, 400, 800, 1000, 1000]
    assert planned[-2:] == [1000, 100]
    assert max(slept) == pytest.approx(1000, abs=1)


async def test_jitter_spreads_the_attempts(unused_tcp_port: int, listener: RecordingListener) -> None:
    """The whole delay is random, so that a thousand clients do not return together."""
    draws = itertools.cycle([0.0, 0.0, 0.5, 0.5])  # one for the lifetime, one for the delay
    settings = msgspec.structs.replace(FAST, backoff_first_s=0.02, backoff_cap_s=0.02)
    async with streaming(f"ws://127.0.0.1:{unused_tcp_port}", listener, settings=settings, draw=lambda: next(draws)):
        await listener.until_count("disconnected", 4)
    planned = sorted(loss.next_try_s for loss in listener.losses[:4])
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
    """A refused region is reported with its cure and retried after a pause of its own."""
    server.status = status
    settings = msgspec.structs.replace(FAST, refused_retry_s=0.2)
    async with streaming(server.url, listener, settings=settings):
        await listener.until_count("disconnected", 2)
        assert server.attempts == 2
        assert re.search(rf"HTTP {status.value}.*ws_url.*another venue", listener.losses[0].reason)
        server.status = None
        await listener.until_count("connected", 1)


async def test_untrusted_certificate(tmp_path: Path, listener: RecordingListener) -> None:
    """A certificate that cannot be trusted is named and tried again: the venue may renew it."""
    async with FakeBinance(ssl=self_signed(tmp_path)) as server:
        settings = msgspec.structs.replace(FAST, refused_retry_s=0.1)
        async with streaming(server.url, listener, settings=settings):
            await listener.until_count("disconnected", 2)
            assert "no trusted authority signed" in listener.losses[0].reason


async def test_address_that_is_none(listener: RecordingListener) -> None:
    """An impossible address is a configuration error."""
    stream = MarketStream(
        SwiftBinance([BTC]), [BTC], "http://127.0.0.1:1", listener=listener, clock=SystemClock(), settings=FAST
    )
    with pytest.raises(ConfigError, match="ws_url was"):
        await stream.run()


async def test_refusal_after_having_been_connected(server: FakeBinance, listener: RecordingListener) -> None:
    """After a connection a 403 is retried: it is the venue's firewall, not the region."""
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
    assert listener.losses[0].next_try_s == pytest.approx(7, abs=0.1)
