"""Correction of a clock: steps forward, runs slower to go back, so that corrected time never runs backwards. No I/O."""

from __future__ import annotations

_GENTLE_RATE = 0.05  # of the base clock's speed
_FAST_RATE = 0.5


class Steering:
    """The correction that is added to a base clock, in microseconds. All times are the base clock's."""

    def __init__(self) -> None:
        self._from_us = 0
        self._target_us = 0
        self._since_us = 0
        self._rate = _GENTLE_RATE

    def correction_us(self, base_us: int) -> int:
        """The correction at ``base_us``, which must not be before the last call of ``steer``."""
        moved_us = int((base_us - self._since_us) * self._rate)
        difference_us = self._target_us - self._from_us
        return self._from_us + max(-moved_us, min(moved_us, difference_us))

    def begin(self, correction_us: int, base_us: int) -> None:
        """Sets the correction at once, forward or back; only before the corrected time is used."""
        self._from_us = self._target_us = correction_us
        self._since_us = base_us

    def steer(self, target_us: int, base_us: int, *, step: bool) -> None:
        """Corrects by ``target_us`` from now on.

        step: goes forward at once, or back at half speed; otherwise the clock runs a twentieth faster or slower until
        the correction is reached.
        """
        self._from_us = self.correction_us(base_us)
        self._target_us, self._since_us = target_us, base_us
        self._rate = _FAST_RATE if step else _GENTLE_RATE
        if step and target_us > self._from_us:
            self._from_us = target_us
