"""The soak's schedule of faults, and the times in which a venue did not serve a symbol."""

from __future__ import annotations

import pytest

from daemon.simulator.faults.log import Injected
from daemon.simulator.faults.plan import KINDS
from tests.soak.schedule import SCHEDULE, rates
from tests.soak.unserved import RESUMED_WITHIN_S, Unserved, unserved

NEVER_US = 10**15


def entry(time_us: int, kind: str, symbol: str | None = None, **details: object) -> Injected:
    return Injected(time_us, 0.0, kind, "okx", symbol, details)


def test_every_kind_has_a_rate_and_an_expectation() -> None:
    """But a jump of an exchange's clock, which no venue makes: the daemon's clock is wrong instead."""
    assert set(SCHEDULE) == set(KINDS) - {"skew"}
    assert all(each.per_hour > 0 and each.expectation for each in SCHEDULE.values())


def test_kinds_can_be_chosen() -> None:
    """By default the active ones; by name any, also those that are left out of the default."""
    assert set(rates()) == {kind for kind, each in SCHEDULE.items() if each.active}
    assert rates("huge_id,delist", factor=2.0) == {
        "huge_id": 2 * SCHEDULE["huge_id"].per_hour,
        "delist": 2 * SCHEDULE["delist"].per_hour,
    }
    with pytest.raises(ValueError, match="no such faults: earthquake"):
        rates("drop,earthquake")


def test_a_delisted_symbol_and_a_refused_region_are_not_served() -> None:
    """From the fault until the daemon must have resumed; other symbols and other faults do not count."""
    log = [
        entry(100, "delist", "BTCUSDT"),
        entry(150, "delist", "ETHUSDT"),
        entry(160, "drop", "BTCUSDT", count=3),
        entry(200, "relist", "BTCUSDT"),
        entry(300, "region", status=451),
        entry(400, "region", status=403),
        entry(500, "region", status=None),
    ]
    margin_us = round(RESUMED_WITHIN_S * 2e6)
    assert unserved(log, "BTCUSDT", speed=2.0, end_us=NEVER_US) == [
        Unserved(100, 200 + margin_us),
        Unserved(300, 500 + margin_us),
    ]
    assert unserved(log, "ETHUSDT", speed=2.0, end_us=NEVER_US) == [
        Unserved(300, 500 + margin_us),
        Unserved(150, NEVER_US),
    ]
    assert unserved(log[2:3], "BTCUSDT", speed=2.0, end_us=NEVER_US) == []


@pytest.mark.parametrize(("from_us", "until_us", "overlaps"), [(0, 100, False), (99, 101, True), (200, 300, False)])
def test_a_bar_that_touches_the_time_is_excused(from_us: int, until_us: int, overlaps: bool) -> None:
    """Both ends are right-open."""
    assert Unserved(100, 200).overlaps(from_us, until_us) is overlaps
