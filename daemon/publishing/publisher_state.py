"""Connection state and message counters of the publisher. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daemon.publishing.outbox import DropReason
from daemon.publishing.settings import MqttProtocol


@dataclass(frozen=True, slots=True)
class PublisherState:
    """Connection state and message counters of the publisher.

    since_us: market time of the last change of ``connected``.
    attempts: failed attempts since the last accepted connection; ``last_error`` is the latest one's error.
    published: messages confirmed for the first time; ``repeated``: those confirmed again after a reconnection.
    failure: the latest failure's reason as a metric's label.
    expired, superseded, overflowed, refused, too_large: messages dropped before delivery, by reason.
    """

    connected: bool
    since_us: int
    protocol: MqttProtocol | None = None
    attempts: int = 0
    last_error: str | None = None
    failure: str = ""
    connections: int = 0
    published: int = 0
    repeated: int = 0
    expired: int = 0
    superseded: int = 0
    overflowed: int = 0
    refused: int = 0
    too_large: int = 0

    def with_drop(self, reason: DropReason) -> PublisherState:
        """A copy with one more dropped message of ``reason``."""
        match reason:
            case DropReason.EXPIRED:
                return replace(self, expired=self.expired + 1)
            case DropReason.SUPERSEDED:
                return replace(self, superseded=self.superseded + 1)
            case DropReason.OVERFLOW:
                return replace(self, overflowed=self.overflowed + 1)
            case DropReason.REFUSED:
                return replace(self, refused=self.refused + 1)
            case DropReason.TOO_LARGE:
                return replace(self, too_large=self.too_large + 1)
