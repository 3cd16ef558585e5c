"""One scaled market time for several processes: the machine's monotonic clock is the same in all of them."""

from __future__ import annotations

import time

from daemon.market_time.steering import Steering


class SharedClock:
    """Market time is ``start_us`` at monotonic ``origin_s`` and runs ``speed`` times as fast.

    wrong_us: how far off this process's clock is before it is corrected.
    """

    def __init__(self, *, start_us: int, origin_s: float, speed: float, wrong_us: int = 0) -> None:
        self.start_us, self.origin_s, self.speed = start_us, origin_s, speed
        self._wrong_us = wrong_us
        self._steering = Steering()

    def market_us(self) -> int:
        base_us = self.base_us()
        return base_us + self._steering.correction_us(base_us)

    def wall_s(self) -> float:
        return time.monotonic()

    def base_us(self) -> int:
        return self.start_us + int((time.monotonic() - self.origin_s) * self.speed * 1e6) + self._wrong_us

    @property
    def correction_us(self) -> int:
        return self._steering.correction_us(self.base_us())

    def begin(self, correction_us: int) -> None:
        self._steering.begin(correction_us, self.base_us())

    def steer(self, correction_us: int, *, step: bool) -> None:
        self._steering.steer(correction_us, self.base_us(), step=step)

    def ahead_of_system_us(self) -> int:
        return self.correction_us
