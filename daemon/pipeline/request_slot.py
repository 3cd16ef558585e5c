"""Request slot of one instrument: holds the single in-flight REST request, with exponential backoff. No I/O."""

from __future__ import annotations

from daemon.pipeline.events import CandleRequested, RepairRequested, SnapshotRequested

Request = SnapshotRequested | RepairRequested | CandleRequested

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


class RequestSlot:
    """The pause after a request doubles while requests fail or do not help, and is gone after one that helped."""

    __slots__ = ("_not_before_s", "_pause_s", "_since_s", "request")

    def __init__(self) -> None:
        self.request: Request | None = None
        self._since_s = 0.0
        self._not_before_s = 0.0
        self._pause_s = _FIRST_PAUSE_S

    @property
    def in_flight(self) -> bool:
        return self.request is not None

    def is_free(self, wall_s: float) -> bool:
        """Whether a request may start now: none is in flight and the pause is over."""
        return self.request is None and wall_s >= self._not_before_s

    def begin(self, request: Request, wall_s: float) -> None:
        self.request, self._since_s = request, wall_s

    def overdue(self, wall_s: float, timeout_s: float) -> bool:
        """Whether the request in flight has taken longer than ``timeout_s``."""
        return self.request is not None and wall_s - self._since_s > timeout_s

    def end(self, *, helped: bool, wall_s: float) -> None:
        """Frees the slot after an answer or a failure; the next request may follow at once only if it helped."""
        self.request = None
        if helped:
            self._pause_s, self._not_before_s = _FIRST_PAUSE_S, wall_s
            return
        self._not_before_s = wall_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
