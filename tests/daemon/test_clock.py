"""Clocks: market time survives jumps of the system's clock, suspension, and a system clock that is wrong."""

from __future__ import annotations

import pytest

from daemon.clock import ManualClock, ScaledClock, SystemClock

HOUR_US = 3_600_000_000


class Machine:
    """A machine whose system clock can jump; its boot-time clock only goes on, through suspension too."""

    def __init__(self) -> None:
        self.system_us, self.boot_us = 1_700_000_000_000_000, 5_000_000

    def clock(self) -> SystemClock:
        return SystemClock(system_ns=lambda: self.system_us * 1000, boot_ns=lambda: self.boot_us * 1000)

    def passes(self, seconds: int) -> None:
        self.system_us += seconds * 1_000_000
        self.boot_us += seconds * 1_000_000


@pytest.mark.parametrize("jump_us", [HOUR_US, -HOUR_US])
def test_a_jump_of_the_system_clock_does_not_move_market_time(jump_us: int) -> None:
    """An hour either way, market time goes on second by second."""
    machine = Machine()
    clock = machine.clock()
    before_us = clock.market_us()
    machine.system_us += jump_us
    machine.passes(1)
    assert clock.market_us() == before_us + 1_000_000
    assert clock.ahead_of_system_us() == -jump_us


def test_a_venue_corrects_a_wrong_clock() -> None:
    """A machine that starts an hour off is stepped to the venue's time; a few milliseconds are left alone."""
    machine = Machine()
    clock = machine.clock()
    assert not clock.correct_skew(40_000)
    assert clock.ahead_of_system_us() == 0
    assert clock.correct_skew(HOUR_US)
    assert clock.market_us() == machine.system_us + HOUR_US
    assert clock.ahead_of_system_us() == HOUR_US


def test_a_scaled_clock_is_its_own_authority() -> None:
    """It goes on from its start, faster than wall time, and follows nobody."""
    clock = ScaledClock(start_us=0, speed=360_000.0)
    first_us = clock.market_us()
    assert not clock.correct_skew(HOUR_US)
    assert 0 <= first_us <= clock.market_us() < 1000 * HOUR_US


def test_a_manual_clock_stands_still() -> None:
    """Replay's clock moves only when it is set."""
    clock = ManualClock(5)
    assert (clock.market_us(), clock.market_us()) == (5, 5)
    clock.set(7)
    assert clock.market_us() == 7
