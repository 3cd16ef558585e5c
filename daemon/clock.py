"""Two clocks: market time, for bars and messages, and wall time, for waiting.

On the system clock both run at the same speed. In the demo and in tests market time runs faster: one wall second is
``speed`` market seconds. All waits (grace, timeouts, backoff, keep-alive) are in
wall seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from daemon.timestamps import MICROSECONDS_PER_SECOND

_TOLERATED_SKEW_US = 500_000  # what NTP and a round trip leave; stepping for less would only add noise


class Clock(Protocol):
    """What the daemon asks of time."""

    @property
    def speed(self) -> float:
        """Market seconds per wall second."""
        ...

    def market_us(self) -> int:
        """Market time now, UTC microseconds."""
        ...

    def wall_s(self) -> float:
        """Monotonic wall time in seconds, for durations only."""
        ...

    def correct_skew(self, skew_us: int) -> bool:
        """Takes note that a venue's clock is ``skew_us`` ahead of market time; True where market time was stepped."""
        ...

    def ahead_of_system_us(self) -> int:
        """Market time minus the system's clock: how wrong the latter is known to be."""
        ...


class SystemClock:
    """Market time follows the venue, not the system's clock, which may jump or be wrong.

    It starts at the system's UTC time and is carried on by the boot-time clock, which neither jumps nor stops
    while the machine is suspended. ``correct_skew`` steps it where a venue's clock is known to differ.
    """

    speed = 1.0

    def __init__(
        self,
        *,
        system_ns: Callable[[], int] = time.time_ns,
        boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        self._system_ns = system_ns
        self._boot_ns = boot_ns
        self._offset_us = (system_ns() - boot_ns()) // 1_000

    def market_us(self) -> int:
        return self._boot_ns() // 1_000 + self._offset_us

    def wall_s(self) -> float:
        return time.monotonic()

    def correct_skew(self, skew_us: int) -> bool:
        if abs(skew_us) < _TOLERATED_SKEW_US:
            return False
        self._offset_us += skew_us
        return True

    def ahead_of_system_us(self) -> int:
        return self.market_us() - self._system_ns() // 1_000


class ScaledClock:
    """Market time starts at ``start_us`` and runs ``speed`` times as fast as wall time."""

    def __init__(self, *, start_us: int, speed: float) -> None:
        if speed <= 0:
            raise ValueError(f"speed was {speed}, must be above 0")
        self.speed = speed
        self._start_us = start_us
        self._started_s = time.monotonic()

    def market_us(self) -> int:
        elapsed_s = time.monotonic() - self._started_s
        return self._start_us + int(elapsed_s * self.speed * MICROSECONDS_PER_SECOND)

    def wall_s(self) -> float:
        return time.monotonic()

    def correct_skew(self, skew_us: int) -> bool:  # noqa: ARG002  # the port's signature
        """Never steps: components that share this clock have no other time."""
        return False

    def ahead_of_system_us(self) -> int:
        return 0


class ManualClock:
    """Time stands still until it is set: for replay and tests."""

    speed = 1.0

    def __init__(self, start_us: int = 0) -> None:
        self.now_us = start_us

    def market_us(self) -> int:
        return self.now_us

    def wall_s(self) -> float:
        return self.now_us / MICROSECONDS_PER_SECOND

    def set(self, market_us: int) -> None:
        self.now_us = market_us

    def correct_skew(self, skew_us: int) -> bool:  # noqa: ARG002  # the port's signature
        """Never steps: components that share this clock have no other time."""
        return False

    def ahead_of_system_us(self) -> int:
        return 0
