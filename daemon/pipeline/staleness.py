"""Staleness of one instrument's stream: how long it has been silent, and when to probe the venue. No I/O."""

from __future__ import annotations


class StalenessTimer:
    """Wall times of the last trade from the stream and of the last probe by REST."""

    __slots__ = ("_probed_s", "_received_s")

    def __init__(self) -> None:
        self._received_s: float | None = None
        self._probed_s = 0.0

    def received(self, wall_s: float) -> None:
        """Records that the stream delivered a trade."""
        self._received_s = wall_s

    def silent_for_s(self, wall_s: float) -> float:
        """Seconds since the last trade; before the first trade, seconds since the first call."""
        if self._received_s is None:
            self._received_s = wall_s
        return wall_s - self._received_s

    def probe_due(self, wall_s: float, stale_after_s: float) -> bool:
        """Whether both the last trade and the last probe are more than ``stale_after_s`` ago."""
        return min(self.silent_for_s(wall_s), wall_s - self._probed_s) > stale_after_s

    def probed(self, wall_s: float) -> None:
        """Records that the venue was asked for newer trades."""
        self._probed_s = wall_s
