"""One scaled market time for several processes: the machine's monotonic clock is the same in all of them."""

from __future__ import annotations

import time

from daemon.clock import SteeredClock


class SharedClock(SteeredClock):
    """Market time is ``start_us`` at monotonic ``origin_s`` and runs ``speed`` times as fast.

    wrong_us: how far off this process's clock is before it is corrected.
    """

    def __init__(self, *, start_us: int, origin_s: float, speed: float, wrong_us: int = 0) -> None:
        super().__init__()
        self.start_us, self.origin_s, self.speed = start_us, origin_s, speed
        self._wrong_us = wrong_us

    def wall_s(self) -> float:
        return time.monotonic()

    def base_us(self) -> int:
        return self.start_us + int((time.monotonic() - self.origin_s) * self.speed * 1e6) + self._wrong_us

    def ahead_of_system_us(self) -> int:
        return self.correction_us
