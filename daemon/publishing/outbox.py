"""The outbox: a bounded queue of messages for the broker, newest per retained topic, events in order. No I/O.

A message stays in the outbox until the broker has acknowledged it. At most one message per lane is in flight, so that
a retry never overtakes a later message. Each retained topic is a lane; all events share one lane, because their order
across topics matters.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

_EVENTS = ""  # the lane of events; no topic is empty


@dataclass(frozen=True, slots=True, eq=False)
class OutboxMessage:
    """One message to publish.

    expires_at_us: market time after which the broker discards it (MQTT 5 message expiry); None for never.
    valid_until_us: market time after which it is no longer sent; None for ``expires_at_us``.
    payload: empty to clear the topic's retained message.
    schema, model: MQTT 5 user properties; ``model`` is the id of the model behind the message, or None.
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
        """Whether the message is too old to be sent."""
        limit_us = self.expires_at_us if self.valid_until_us is None else self.valid_until_us
        return limit_us is not None and market_us > limit_us


class DropReason(StrEnum):
    """Why a message was dropped before delivery."""

    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    OVERFLOW = "overflow"
    REFUSED = "refused"
    TOO_LARGE = "too_large"


class OnDropped(Protocol):
    """Callback for each dropped message; ``detail`` is what the broker said, empty where it was not asked."""

    def __call__(self, message: OutboxMessage, reason: DropReason, detail: str, /) -> None: ...


class Outbox:
    """Messages by lane, in the order in which the lanes became ready.

    max_topics: most retained topics that may wait; beyond it the message of the longest-waiting topic is dropped.
    max_events: most events that may wait; beyond it the oldest is dropped.
    pinned: a topic that is exempt from ``max_topics``.
    """

    def __init__(self, *, max_topics: int, max_events: int, on_dropped: OnDropped, pinned: str = "") -> None:
        self._max_topics = max_topics
        self._max_events = max_events
        self._on_dropped = on_dropped
        self._pinned = pinned
        self._waiting: dict[str, deque[OutboxMessage]] = {}
        self._ready: dict[str, None] = {}
        self._in_flight: dict[str, OutboxMessage] = {}
        self._newest: dict[str, OutboxMessage] = {}
        self._repeats: set[OutboxMessage] = set()
        self._refused: dict[str, OutboxMessage] = {}

    def __len__(self) -> int:
        """Messages not yet acknowledged, including those in flight."""
        return sum(map(len, self._waiting.values())) + len(self._in_flight)

    def __contains__(self, message: object) -> bool:
        """Whether the message waits or is in flight."""
        return isinstance(message, OutboxMessage) and (
            message in self._waiting.get(message.lane, ()) or self._in_flight.get(message.lane) is message
        )

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def put(self, message: OutboxMessage) -> None:
        """Adds a message; may drop an older one to keep the bounds."""
        lane = message.lane
        queue = self._waiting.setdefault(lane, deque())
        if message.retain:
            while queue:
                self._drop(queue.popleft(), DropReason.SUPERSEDED)
            self._record_newest(message)
        queue.append(message)
        if lane not in self._in_flight:
            self._ready.setdefault(lane)
        self._enforce_bounds()

    def take(self, market_us: int, lane: str | None = None) -> OutboxMessage | None:
        """Takes the next message to publish (of ``lane`` if given), or None; drops messages past their time."""
        while (ready := lane if lane is not None else next(iter(self._ready), None)) is not None:
            if ready not in self._ready:
                return None
            queue = self._waiting[ready]
            message = queue.popleft()
            if not message.is_past(market_us):
                del self._ready[ready]
                self._in_flight[ready] = message
                return message
            self._drop(message, DropReason.EXPIRED)
            self._remove_if_empty(ready)
        return None

    def acknowledge(self, message: OutboxMessage) -> bool:
        """Removes a message that the broker confirmed. Returns whether this was its first delivery."""
        lane = message.lane
        self._release(lane)
        self._enforce_bounds()  # a message added to this lane meanwhile counts as waiting from now on
        first = message not in self._repeats
        self._repeats.discard(message)
        if not message.payload and self._newest.get(lane) is message:
            del self._newest[lane]  # the topic is cleared; there is nothing to send again
        if self._refused.pop(lane, None) is not None:
            self._offer_refused_again()
        return first

    def refuse(self, message: OutboxMessage, reason: DropReason, detail: str) -> None:
        """Drops a message that the broker does not accept.

        The newest message of a retained topic is offered again on the next connection, and once the broker accepts
        a lane that it refused before: its access rules have changed.
        """
        lane = message.lane
        self._release(lane)
        if self._refused.get(lane) is not message:
            self._drop(message, reason, detail)
        self._refused[lane] = message
        self._enforce_bounds()

    def _release(self, lane: str) -> None:
        """Ends the delivery in flight; the next message of the lane, if there is one, may follow."""
        del self._in_flight[lane]
        if self._waiting[lane]:
            self._ready[lane] = None
        else:
            del self._waiting[lane]

    def forget(self, message: OutboxMessage, reason: DropReason, detail: str) -> None:
        """Drops a waiting message that broke connections, and does not offer it again."""
        lane = message.lane
        queue = self._waiting.get(lane)
        if queue and queue[0] is message:
            queue.popleft()
            self._remove_if_empty(lane)
            self._drop(message, reason, detail)
        if self._newest.get(lane) is message:
            del self._newest[lane]

    def give_back(self, message: OutboxMessage) -> None:
        """Returns an unconfirmed message to the head of its lane; drops it if a newer retained message waits there."""
        lane = message.lane
        del self._in_flight[lane]
        queue = self._waiting[lane]
        if message.retain and queue:
            self._drop(message, DropReason.SUPERSEDED)
        else:
            queue.appendleft(message)
        self._ready = {lane: None} | self._ready
        self._enforce_bounds()

    def requeue_retained(self, market_us: int) -> None:
        """Queues the newest message of every retained topic ahead of everything else, delivered ones again.

        Called on each new connection, with no message in flight, because the broker may have lost its state.
        """
        for lane, message in list(self._newest.items()):
            if lane in self._waiting:
                continue
            if message.is_past(market_us):
                del self._newest[lane]
                continue
            self._waiting[lane] = deque([message])
            if self._refused.get(lane) is not message:
                self._repeats.add(message)
        retained = {lane: None for lane in self._newest if lane in self._waiting}
        self._ready = retained | self._ready

    def _record_newest(self, message: OutboxMessage) -> None:
        self._newest.pop(message.topic, None)
        self._newest[message.topic] = message
        if len(self._newest) > self._max_topics:
            del self._newest[next(topic for topic in self._newest if topic != self._pinned)]

    def _enforce_bounds(self) -> None:
        events = self._waiting.get(_EVENTS, ())
        if len(events) > self._max_events:
            self._drop(self._waiting[_EVENTS].popleft(), DropReason.OVERFLOW)
        if len(self._ready) - (_EVENTS in self._ready) > self._max_topics:
            oldest = next(lane for lane in self._ready if lane not in (_EVENTS, self._pinned))
            dropped = self._waiting[oldest].popleft()
            if self._newest.get(oldest) is dropped:
                del self._newest[oldest]
            self._drop(dropped, DropReason.OVERFLOW)
            self._remove_if_empty(oldest)

    def _offer_refused_again(self) -> None:
        for lane, message in self._refused.items():
            if self._newest.get(lane) is message and lane not in self._waiting:
                self._waiting[lane] = deque([message])
                self._ready[lane] = None

    def _drop(self, message: OutboxMessage, reason: DropReason, detail: str = "") -> None:
        if message in self._repeats:  # already delivered once, so dropping it loses no data
            self._repeats.remove(message)
        elif self._refused.get(message.lane) is not message:  # else it was reported when it was refused
            self._on_dropped(message, reason, detail)

    def _remove_if_empty(self, lane: str) -> None:
        if not self._waiting[lane]:
            del self._waiting[lane]
            self._ready.pop(lane, None)
