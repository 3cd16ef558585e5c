"""Reconciliation: differences between bar and candle, the verdict, and when each bar is compared."""

from __future__ import annotations

import msgspec
import pytest

from daemon.pipeline.reconciliation import ReconciliationSchedule, differences, verdict, with_outcome
from features.market import Audit, Bar, Completeness

HOUR_US = 3_600_000_000


def make_bar(**changes: object) -> Bar:
    bar = Bar(
        venue="binance",
        symbol="BTC-USDT",
        interval_us=HOUR_US,
        open_time_us=0,
        open=100.0,
        high=102.0,
        low=99.0,
        close=101.0,
        volume=0.1 + 0.2,
        quote_volume=30.0,
        trades=7,
        taker_buy_volume=0.1,
        taker_buy_quote_volume=10.0,
        completeness=Completeness.PROVEN,
        known_at_us=HOUR_US,
    )
    return msgspec.structs.replace(bar, **changes)


def test_equal_bar_and_candle_agree() -> None:
    """Rounding in the last digit is no difference."""
    assert differences(make_bar(), make_bar(volume=0.3)) == {}


@pytest.mark.parametrize(
    ("field", "theirs"),
    [("close", 101.01), ("high", 103.0), ("trades", 8), ("volume", 0.3001), ("quote_volume", 30.01)],
)
def test_one_missing_trade_is_found(field: str, theirs: float) -> None:
    """Each field that a missing trade would change is reported with both values."""
    found = differences(make_bar(), make_bar(**{field: theirs}))
    assert found == {field: (getattr(make_bar(), field), theirs)}


def test_the_smallest_missing_trade_of_a_busy_bar_is_found() -> None:
    """A millionth of a bitcoin out of two thousand, where the candle opens at the previous close."""
    busy = make_bar(volume=2000.123456)
    candle = make_bar(volume=2000.123457, open=98.5, low=98.5)
    assert list(differences(busy, candle, opens_at_previous_close=True)) == ["volume"]
    assert differences(busy, make_bar(volume=2000.123456 * (1 + 1e-15))) == {}


def test_what_a_venue_does_not_publish_is_not_compared() -> None:
    """A candle without taker volumes or trade count is compared in the other fields."""
    candle = make_bar(taker_buy_volume=None, taker_buy_quote_volume=None, trades=None, quote_volume=None)
    assert differences(make_bar(), candle) == {}


def test_an_empty_bar_against_a_traded_candle_differs() -> None:
    """Prices on one side only are a difference."""
    empty = make_bar(open=None, high=None, low=None, close=None, volume=0.0, trades=0, taker_buy_volume=0.0)
    assert {"open", "close", "volume", "trades"} <= set(differences(empty, make_bar()))


def test_the_verdict_depends_on_the_proof() -> None:
    """A proven bar is kept against the candle; an unproven one is replaced."""
    found = {"trades": (7, 8)}
    assert "every trade id" in verdict(make_bar(), found)
    assert "candle is nearer" in verdict(make_bar(completeness=Completeness.UNPROVEN), found)
    assert "equals" in verdict(make_bar(), {})


def test_a_bar_is_compared_twice_at_most() -> None:
    """At 15 s, and once more at 60 s unless the first comparison settled it."""
    schedule = ReconciliationSchedule(first_s=15, last_s=60)
    schedule.watch(make_bar(), 100.0)
    assert schedule.due(114.0) == []
    assert [due.last for due in schedule.due(115.0)] == [False]
    assert schedule.due(116.0) == []
    assert [due.last for due in schedule.due(160.0)] == [True]
    assert schedule.due(1000.0) == []


def test_a_settled_bar_is_not_compared_again_but_its_revision_is() -> None:
    """Settling an old revision does not settle the new one."""
    schedule = ReconciliationSchedule(first_s=15, last_s=60)
    schedule.watch(make_bar(), 0.0)
    schedule.settle([make_bar()])
    assert schedule.due(100.0) == []
    schedule.watch(make_bar(revision=1), 100.0)
    schedule.settle([make_bar()])
    assert [due.bar.revision for due in schedule.due(115.0)] == [1]


def test_waiting_bars_are_bounded() -> None:
    """A venue that never answers cannot fill the memory."""
    schedule = ReconciliationSchedule(first_s=15, last_s=60)
    for hour in range(500):
        schedule.watch(make_bar(open_time_us=hour * HOUR_US), 0.0)
    assert schedule.waiting == 64


def test_the_outcome_is_on_the_bar() -> None:
    """The same revision, with its outcome."""
    assert with_outcome(make_bar(), Audit.EQUAL) == make_bar(audit=Audit.EQUAL)
