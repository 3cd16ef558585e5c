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


def test_the_start_may_set_the_clock_in_any_direction() -> None:
    """A machine that starts an hour off begins at the venue's time."""
    for off_us in (HOUR_US, -HOUR_US):
        machine = Machine()
        clock = machine.clock()
        clock.begin(off_us)
        assert clock.market_us() == machine.system_us + off_us
        assert clock.ahead_of_system_us() == clock.correction_us == off_us
        assert clock.base_us() == machine.system_us


def test_the_clock_is_steered_without_ever_running_backwards() -> None:
    """Forward at once, back by running at half speed."""
    machine = Machine()
    clock = machine.clock()
    clock.steer(HOUR_US, step=True)
    before_us = clock.market_us()
    assert before_us == machine.system_us + HOUR_US
    clock.steer(HOUR_US - 10_000_000, step=True)
    assert clock.market_us() == before_us
    machine.passes(4)
    assert clock.market_us() == before_us + 2_000_000
    machine.passes(60)
    assert clock.correction_us == HOUR_US - 10_000_000


def test_a_scaled_clock_is_its_own_authority() -> None:
    """It goes on from its start, faster than wall time, and is not corrected."""
    clock = ScaledClock(start_us=0, speed=360_000.0)
    first_us = clock.market_us()
    clock.begin(HOUR_US)
    clock.steer(-HOUR_US, step=True)
    assert 0 <= first_us <= clock.market_us() < 1000 * HOUR_US
    assert clock.correction_us == 0


def test_a_manual_clock_stands_still() -> None:
    """Replay's clock moves only when it is set."""
    clock = ManualClock(5)
    assert (clock.market_us(), clock.market_us()) == (5, 5)
    clock.set(7)
    assert clock.market_us() == 7
