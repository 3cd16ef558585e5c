"""What waits for the broker: newest per retained topic, events in order, everything bounded. No I/O.

A message stays in the outbox until it is acknowledged: it is taken, published, confirmed, and only then gone.
At most one message per lane is under way, so that a retry can never overtake a later message. Every retained
topic is a lane; all events share one, because their order across topics is what tells the story.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

_EVENTS = ""  # the lane of events; no topic is empty


@dataclass(frozen=True, slots=True, eq=False)
class OutboxMessage:
    """One message on its way.

    expires_at_us: market time after which the broker forgets it (MQTT 5 message expiry); None for never.
    valid_until_us: market time after which it is not worth sending any more; None for ``expires_at_us``.
    schema, model: the user properties of MQTT 5; ``model`` is the id of the model that made it, if one did.
    submitted_s: wall time (``Clock.wall_s``) from which delivery is measured.
    """

    topic: str
    payload: bytes
    retain: bool
    expires_at_us: int | None
    schema: str
    model: str | None
    submitted_s: float
    valid_until_us: int | None = None

    @property
    def lane(self) -> str:
        return self.topic if self.retain else _EVENTS

    def is_past(self, market_us: int) -> bool:
        """Whether sending it has no point any more."""
        limit_us = self.expires_at_us if self.valid_until_us is None else self.valid_until_us
        return limit_us is not None and market_us > limit_us


class DropReason(StrEnum):
    """Why a message was never delivered."""

    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    OVERFLOW = "overflow"


OnDropped = Callable[[OutboxMessage, DropReason], None]


class Outbox:
    """Messages by lane, in the order in which the lanes became ready.

    max_topics: retained topics that may wait; past it the topic that has waited longest loses its message.
    max_events: events that may wait; past it the oldest is dropped.
    pinned: a topic that the first bound never touches.
    """

    def __init__(self, *, max_topics: int, max_events: int, on_dropped: OnDropped, pinned: str = "") -> None:
        self._max_topics = max_topics
        self._max_events = max_events
        self._on_dropped = on_dropped
        self._pinned = pinned
        self._waiting: dict[str, deque[OutboxMessage]] = {}
        self._ready: dict[str, None] = {}
        self._under_way: dict[str, OutboxMessage] = {}
        self._newest: dict[str, OutboxMessage] = {}
        self._repeats: set[OutboxMessage] = set()

    def __len__(self) -> int:
        """Messages not yet acknowledged, those under way included."""
        return sum(map(len, self._waiting.values())) + len(self._under_way)

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def put(self, message: OutboxMessage) -> None:
        """Takes a message in; may drop an older one to keep the bounds."""
        lane = message.lane
        queue = self._waiting.setdefault(lane, deque())
        if message.retain:
            while queue:
                self._drop(queue.popleft(), DropReason.SUPERSEDED)
            self._remember(message)
        queue.append(message)
        if lane not in self._under_way:
            self._ready.setdefault(lane)
        self._keep_bounds()

    def take(self, market_us: int, lane: str | None = None) -> OutboxMessage | None:
        """The next message to publish, of ``lane`` where one is named, or None; drops messages past their time."""
        while (ready := lane if lane is not None else next(iter(self._ready), None)) is not None:
            if ready not in self._ready:
                return None
            queue = self._waiting[ready]
            message = queue.popleft()
            if not message.is_past(market_us):
                del self._ready[ready]
                self._under_way[ready] = message
                return message
            self._drop(message, DropReason.EXPIRED)
            self._forget_if_idle(ready)
        return None

    def acknowledge(self, message: OutboxMessage) -> bool:
        """The broker has it: it is gone from here. Returns whether this was its first delivery."""
        lane = message.lane
        del self._under_way[lane]
        if self._waiting[lane]:
            self._ready[lane] = None
        else:
            del self._waiting[lane]
        self._keep_bounds()  # a message that came for this lane in the meantime waits only from now on
        first = message not in self._repeats
        self._repeats.discard(message)
        return first

    def give_back(self, message: OutboxMessage) -> None:
        """It was not confirmed: it waits again, first of its lane, unless something newer replaces it."""
        lane = message.lane
        del self._under_way[lane]
        queue = self._waiting[lane]
        if message.retain and queue:
            self._drop(message, DropReason.SUPERSEDED)
        else:
            queue.appendleft(message)
        self._ready = {lane: None} | self._ready
        self._keep_bounds()

    def requeue_retained(self, market_us: int) -> None:
        """Puts the newest message of every retained topic before everything else, once more where it was delivered.

        For a broker that may have forgotten: called on a fresh connection, with nothing under way.
        """
        for lane, message in list(self._newest.items()):
            if lane in self._waiting:
                continue
            if message.is_past(market_us):
                del self._newest[lane]
                continue
            self._waiting[lane] = deque([message])
            self._repeats.add(message)
        retained = {lane: None for lane in self._newest if lane in self._waiting}
        self._ready = retained | self._ready

    def _remember(self, message: OutboxMessage) -> None:
        self._newest.pop(message.topic, None)
        self._newest[message.topic] = message
        if len(self._newest) > self._max_topics:
            del self._newest[next(topic for topic in self._newest if topic != self._pinned)]

    def _keep_bounds(self) -> None:
        events = self._waiting.get(_EVENTS, ())
        if len(events) > self._max_events:
            self._drop(self._waiting[_EVENTS].popleft(), DropReason.OVERFLOW)
        if len(self._ready) - (_EVENTS in self._ready) > self._max_topics:
            oldest = next(lane for lane in self._ready if lane not in (_EVENTS, self._pinned))
            self._drop(self._waiting[oldest].popleft(), DropReason.OVERFLOW)
            self._forget_if_idle(oldest)

    def _drop(self, message: OutboxMessage, reason: DropReason) -> None:
        if message in self._repeats:  # it was delivered before: nobody misses anything
            self._repeats.remove(message)
        else:
            self._on_dropped(message, reason)

    def _forget_if_idle(self, lane: str) -> None:
        if not self._waiting[lane]:
            del self._waiting[lane]
            self._ready.pop(lane, None)
