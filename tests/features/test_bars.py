"""Bars: exact sums whatever the order, and the prices of the first and last trade by event time."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade, interval_start

INSTRUMENT = Instrument("binance", "BTC-USDT")
HOUR_US = 3_600_000_000

decimals_8 = st.integers(1, 10**14).map(lambda units: units / 10**8)


@st.composite
def trades_of_an_hour(draw: st.DrawFn) -> list[Trade]:
    count = draw(st.integers(1, 60))
    times = sorted(draw(st.lists(st.integers(0, HOUR_US - 1), min_size=count, max_size=count)))
    return [
        Trade(100 + index, time_us, draw(decimals_8), draw(decimals_8), draw(st.booleans()), draw(st.integers(1, 9)))
        for index, time_us in enumerate(times)
    ]


def make_bar(trades: list[Trade]) -> Bar:
    open_bar = OpenBar(INSTRUMENT, open_time_us=0, interval_us=HOUR_US)
    for trade in trades:
        open_bar.add(trade)
    return closed(open_bar)


def closed(open_bar: OpenBar) -> Bar:
    return open_bar.bar(completeness=Completeness.PROVEN, known_at_us=HOUR_US, missing_trades=0, revision=0, decimals=8)


@given(trades_of_an_hour(), st.randoms(use_true_random=False))
def test_order_does_not_matter(trades: list[Trade], random: object) -> None:
    """Any order of the same trades gives the same bar, to the last bit."""
    shuffled = list(trades)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert make_bar(trades) == make_bar(shuffled)


@given(trades_of_an_hour())
def test_sums_are_the_decimal_sums(trades: list[Trade]) -> None:
    """Volumes equal the sum of the venue's decimal numbers, and the count is that of raw trades."""
    bar = make_bar(trades)
    exact = sum((Decimal(str(trade.size)) for trade in trades), Decimal(0))
    assert bar.volume == pytest.approx(float(exact), rel=1e-15, abs=1e-9)
    assert bar.trades == sum(trade.count for trade in trades)
    bought = sum((Decimal(str(trade.size)) for trade in trades if trade.taker_buys), Decimal(0))
    assert bar.taker_buy_volume == pytest.approx(float(bought), rel=1e-15, abs=1e-9)


@given(trades_of_an_hour())
def test_prices_follow_event_time_then_id(trades: list[Trade]) -> None:
    """Open and close are the first and last trade by (time, id); high and low bound every price."""
    bar = make_bar(trades)
    ordered = sorted(trades, key=lambda trade: (trade.time_us, trade.trade_id))
    assert (bar.open, bar.close) == (ordered[0].price, ordered[-1].price)
    assert (bar.low, bar.high) == (min(t.price for t in trades), max(t.price for t in trades))
    assert (bar.first_trade_id, bar.last_trade_id) == (ordered[0].trade_id, ordered[-1].trade_id)


@given(st.integers(1, 5000))
def test_reading_an_open_bar_changes_nothing(read_after: int) -> None:
    """A bar read in mid-interval, at any chunk boundary, closes as the same bar."""
    trades = [Trade(i, i, 100.0 + i % 7 / 100, 0.1 + i % 3 / 1000, i % 2 == 0) for i in range(3000)]
    open_bar = OpenBar(INSTRUMENT, open_time_us=0, interval_us=HOUR_US)
    for index, trade in enumerate(trades):
        if index == read_after:
            closed(open_bar)
        open_bar.add(trade)
    assert closed(open_bar) == make_bar(trades)


@given(trades_of_an_hour(), st.integers(0, 60))
def test_trades_in_batches_give_the_same_bar(trades: list[Trade], cut: int) -> None:
    """A bar is the same whether its trades are added one by one or together."""
    open_bar = OpenBar(INSTRUMENT, open_time_us=0, interval_us=HOUR_US)
    open_bar.extend(trades[cut:])
    assert open_bar.trades == sum(trade.count for trade in trades[cut:])
    for trade in trades[:cut]:
        open_bar.add(trade)
    assert closed(open_bar) == make_bar(trades)


def test_an_empty_bar_has_no_prices() -> None:
    """Without trades prices are None and sums are zero."""
    bar = make_bar([])
    assert (bar.open, bar.high, bar.low, bar.close, bar.vwap) == (None,) * 5
    assert (bar.volume, bar.quote_volume, bar.trades) == (0.0, 0.0, 0)


def test_large_numbers_do_not_overflow() -> None:
    """Prices and sizes at the edge of what a venue may send are summed, not wrapped."""
    bar = make_bar([Trade(i, i, 9e14, 9e14, True) for i in range(3)])
    assert bar.quote_volume == pytest.approx(3 * 8.1e29)


@given(st.integers(0, 2**50), st.sampled_from([1_000_000, 60_000_000, HOUR_US, 24 * HOUR_US]))
def test_intervals_are_right_open(time_us: int, interval_us: int) -> None:
    """A time belongs to the interval that starts at or before it and ends after it."""
    start = interval_start(time_us, interval_us)
    assert start <= time_us < start + interval_us
    assert start % interval_us == 0
