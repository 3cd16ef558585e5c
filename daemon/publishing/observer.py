"""What a publisher reports to the daemon that runs it. No I/O."""

from __future__ import annotations

from daemon.publishing.outbox import DropReason, OutboxMessage
from daemon.publishing.publisher_state import PublisherState


class PublisherObserver:
    """Receives the events of one publisher, in its event loop. A subclass overrides the events that it needs.

    An exception that a method raises ends the publisher.
    """

    def message_delivered(self, message: OutboxMessage, seconds: float) -> None:
        """The broker confirmed ``message`` for the first time, ``seconds`` of wall time after it was submitted."""

    def message_dropped(self, message: OutboxMessage, reason: DropReason, detail: str) -> None:
        """``message`` was dropped before delivery. ``detail`` is the broker's answer, empty where it gave none."""

    def state_changed(self, state: PublisherState) -> None:
        """A connection was accepted, lost or refused, or the publisher fell back to MQTT 3.1.1."""

    def rival_seen(self, state: str) -> None:
        """Another client published a status with ``state`` on this daemon's status topic."""
