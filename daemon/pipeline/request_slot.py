"""Request slot of one instrument: holds the single in-flight REST request, with exponential backoff. No I/O."""

from __future__ import annotations

from daemon.pipeline.events import Request

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


class RequestSlot:
    """The pause after a request doubles while requests fail or do not help, and is gone after one that helped.

    next_id: the ``request_id`` of the next request.
    """

    __slots__ = ("_not_before_s", "_pause_s", "_since_s", "next_id", "request")

    def __init__(self) -> None:
        self.request: Request | None = None
        self.next_id = 1
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
        self.next_id = request.request_id + 1

    def holds(self, request: Request) -> bool:
        """Whether this very request is in flight."""
        return self.request is not None and self.request.request_id == request.request_id

    def keep(self, request: Request, wall_s: float) -> None:
        """The edge still works on ``request``: its time starts again, unless it is not in flight any more."""
        if self.holds(request):
            self._since_s = wall_s

    def overdue(self, wall_s: float, timeout_s: float) -> bool:
        """Whether nothing has been known of the request in flight for longer than ``timeout_s``."""
        return self.request is not None and wall_s - self._since_s > timeout_s

    def end(self, *, helped: bool, wall_s: float) -> None:
        """Frees the slot after an answer or a failure; the next request may follow at once only if it helped."""
        self.request = None
        if helped:
            self._pause_s, self._not_before_s = _FIRST_PAUSE_S, wall_s
            return
        self._not_before_s = wall_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
