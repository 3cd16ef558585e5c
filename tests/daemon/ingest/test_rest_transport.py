"""Requests keep the budget, wait as long as the venue asks, and stop where retries cannot help."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import msgspec
import pytest

from daemon.errors import DataFault, RateLimited, RegionRefused, Retryable, Unreachable
from daemon.exchanges.binance import Binance
from daemon.ingest.rest_client import RestClient
from daemon.ingest.rest_transport import RestSettings
from tests.daemon.ingest.fake_binance_rest import (
    BTC,
    SECOND_US,
    SYMBOLS,
    T0_US,
    Connect,
    FakeRest,
    SleepingClock,
    SmallPages,
    newest,
)
from tests.daemon.ingest.self_signed import self_signed


async def test_rate_limit_is_waited_out(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """After HTTP 429 the request is repeated once Retry-After has passed."""
    rest.misfortunes.append((429, {"Retry-After": "7"}, b""))
    assert await newest(connect()) is not None
    assert clock.slept_s == [pytest.approx(7)]


async def test_ban_stops_every_request(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """After HTTP 418 with a long Retry-After nothing is sent, and each caller gets the remaining time."""
    rest.misfortunes.append((418, {"Retry-After": "120"}, b""))
    client = connect()
    with pytest.raises(RateLimited) as first:
        await newest(client)
    assert first.value.retry_after_s == pytest.approx(120)
    clock.now_us += 80 * SECOND_US
    with pytest.raises(RateLimited) as second:
        await client.time_sample()
    assert second.value.retry_after_s == pytest.approx(40)
    assert len(rest.queries) == 1
    clock.now_us += 40 * SECOND_US
    assert await newest(client) is not None


async def test_retry_after_that_says_nothing(rest: FakeRest, connect: Connect) -> None:
    """Without a usable Retry-After the pause is a minute."""
    rest.misfortunes.append((429, {"Retry-After": "soon"}, b""))
    with pytest.raises(RateLimited) as caught:
        await newest(connect())
    assert caught.value.retry_after_s == pytest.approx(60)


async def test_weight_budget(rest: FakeRest, clock: SleepingClock) -> None:
    """Requests wait so that no minute holds more than the venue's weight limit."""
    venue = SmallPages(SYMBOLS)
    venue.limits = msgspec.structs.replace(venue.limits, rest_burst=40, rest_per_s=40 / 60)
    times_us: list[int] = []
    async with RestClient(venue, rest.url, clock=clock, sleep=clock.sleep) as client:
        for _ in range(30):
            await newest(client)
            times_us.append(clock.market_us())
    assert times_us[9] == T0_US
    for start_us in times_us:
        within = [time_us for time_us in times_us if start_us <= time_us < start_us + 60 * SECOND_US]
        assert 4 * len(within) <= 80


@pytest.mark.parametrize("status", [451, 403])
async def test_region_refused(rest: FakeRest, connect: Connect, clock: SleepingClock, status: int) -> None:
    """A refusal of the region names the cure; the venue is not asked again before a pause, and then it is."""
    rest.misfortunes.append((status, {}, b""))
    client = connect()
    for _ in range(2):
        with pytest.raises(RegionRefused, match=rf"HTTP {status}.*rest_url.*another venue"):
            await newest(client)
    assert len(rest.queries) == 1
    await clock.sleep(RestSettings().refused_retry_s)
    assert await newest(client) is not None


async def test_refusal_after_having_been_served(rest: FakeRest, connect: Connect) -> None:
    """After a good answer a 403 is retried: it is the venue's firewall, not the region."""
    client = connect()
    await newest(client)
    rest.misfortunes.append((403, {}, b""))
    assert await newest(client) is not None


async def test_server_errors_are_retried(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """A failing venue is retried with growing delays, a bounded number of times."""
    rest.misfortunes.extend([(500, {}, b""), (502, {}, b""), (503, {}, b"")])
    client = connect()
    assert await newest(client) is not None
    assert clock.slept_s == [0.5, 1.0, 2.0]
    rest.misfortunes.extend([(500, {}, b"")] * 9)
    with pytest.raises(Retryable, match="HTTP 500"):
        await newest(client)
    assert len(rest.misfortunes) == 5


async def test_timeouts_are_retried(rest: FakeRest, connect: Connect) -> None:
    """A venue that does not answer in time is Retryable."""
    rest.delay_s = 0.2
    with pytest.raises(Retryable, match="Timeout"):
        await newest(connect(settings=RestSettings(timeout_s=0.05, attempts=2)))
    assert len(rest.queries) == 2


async def test_no_server_listens(unused_tcp_port: int, clock: SleepingClock) -> None:
    """A refused connection is Retryable."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with RestClient(Binance([BTC]), url, clock=clock, sleep=clock.sleep) as client:
        with pytest.raises(Retryable, match="aggTrades"):
            await newest(client)


async def test_untrusted_certificate(tmp_path: Path, clock: SleepingClock) -> None:
    """A certificate that is not trusted needs an operator, and is not retried."""
    async with (
        FakeRest(ssl=self_signed(tmp_path)) as rest,
        RestClient(Binance([BTC]), rest.url, clock=clock, sleep=clock.sleep) as client,
    ):
        with pytest.raises(Unreachable, match="no trusted authority signed"):
            await newest(client)
    assert clock.slept_s == []


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[" * 50_000, b'[{"a":1}]', b"null"])
async def test_bad_answers(rest: FakeRest, connect: Connect, body: bytes) -> None:
    """An answer that cannot be read is a DataFault, and is not requested again."""
    rest.misfortunes.append((200, {}, body))
    with pytest.raises(DataFault):
        await newest(connect())
    assert len(rest.queries) == 1


async def test_body_is_bounded(rest: FakeRest, connect: Connect) -> None:
    """An answer larger than any real one is not taken into memory."""
    rest.misfortunes.append((200, {}, b" " * 5000))
    with pytest.raises(DataFault, match="more than 4096 bytes"):
        await newest(connect(settings=RestSettings(most_body_bytes=4096)))


async def test_request_that_the_venue_calls_wrong(rest: FakeRest, connect: Connect) -> None:
    """HTTP 400 is a DataFault that quotes the venue."""
    rest.misfortunes.append((400, {}, b'{"code":-1121,"msg":"Invalid symbol."}'))
    with pytest.raises(DataFault, match=r"HTTP 400.*Invalid symbol"):
        await newest(connect())


async def test_given_session_stays_open(rest: FakeRest, clock: SleepingClock) -> None:
    """The client does not close a session that it was given."""
    async with aiohttp.ClientSession() as session:
        async with RestClient(Binance([BTC]), rest.url, clock=clock, session=session) as client:
            await newest(client)
        assert not session.closed
