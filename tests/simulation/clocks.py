"""The clocks of a simulated world: the true time, and that of a machine whose clock may be wrong."""

from __future__ import annotations

from collections.abc import Callable

from daemon.clock import SteeredClock

START_US = 1_767_225_600_000_000


class TrueClock:
    """The time at the venues: ``START_US`` when the world begins."""

    speed = 1.0
    correction_us = 0

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._began_s = now_s()

    def market_us(self) -> int:
        return START_US + round((self._now_s() - self._began_s) * 1e6)

    def wall_s(self) -> float:
        return self._now_s()

    def base_us(self) -> int:
        return self.market_us()

    def begin(self, correction_us: int) -> None:
        """Changes nothing."""

    def steer(self, correction_us: int, *, step: bool) -> None:
        """Changes nothing."""

    def ahead_of_system_us(self) -> int:
        return 0


class MachineClock(SteeredClock):
    """The clock of one process of the daemon, on a machine whose clock is ``wrong_us`` ahead."""

    speed = 1.0

    def __init__(self, true: TrueClock, *, wrong_us: int) -> None:
        super().__init__()
        self._true = true
        self._wrong_us = wrong_us

    def wall_s(self) -> float:
        return self._true.wall_s()

    def base_us(self) -> int:
        return self._true.market_us() + self._wrong_us

    def ahead_of_system_us(self) -> int:
        return self.correction_us
