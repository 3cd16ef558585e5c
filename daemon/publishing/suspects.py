"""Finds the message that makes a broker close the connection, where the broker does not say which. No I/O.

A broker that speaks MQTT 3.1.1, or one that names no limit beforehand, answers a message that it does not accept by
closing the connection. The messages that were in flight then are suspects: the next connection sends one message at a
time. One that breaks connections alone is dropped, so that it does not block the others.
"""

from __future__ import annotations

from collections.abc import Collection, Container

from daemon.publishing.outbox import OutboxMessage
from daemon.publishing.reason_codes import MESSAGE_CODES, PACKET_TOO_LARGE


class SuspectMessages:
    """``most_breaks``: connections that a message may break while it alone is in flight."""

    def __init__(self, most_breaks: int) -> None:
        self._most_breaks = most_breaks
        self._breaks: dict[OutboxMessage, int] = {}

    def __bool__(self) -> bool:
        """Whether messages must be sent one at a time."""
        return bool(self._breaks)

    def connection_closed(self, unconfirmed: Collection[OutboxMessage], code: int | None) -> OutboxMessage | None:
        """The broker closed the connection with this reason code. Returns the message that is to be dropped."""
        if code is not None and code not in MESSAGE_CODES:
            return None
        if len(unconfirmed) != 1:
            for message in unconfirmed:
                self._breaks.setdefault(message, 0)
            return None
        [message] = unconfirmed
        self._breaks[message] = self._breaks.get(message, 0) + 1
        if self._breaks[message] < self._most_breaks and code != PACKET_TOO_LARGE:
            return None
        del self._breaks[message]
        return message

    def keep(self, waiting: Container[OutboxMessage]) -> None:
        """Forgets messages that no longer wait, as a newer one has replaced them."""
        self._breaks = {message: breaks for message, breaks in self._breaks.items() if message in waiting}

    def settled(self, message: OutboxMessage) -> None:
        """The message was confirmed or dropped."""
        self._breaks.pop(message, None)
