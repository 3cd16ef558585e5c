"""The REST edge against a real HTTP server on loopback: paging, limits, refusals, candles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from daemon.clock import ManualClock
from daemon.errors import ConfigError, DataFault, RateLimited, RegionRefused, Retryable, Unreachable
from daemon.exchanges.binance import Binance
from daemon.ingest.backfill import RestClient, combine
from daemon.ingest.rest import RestSettings
from features.market import Bar, Completeness
from tests.daemon.ingest.fake_rest import T0_MS, FakeRest, kline
from tests.daemon.ingest.self_signed import self_signed

BTC = "BTC-USDT"
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
T0_US = T0_MS * 1000
SYMBOLS = [BTC, "ETH-USDT", "LUNA-USDT"]


class SmallPages(Binance):
    """Binance with pages of ten, so that tests see many."""

    limits = msgspec.structs.replace(Binance.limits, trades_per_page=10, candles_per_page=10)


class SleepingClock(ManualClock):
    """A clock that only sleeping moves; it remembers every sleep."""

    def __init__(self, start_us: int = T0_US) -> None:
        super().__init__(start_us)
        self.slept_s: list[float] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        self.now_us += round(delay_s * 1_000_000) + 1
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> SleepingClock:
    return SleepingClock()


@pytest.fixture
async def rest() -> AsyncIterator[FakeRest]:
    async with FakeRest(newest_id=95) as fake:
        yield fake


Connect = Callable[..., RestClient]


@pytest.fixture
async def connect(rest: FakeRest, clock: SleepingClock) -> AsyncIterator[Connect]:
    """Makes clients of the fake venue; each is closed at the end."""
    clients: list[RestClient] = []

    def make(**options: Any) -> RestClient:
        clients.append(
            RestClient(SmallPages(SYMBOLS), rest.url, clock=clock, sleep=clock.sleep, draw=lambda: 1.0, **options)
        )
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


async def test_trades_are_paged_to_the_head(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """Pages follow one another by id until one is short: that is the newest trade."""
    answer = await connect().trades_from_id(BTC, 3)
    assert [trade.trade_id for trade in answer.trades] == list(range(3, 96))
    assert answer.head_reached
    assert answer.asked_at_us == clock.market_us()
    assert [query["fromId"] for _, query in rest.queries] == [str(first) for first in range(3, 94, 10)]


async def test_trades_stop_at_the_last_id_that_is_wanted(rest: FakeRest, connect: Connect) -> None:
    """``until_id`` is the last id of the answer, and no page beyond it is asked for."""
    answer = await connect().trades_from_id(BTC, 3, 15)
    assert [trade.trade_id for trade in answer.trades] == list(range(3, 16))
    assert not answer.head_reached
    assert len(rest.queries) == 2


async def test_pages_per_call_are_bounded(rest: FakeRest, connect: Connect) -> None:
    """A long way is walked in several calls."""
    client = connect(settings=RestSettings(pages_per_call=2))
    answer = await client.trades_from_id(BTC, 1)
    assert [trade.trade_id for trade in answer.trades] == list(range(1, 21))
    assert not answer.head_reached
    assert len(rest.queries) == 2


async def test_head_of_an_exact_page(rest: FakeRest, connect: Connect) -> None:
    """A full page proves no head; the empty one after it does."""
    answer = await connect().trades_from_id(BTC, 86)
    assert [trade.trade_id for trade in answer.trades] == list(range(86, 96))
    assert answer.head_reached
    assert len(rest.queries) == 2


async def test_asked_at_is_before_the_last_request(rest: FakeRest, clock: SleepingClock, connect: Connect) -> None:
    """What the head proves holds from the moment before the last page was asked for, retries included."""
    rest.misfortunes.append((503, {}, b""))
    answer = await connect().trades_from_id(BTC, 90)
    assert answer.head_reached
    assert answer.asked_at_us == T0_US < clock.market_us()


async def test_invalidated_records_account_for_their_ids(rest: FakeRest, connect: Connect) -> None:
    """A record that the venue invalidated is there by id and trades nothing."""
    rest.invalidated = {91}
    answer = await connect().trades_from_id(BTC, 90, 92)
    assert [(trade.trade_id, trade.count, trade.size) for trade in answer.trades] == [
        (90, 1, 2),
        (91, 0, 0),
        (92, 1, 2),
    ]


async def test_page_from_before_the_id_that_was_asked_for(rest: FakeRest, connect: Connect) -> None:
    """An answer to another question is refused: paging on it would never end."""
    record = {"a": 1, "p": "1", "q": "1", "f": 1, "l": 1, "T": T0_MS, "m": True}
    rest.misfortunes.append((200, {}, msgspec.json.encode([record])))
    with pytest.raises(DataFault, match="from id 3, not 1"):
        await connect().trades_from_id(BTC, 3)


async def test_trades_from_time_and_latest_trade(rest: FakeRest, connect: Connect) -> None:
    """The first page from a time on, and the newest trade."""
    client = connect()
    answer = await client.trades_from_time(BTC, T0_US + 50_000)
    assert [trade.trade_id for trade in answer.trades] == list(range(50, 60))
    assert not answer.head_reached
    newest = await client.latest_trade(BTC)
    assert newest is not None
    assert newest.trade_id == 95
    rest.newest_id = 0
    assert await client.latest_trade(BTC) is None


async def test_rate_limit_is_waited_out(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """After HTTP 429 the request is made again when Retry-After has passed, not before."""
    rest.misfortunes.append((429, {"Retry-After": "7"}, b""))
    assert await connect().latest_trade(BTC) is not None
    assert clock.slept_s == [pytest.approx(7)]


async def test_ban_stops_every_request(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """After HTTP 418 with a long Retry-After nothing is sent; each caller learns how long."""
    rest.misfortunes.append((418, {"Retry-After": "120"}, b""))
    client = connect()
    with pytest.raises(RateLimited) as first:
        await client.latest_trade(BTC)
    assert first.value.retry_after_s == pytest.approx(120)
    clock.now_us += 80 * SECOND_US
    with pytest.raises(RateLimited) as second:
        await client.server_time_skew_ms()
    assert second.value.retry_after_s == pytest.approx(40)
    assert len(rest.queries) == 1
    clock.now_us += 40 * SECOND_US
    assert await client.latest_trade(BTC) is not None


async def test_retry_after_that_says_nothing(rest: FakeRest, connect: Connect) -> None:
    """Without a usable Retry-After the pause is a minute."""
    rest.misfortunes.append((429, {"Retry-After": "soon"}, b""))
    with pytest.raises(RateLimited) as caught:
        await connect().latest_trade(BTC)
    assert caught.value.retry_after_s == pytest.approx(60)


async def test_weight_budget(rest: FakeRest, clock: SleepingClock) -> None:
    """Requests beyond the venue's weight per minute wait for it: never more than the limit in any minute."""
    venue = SmallPages(SYMBOLS)
    venue.limits = msgspec.structs.replace(venue.limits, rest_weight_per_minute=80)
    times_us: list[int] = []
    async with RestClient(venue, rest.url, clock=clock, sleep=clock.sleep) as client:
        for _ in range(30):
            await client.latest_trade(BTC)
            times_us.append(clock.market_us())
    assert times_us[9] == T0_US
    for start_us in times_us:
        within = [time_us for time_us in times_us if start_us <= time_us < start_us + 60 * SECOND_US]
        assert 4 * len(within) <= 80


@pytest.mark.parametrize("status", [451, 403])
async def test_region_refused(rest: FakeRest, connect: Connect, status: int) -> None:
    """A refusal of the region names the cure and is not tried again."""
    rest.misfortunes.append((status, {}, b""))
    with pytest.raises(RegionRefused, match=rf"HTTP {status}.*rest_url.*another venue"):
        await connect().latest_trade(BTC)
    assert len(rest.queries) == 1


async def test_refusal_after_having_been_served(rest: FakeRest, connect: Connect) -> None:
    """Once served, a 403 is tried again: it is the venue's firewall, not the region."""
    client = connect()
    await client.latest_trade(BTC)
    rest.misfortunes.append((403, {}, b""))
    assert await client.latest_trade(BTC) is not None


async def test_server_errors_are_retried(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """A failing venue is asked again with growing delays, a bounded number of times."""
    rest.misfortunes.extend([(500, {}, b""), (502, {}, b""), (503, {}, b"")])
    client = connect()
    assert await client.latest_trade(BTC) is not None
    assert clock.slept_s == [0.5, 1.0, 2.0]
    rest.misfortunes.extend([(500, {}, b"")] * 9)
    with pytest.raises(Retryable, match="HTTP 500"):
        await client.latest_trade(BTC)
    assert len(rest.misfortunes) == 5


async def test_timeouts_are_retried(rest: FakeRest, connect: Connect) -> None:
    """A venue that does not answer in time is Retryable."""
    rest.delay_s = 0.2
    with pytest.raises(Retryable, match="Timeout"):
        await connect(settings=RestSettings(timeout_s=0.05, attempts=2)).latest_trade(BTC)
    assert len(rest.queries) == 2


async def test_nobody_there(unused_tcp_port: int, clock: SleepingClock) -> None:
    """A refused connection is Retryable."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with RestClient(Binance([BTC]), url, clock=clock, sleep=clock.sleep) as client:
        with pytest.raises(Retryable, match="aggTrades"):
            await client.latest_trade(BTC)


async def test_certificate_that_nobody_vouches_for(tmp_path: Path, clock: SleepingClock) -> None:
    """A certificate that cannot be trusted is for a person to mend, and is not tried again."""
    async with (
        FakeRest(ssl=self_signed(tmp_path)) as rest,
        RestClient(Binance([BTC]), rest.url, clock=clock, sleep=clock.sleep) as client,
    ):
        with pytest.raises(Unreachable, match="nobody vouches for"):
            await client.latest_trade(BTC)
    assert clock.slept_s == []


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[" * 50_000, b'[{"a":1}]', b"null"])
async def test_bad_answers(rest: FakeRest, connect: Connect, body: bytes) -> None:
    """An answer that cannot be read is a DataFault, and is not asked for again."""
    rest.misfortunes.append((200, {}, body))
    with pytest.raises(DataFault):
        await connect().latest_trade(BTC)
    assert len(rest.queries) == 1


async def test_body_is_bounded(rest: FakeRest, connect: Connect) -> None:
    """An answer larger than any real one is not taken into memory."""
    rest.misfortunes.append((200, {}, b" " * 5000))
    with pytest.raises(DataFault, match="more than 4096 bytes"):
        await connect(settings=RestSettings(most_body_bytes=4096)).latest_trade(BTC)


async def test_request_that_the_venue_calls_wrong(rest: FakeRest, connect: Connect) -> None:
    """HTTP 400 is a DataFault that repeats the venue's words."""
    rest.misfortunes.append((400, {}, b'{"code":-1121,"msg":"Invalid symbol."}'))
    with pytest.raises(DataFault, match=r"HTTP 400.*Invalid symbol"):
        await connect().latest_trade(BTC)


async def test_given_session_stays_open(rest: FakeRest, clock: SleepingClock) -> None:
    """A session that was given belongs to the giver."""
    async with aiohttp.ClientSession() as session:
        async with RestClient(Binance([BTC]), rest.url, clock=clock, session=session) as client:
            await client.latest_trade(BTC)
        assert not session.closed


async def test_candles_are_paged(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """Candles come page by page, the unfinished one and those outside the range left out."""
    start_ms = 1_699_999_200_000  # the hour that holds T0
    rest.klines["1h"] = [kline(start_ms + hour * 3_600_000, 3_600_000, 100 + hour) for hour in range(-40, 1)]
    bars = await connect().candles(BTC, HOUR_US, start_ms * 1000 - 25 * HOUR_US - 1, start_ms * 1000 + HOUR_US)
    assert [bar.open_time_us for bar in bars] == [start_ms * 1000 + hour * HOUR_US for hour in range(-25, 0)]
    assert {bar.completeness for bar in bars} == {Completeness.VENUE_CANDLE}
    assert {bar.known_at_us for bar in bars} == {clock.market_us()}
    assert bars[-1].taker_buy_quote_volume == 100.0
    assert len(rest.queries) == 3


async def test_missing_candles_stay_missing(rest: FakeRest, connect: Connect) -> None:
    """A venue outage leaves a hole, and paging goes on behind it."""
    start_ms = 1_699_999_200_000
    hours = [*range(-40, -35), *range(-5, 0)]
    rest.klines["1h"] = [kline(start_ms + hour * 3_600_000, 3_600_000, 100) for hour in hours]
    bars = await connect().candles(BTC, HOUR_US, start_ms * 1000 - 40 * HOUR_US, start_ms * 1000)
    assert [bar.open_time_us for bar in bars] == [start_ms * 1000 + hour * HOUR_US for hour in hours]


async def test_candles_that_were_not_asked_for(rest: FakeRest, connect: Connect) -> None:
    """Candles outside the range, or out of order, are refused."""
    start_ms = 1_699_999_200_000
    rows = [kline(start_ms + hour * 3_600_000, 3_600_000, 100) for hour in (-2, -3)]
    rest.misfortunes.append((200, {}, msgspec.json.encode(rows)))
    with pytest.raises(DataFault, match="out of order"):
        await connect().candles(BTC, HOUR_US, start_ms * 1000 - 5 * HOUR_US, start_ms * 1000)


async def test_five_second_bars_from_one_second_candles(rest: FakeRest, connect: Connect) -> None:
    """An interval that the venue does not publish is put together exactly; whole bars only."""
    rest.klines["1s"] = [kline(T0_MS + second * 1000, 1000, 100 + second) for second in range(-20, 0)]
    rest.klines["1s"][7] = kline(T0_MS - 13_000, 1000, 500, trades=0)  # nobody's price must not count
    del rest.klines["1s"][1]
    bars = await connect().candles(BTC, 5 * SECOND_US, T0_US - 20 * SECOND_US, T0_US)
    assert [bar.open_time_us for bar in bars] == [T0_US + offset * SECOND_US for offset in (-15, -10, -5)]
    first, last = bars[0], bars[-1]
    assert (first.open, first.high, first.low, first.close) == (85, 90.5, 84.5, 90)
    assert (first.volume, first.trades, first.taker_buy_volume) == (12, 8, 4)
    assert (last.open, last.high, last.low, last.close) == (95, 100.5, 94.5, 100)
    assert (last.volume, last.quote_volume, last.trades) == (15, 1500, 10)
    assert (last.taker_buy_volume, last.taker_buy_quote_volume) == (5, 500)


def test_unknown_parts_make_an_unknown_sum() -> None:
    """A column that one candle lacks is unknown in the bar, never short."""
    parts = [bar_at(0, taker_buy_volume=1.0), bar_at(SECOND_US, taker_buy_volume=None)]
    (whole,) = combine(parts, 2 * SECOND_US)
    assert whole.taker_buy_volume is None
    assert whole.volume == 6.0


def test_nobody_traded_in_any_part() -> None:
    """A bar out of empty candles has no prices."""
    parts = [bar_at(second * SECOND_US, price=None) for second in range(2)]
    (whole,) = combine(parts, 2 * SECOND_US)
    assert (whole.open, whole.high, whole.low, whole.close) == (None, None, None, None)


def bar_at(open_us: int, *, price: float | None = 10.0, taker_buy_volume: float | None = 1.0) -> Bar:
    return Bar(
        venue="binance",
        symbol=BTC,
        interval_us=SECOND_US,
        open_time_us=open_us,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=3.0,
        quote_volume=30.0,
        trades=1,
        taker_buy_volume=taker_buy_volume,
        taker_buy_quote_volume=10.0,
        completeness=Completeness.VENUE_CANDLE,
        known_at_us=open_us + SECOND_US,
    )


async def test_interval_that_no_candle_divides(connect: Connect) -> None:
    """Half a second cannot be had from candles."""
    with pytest.raises(DataFault, match="no candle that divides 500000 us"):
        await connect().candles(BTC, 500_000, 0, HOUR_US)


async def test_unknown_symbols(connect: Connect) -> None:
    """Each symbol that the venue lacks is one line, with what it may have meant."""
    with pytest.raises(ConfigError) as caught:
        await connect().check_symbols([BTC, "BTC-USTD", "QQQQQ-ZZ"])
    assert caught.value.problems == [
        "binance has no symbol 'BTC-USTD'; did you mean BTC-USDT?",
        "binance has no symbol 'QQQQQ-ZZ'; nothing there is spelled like it",
    ]


async def test_symbols_that_do_not_trade_now(connect: Connect) -> None:
    """A halted symbol is no configuration error: it is named with the venue's word."""
    assert await connect().check_symbols([BTC, "LUNA-USDT"]) == {"LUNA-USDT": "BREAK"}


async def test_server_time_skew(rest: FakeRest, connect: Connect) -> None:
    """The skew is the venue's clock minus ours, in milliseconds."""
    rest.server_time_ms = T0_MS + 120
    assert await connect().server_time_skew_ms() == 120
