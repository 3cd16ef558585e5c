"""How long the publisher waits for the broker, and how much it keeps meanwhile."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits in wall seconds, and the outbox's bounds.

    answer_s: how long the broker may take to accept a connection or to confirm a message.
    first_retry_s, longest_retry_s: the pause after the first failure, doubled up to the longest.
    refused_retry_s: the pause after a refusal that only a person can mend.
    farewell_s: how long a clean stop may take.
    max_topics: retained topics that may wait: three for each of a thousand symbols, with room.
    max_events: events that may wait: days of them.
    """

    answer_s: float = 5.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0
    refused_retry_s: float = 60.0
    farewell_s: float = 2.0
    max_topics: int = 4096
    max_events: int = 1000


class PublishBackoff:
    """How long to pause after a failure. A connection that soon breaks again does not start it anew."""

    def __init__(self, patience: RetryPolicy) -> None:
        self._patience = patience
        self._failures = 0
        self._accepted_s: float | None = None

    def accepted(self, now_s: float) -> None:
        self._accepted_s = now_s

    def failed(self, now_s: float, *, refused: bool) -> float:
        """Seconds to pause: doubled up to the longest, then shortened at random so that clients spread out."""
        if self._accepted_s is not None and now_s - self._accepted_s > self._patience.longest_retry_s:
            self._failures = 0
        self._accepted_s = None
        doublings = min(self._failures, 16)
        self._failures += 1
        pause_s = min(self._patience.first_retry_s * 2**doublings, self._patience.longest_retry_s)
        return random.uniform(0.5, 1.0) * (self._patience.refused_retry_s if refused else pause_s)
