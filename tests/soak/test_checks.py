"""The soak's checks: counts of missing trades, in the venue's ids, and which forecasts are promised."""

from __future__ import annotations

import msgspec
import pytest

from daemon.pipeline.continuity import MAX_RANGES
from daemon.simulator.truth import TradeIds
from features.market import Bar, Completeness, MissingTrades
from tests.daemon.forecasting.forecast_builders import bar
from tests.soak.bar_checks import miscount
from tests.soak.checks import stalled, was_up
from tests.soak.environment import DaemonProcess

# Four records of a bar: the third is fifty fills of one order.
TRUE = [TradeIds(10, 10), TradeIds(11, 11, 2), TradeIds(12, 12, 50), TradeIds(13, 13)]
# Three records, of which two cover several ids.
MERGED = [TradeIds(10, 12, 3), TradeIds(13, 13), TradeIds(14, 17, 4)]


def lacking(trades: int, missing: int, *ranges: tuple[int, int], beyond_us: int = 0) -> Bar:
    """A bar of ``trades`` that reports ``missing`` ids; ``beyond_us`` is how far a range reaches past it."""
    made = bar(1, 100.0)
    lost = tuple(
        MissingTrades(first, last, made.open_time_us + 1, made.close_time_us - 1 + beyond_us) for first, last in ranges
    )
    return msgspec.structs.replace(
        made, completeness=Completeness.GAP, trades=trades, missing_trades=missing, missing_ranges=lost
    )


@pytest.mark.parametrize(
    ("reported", "true"),
    [
        (lacking(4, 1, (12, 12)), TRUE),
        (lacking(53, 1, (10, 10)), TRUE),
        (lacking(3, 2, (11, 11), (12, 12)), [*TRUE[:3], TradeIds(13, 13, 2)]),
        (lacking(1, 3, (12, 14), beyond_us=5), [TradeIds(11, 11), TradeIds(12, 12, 9), TradeIds(13, 13)]),
        (lacking(6, 2, (13, 14)), MERGED),  # the rest of a record that was counted in part
    ],
)
def test_an_exact_account_is_accepted(reported: Bar, true: list[TradeIds]) -> None:
    """The trades of the missing ids are those that the bar lacks, on venues that merge trades as well."""
    assert miscount(reported, true) == ""


@pytest.mark.parametrize(
    ("reported", "problem"),
    [
        (lacking(4, 2, (12, 12)), "2 missing, but the ranges hold 1"),
        (lacking(3, 1, (12, 12)), "the missing ids are 50 trades, it lacks 51"),
        (lacking(54, 1, (12, 12)), "the missing ids are 50 trades, it lacks 0"),
        (lacking(4, 3, (12, 12), (20, 21)), "3 ids missing, 1 of them are the bar's"),
    ],
)
def test_an_account_that_is_wrong_is_found(reported: Bar, problem: str) -> None:
    """Too many, too few, and ids that are another bar's."""
    assert miscount(reported, TRUE) == problem


@pytest.mark.parametrize(
    ("trades", "missing", "right"),
    [(20, 20, True), (20, 21, True), (19, 20, False), (25, 20, False)],
)
def test_more_ranges_than_travel_with_a_bar_leave_a_bound(trades: int, missing: int, right: bool) -> None:
    """With a full list of ranges, a bar lacks at most the missing trades and at least those of the ranges."""
    ranges = [(first, first) for first in range(0, 2 * MAX_RANGES, 2)]
    reported = lacking(trades, missing, *ranges)
    assert (miscount(reported, [TradeIds(number, number) for number in range(40)]) == "") is right


@pytest.mark.parametrize(
    ("up_s", "from_s", "until_s", "expected"),
    [
        (None, 140.0, 150.0, True),  # ten seconds to come up, thirty to catch up
        (102.0, 139.0, 150.0, False),
        (125.0, 150.0, 160.0, False),  # a busy machine: up after 25 s
        (125.0, 155.0, 160.0, True),
        (102.0, 195.0, 201.0, False),
    ],
)
def test_a_forecast_is_promised_by_a_process_that_is_up_and_has_caught_up(
    up_s: float | None, from_s: float, until_s: float, *, expected: bool
) -> None:
    """From when it is up, however long the machine takes for that, to its end."""
    assert was_up([DaemonProcess(100.0, up_s, ended_s=200.0)], from_s, until_s) is expected


def test_no_forecast_is_promised_in_a_stall() -> None:
    """A stall that touches the time in question counts, one before or after it does not."""
    stalls = [(10.0, 13.0), (50.0, 52.0)]
    assert [stalled(stalls, at_s, at_s + 5) for at_s in (0.0, 4.0, 6.0, 12.0, 14.0, 46.0)] == [
        False,
        False,
        True,
        True,
        False,
        True,
    ]
