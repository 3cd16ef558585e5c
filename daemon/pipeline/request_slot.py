"""One request to the venue at a time: which is under way, since when, and when the next may follow. No I/O."""

from __future__ import annotations

from daemon.pipeline.events import CandleRequested, RepairRequested, SnapshotRequested

Request = SnapshotRequested | RepairRequested | CandleRequested

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


class RequestSlot:
    """Pauses double after requests that failed or did not help, and are gone after one that did."""

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
        return self.request is None and wall_s >= self._not_before_s

    def begin(self, request: Request, wall_s: float) -> None:
        self.request, self._since_s = request, wall_s

    def overdue(self, wall_s: float, timeout_s: float) -> bool:
        """Whether the request under way is taking longer than it may."""
        return self.request is not None and wall_s - self._since_s > timeout_s

    def end(self, *, helped: bool, wall_s: float) -> None:
        """The request was answered, or failed; the next follows at once if it helped, else after a pause."""
        self.request = None
        if helped:
            self._pause_s, self._not_before_s = _FIRST_PAUSE_S, wall_s
            return
        self._not_before_s = wall_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
