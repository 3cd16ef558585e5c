"""Clocks for market time (bars and messages) and wall time (timeouts and other durations).

On the system clock both run at the same speed. In the demo and in tests market time runs faster: one wall second is
``speed`` market seconds. All durations (grace, timeouts, backoff, keep-alive) are in wall seconds.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from daemon.market_time.steering import Steering
from daemon.timestamps import MICROSECONDS_PER_SECOND


class Clock(Protocol):
    """The clock that the daemon's components share."""

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

    def base_us(self) -> int:
        """Market time before any correction: runs evenly, so that the venues' clocks can be compared with it."""
        ...

    @property
    def correction_us(self) -> int:
        """Market time minus base time."""
        ...

    def begin(self, correction_us: int) -> None:
        """Sets the correction at once, forward or back; only before market time is used."""
        ...

    def steer(self, correction_us: int, *, step: bool) -> None:
        """Brings market time to this correction without ever running backwards; see ``Steering.steer``."""
        ...

    def ahead_of_system_us(self) -> int:
        """Market time minus the system clock: the known error of the system clock."""
        ...


class SteeredClock(ABC):
    """Market time is base time plus a correction, which ``begin`` and ``steer`` set."""

    def __init__(self) -> None:
        self._steering = Steering()

    @abstractmethod
    def base_us(self) -> int:
        """See ``Clock``."""

    def market_us(self) -> int:
        base_us = self.base_us()
        return base_us + self._steering.correction_us(base_us)

    @property
    def correction_us(self) -> int:
        return self._steering.correction_us(self.base_us())

    def begin(self, correction_us: int) -> None:
        self._steering.begin(correction_us, self.base_us())

    def steer(self, correction_us: int, *, step: bool) -> None:
        self._steering.steer(correction_us, self.base_us(), step=step)


class SystemClock(SteeredClock):
    """Market time follows the venues, not the system's clock, which may jump or be wrong.

    Market time starts at the system's UTC time and advances with the boot-time clock, which does not jump and
    continues while the machine is suspended. It is corrected by ``begin`` and ``steer``.
    """

    speed = 1.0

    def __init__(
        self,
        *,
        system_ns: Callable[[], int] = time.time_ns,
        boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        super().__init__()
        self._system_ns = system_ns
        self._boot_ns = boot_ns
        self._start_us = (system_ns() - boot_ns()) // 1_000

    def wall_s(self) -> float:
        return time.monotonic()

    def base_us(self) -> int:
        return self._boot_ns() // 1_000 + self._start_us

    def ahead_of_system_us(self) -> int:
        return self.market_us() - self._system_ns() // 1_000


class _OwnAuthority:
    """A clock that all components share and that no venue corrects."""

    correction_us = 0

    def begin(self, correction_us: int) -> None:
        """Changes nothing."""

    def steer(self, correction_us: int, *, step: bool) -> None:
        """Changes nothing."""

    def ahead_of_system_us(self) -> int:
        return 0


class ScaledClock(_OwnAuthority):
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

    def base_us(self) -> int:
        return self.market_us()


class ManualClock(_OwnAuthority):
    """A clock that advances only when it is set: for tests and benchmarks."""

    speed = 1.0

    def __init__(self, start_us: int = 0) -> None:
        self.now_us = start_us

    def market_us(self) -> int:
        return self.now_us

    def wall_s(self) -> float:
        return self.now_us / MICROSECONDS_PER_SECOND

    def set(self, market_us: int) -> None:
        self.now_us = market_us

    def base_us(self) -> int:
        return self.market_us()
