"""Klines of the played interval, of coarser and of finer ones."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from daemon.simulator.candles import CandleMaker
from daemon.simulator.dialects.binance_rest import INTERVALS, Kline, kline
from daemon.simulator.loading import load_sample
from daemon.simulator.market_data import MarketData, Timeline
from daemon.simulator.number_format import fixed
from daemon.simulator.tape import Tape
from tests.daemon.simulator.bars import HOUR_US, START_US, bar_of, random_bar, series_of, small_market

END_US = START_US + 6 * HOUR_US
SUMS = (5, 7, 9, 10)


def klines(data: MarketData, interval_us: int, *, now_us: int = END_US, **asked: int | None) -> list[Kline]:
    candles = CandleMaker(Tape(data, Timeline.as_recorded(data)))
    span: dict[str, Any] = {"start_us": 0, "end_us": None, "limit": 1_000} | asked
    found = candles.closed("BTCUSDT", interval_us, now_us=now_us, **span)
    return [kline(data.series["BTCUSDT"], interval_us, candle) for candle in found]


def test_numbers_are_printed_with_eight_decimals() -> None:
    """As Binance prints them; with more where a sum of products needs more."""
    assert fixed(9325010, 2) == "93250.10000000"
    assert fixed(7, 0) == "7.00000000"
    assert fixed(1, 10) == "0.0000000001"


def test_the_sample_is_served_as_it_is() -> None:
    """A candle of a real hour holds the published figures in Binance's twelve columns."""
    data = load_sample()
    candles = CandleMaker(Tape(data, Timeline.as_recorded(data)))
    ends = data.start_us + 2 * HOUR_US
    (candle, _) = candles.closed("BTCUSDT", HOUR_US, start_us=0, end_us=None, limit=9, now_us=ends)
    first = kline(data.series["BTCUSDT"], HOUR_US, candle)
    assert first[:6] == [
        1714521600000,
        "60672.01000000",
        "60841.63000000",
        "60078.52000000",
        "60240.57000000",
        "1687.69405000",
    ]
    assert first[6] == 1714521600000 + 3_599_999
    assert (first[8], first[9], first[11]) == (63890, "690.17398000", "0")


def test_a_running_candle_is_not_served() -> None:
    """Until the last microsecond of an hour is over, only the hours before it are known."""
    assert len(klines(small_market(), HOUR_US, now_us=START_US + 3 * HOUR_US - 1)) == 2
    assert len(klines(small_market(), HOUR_US, now_us=START_US + 3 * HOUR_US)) == 3
    assert len(klines(small_market(), HOUR_US, now_us=END_US + 50 * HOUR_US)) == 6


def test_start_and_end_include_their_candles() -> None:
    """Open times from start to end, ascending; without a start the last ones."""
    opens = [START_US + hours * HOUR_US for hours in range(6)]
    chosen = klines(small_market(), HOUR_US, start_us=opens[1], end_us=opens[3])
    assert [row[0] for row in chosen] == [open_us // 1000 for open_us in opens[1:4]]
    assert klines(small_market(), HOUR_US, start_us=opens[1] + 1, limit=1)[0][0] == opens[2] // 1000
    assert [row[0] for row in klines(small_market(), HOUR_US, start_us=None, limit=2)] == [
        open_us // 1000 for open_us in opens[4:]
    ]


def test_two_hour_candles_are_two_bars() -> None:
    """Coarser candles start on their own grid and add whole bars up."""
    bars = klines(small_market(), HOUR_US)
    joined = klines(small_market(), 2 * HOUR_US)
    skipped = (START_US // HOUR_US) % 2
    first, second = bars[skipped], bars[skipped + 1]
    assert joined[0][0] == first[0]
    assert (joined[0][1], joined[0][4]) == (first[1], second[4])
    assert Decimal(joined[0][2]) == max(Decimal(first[2]), Decimal(second[2]))
    assert Decimal(joined[0][3]) == min(Decimal(first[3]), Decimal(second[3]))
    assert [Decimal(joined[0][at]) for at in (5, 7)] == [Decimal(first[at]) + Decimal(second[at]) for at in (5, 7)]
    assert joined[0][8] == first[8] + second[8]  # type: ignore[operator]  # column 8 is an integer


@pytest.mark.parametrize("name", ["1s", "1m", "15m"])
def test_finer_candles_add_up_to_the_bar(name: str) -> None:
    """A bar cut into candles gives open, close, extremes and every sum back."""
    (bar,) = klines(small_market(), HOUR_US, limit=1)
    fine = klines(small_market(), INTERVALS[name], limit=10_000, end_us=START_US + HOUR_US - 1)
    assert len(fine) == HOUR_US // INTERVALS[name]
    assert (fine[0][1], fine[-1][4]) == (bar[1], bar[4])
    assert max(Decimal(row[2]) for row in fine) == Decimal(bar[2])
    assert min(Decimal(row[3]) for row in fine) == Decimal(bar[3])
    for column in (5, 7, 9, 10):
        assert sum(Decimal(row[column]) for row in fine) == Decimal(bar[column])
    assert sum(int(row[8]) for row in fine) == bar[8]


def test_a_second_without_trades_is_flat_at_the_last_price() -> None:
    """Empty candles repeat the close before them, also when the page starts with one."""
    page = klines(small_market(), INTERVALS["1s"], limit=1_000)
    for earlier, later in pairwise(page):
        if later[8] == 0:
            assert later[1:5] == [earlier[4]] * 4
    empty = next(at for at, row in enumerate(page) if row[8] == 0 and at > 5)
    (alone,) = klines(small_market(), INTERVALS["1s"], start_us=int(page[empty][0]) * 1000, limit=1)
    assert alone == page[empty]


def test_an_absent_bar_has_no_candle() -> None:
    """A hole in the data is a hole in the answer, and joins nothing."""
    rng = np.random.default_rng(3)
    bars = [random_bar(rng) for _ in range(3)]
    flat = bar_of([bars[0].close], [1], [True])._replace(volume=0, quote_volume=0, trades=0)
    data = small_market()
    series = series_of("BTCUSDT", [bars[0], flat._replace(taker_buy_volume=0), bars[2]], present=[True, False, True])
    holed = MarketData(data.start_us, data.interval_us, {"BTCUSDT": series})
    assert [row[0] for row in klines(holed, HOUR_US)] == [START_US // 1000, (START_US + 2 * HOUR_US) // 1000]
    assert len(klines(holed, INTERVALS["15m"])) == 8


def test_only_whole_multiples_and_parts_are_served() -> None:
    """Bars played as 5 seconds give candles of 1 s and 1 m; of 7 seconds none of a minute."""
    data = small_market()
    five = CandleMaker(Tape(data, Timeline(0, 5_000_000)))
    seven = CandleMaker(Tape(data, Timeline(0, 7_000_000)))
    assert (five.serves(INTERVALS["1s"]), five.serves(INTERVALS["1m"])) == (True, True)
    assert (seven.serves(INTERVALS["1s"]), seven.serves(INTERVALS["1m"])) == (True, False)
