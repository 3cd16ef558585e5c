"""Candles page by page, and bars merged from shorter candles."""

from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs

from daemon.errors import DataFault
from daemon.ingest.rest_client import combine
from features.market import Bar, Completeness
from tests.daemon.ingest.fake_binance_rest import (
    BTC,
    HOUR_US,
    SECOND_US,
    T0_MS,
    T0_US,
    Connect,
    FakeRest,
    SleepingClock,
    kline,
)


async def test_candles_are_paged(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """Candles come page by page, without the unfinished one and those outside the range."""
    start_ms = 1_699_999_200_000  # the hour that holds T0
    rest.klines["1h"] = [kline(start_ms + hour * 3_600_000, 3_600_000, 100 + hour) for hour in range(-40, 1)]
    bars = await connect().candles(BTC, HOUR_US, start_ms * 1000 - 25 * HOUR_US - 1, start_ms * 1000 + HOUR_US)
    assert [bar.open_time_us for bar in bars] == [start_ms * 1000 + hour * HOUR_US for hour in range(-25, 0)]
    assert {bar.completeness for bar in bars} == {Completeness.VENUE_CANDLE}
    assert {bar.known_at_us for bar in bars} == {clock.market_us()}
    assert bars[-1].taker_buy_quote_volume == 100.0
    assert len(rest.queries) == 3


async def test_missing_candles_stay_missing(rest: FakeRest, connect: Connect) -> None:
    """An outage of the venue leaves a hole, and paging continues after it."""
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


@pytest.mark.parametrize(
    ("field", "value"), [(5, "1e27"), (5, "NaN"), (1, "-1"), (2, "0.5"), (4, "x"), (0, 5), (8, -3)], ids=str
)
async def test_an_impossible_candle_is_left_out_alone(
    rest: FakeRest, connect: Connect, field: int, value: object
) -> None:
    """The other candles of its page are used; the impossible one is logged and counted."""
    start_ms = 1_699_999_200_000
    rows = [kline(start_ms + hour * 3_600_000, 3_600_000, 100) for hour in range(-5, 0)]
    rows[2] = [value if index == field else each for index, each in enumerate(rows[2])]
    rest.misfortunes.append((200, {}, msgspec.json.encode(rows)))
    client = connect()
    with capture_logs() as logs:
        bars = await client.candles(BTC, HOUR_US, start_ms * 1000 - 5 * HOUR_US, start_ms * 1000)
    assert [bar.open_time_us for bar in bars] == [start_ms * 1000 + hour * HOUR_US for hour in (-5, -4, -2, -1)]
    assert client.candles_rejected == 1
    assert [(entry["event"], entry["candles"]) for entry in logs] == [("candles_rejected", 1)]


async def test_an_impossible_candle_is_not_a_missing_one(rest: FakeRest, connect: Connect) -> None:
    """Where it is the only candle, its fault is raised: an empty answer would mean that nothing was traded."""
    start_ms = 1_699_999_200_000
    row = kline(start_ms - 3_600_000, 3_600_000, 100)
    row[5] = "1e27"
    rest.misfortunes.append((200, {}, msgspec.json.encode([row])))
    with pytest.raises(DataFault, match="1e27"):
        await connect().candles(BTC, HOUR_US, start_ms * 1000 - HOUR_US, start_ms * 1000)


async def test_a_candle_of_1e15_units_is_possible(rest: FakeRest, connect: Connect) -> None:
    """A coin worth a billionth of a cent trades that much in an hour."""
    start_ms = 1_699_999_200_000
    row = kline(start_ms - 3_600_000, 3_600_000, 100)
    row[5] = "3000000000000000.5"
    rest.misfortunes.append((200, {}, msgspec.json.encode([row])))
    [bar] = await connect().candles(BTC, HOUR_US, start_ms * 1000 - HOUR_US, start_ms * 1000)
    assert bar.volume == 3e15 + 0.5


async def test_five_second_bars_from_one_second_candles(rest: FakeRest, connect: Connect) -> None:
    """An interval that the venue does not publish is merged exactly, complete bars only."""
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


def test_no_part_has_a_trade() -> None:
    """A bar of empty candles has no prices."""
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
    """Bars of half a second cannot be merged from candles."""
    with pytest.raises(DataFault, match="no candle that divides 500000 us"):
        await connect().candles(BTC, 500_000, 0, HOUR_US)
