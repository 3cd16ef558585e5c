"""One scaled market time for several processes: the machine's monotonic clock is the same in all of them."""

from __future__ import annotations

import time

_TOLERATED_SKEW_S = 0.5


class SharedClock:
    """Market time is ``start_us`` at monotonic ``origin_s`` and runs ``speed`` times as fast.

    wrong_us: how far off this process's clock is; ``correct_skew`` finds out, as ``SystemClock`` does.
    """

    def __init__(self, *, start_us: int, origin_s: float, speed: float, wrong_us: int = 0) -> None:
        self.start_us, self.origin_s, self.speed = start_us, origin_s, speed
        self._wrong_us = wrong_us
        self._corrected_us = 0

    def market_us(self) -> int:
        elapsed_s = time.monotonic() - self.origin_s
        return self.start_us + int(elapsed_s * self.speed * 1e6) + self._wrong_us + self._corrected_us

    def wall_s(self) -> float:
        return time.monotonic()

    def correct_skew(self, skew_us: int) -> bool:
        if abs(skew_us) < _TOLERATED_SKEW_S * 1e6 * self.speed:
            return False
        self._corrected_us += skew_us
        return True

    def ahead_of_system_us(self) -> int:
        return self._corrected_us
