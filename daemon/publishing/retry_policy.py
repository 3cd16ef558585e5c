"""Timeouts, retry pauses and outbox bounds of the publisher, and its exponential backoff."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeouts in wall seconds, and the outbox's bounds.

    answer_s: most time for the broker to accept a connection or confirm a message.
    first_retry_s, longest_retry_s: the pause after the first failure, doubled up to the longest.
    refused_retry_s: the pause after a refusal that only an operator can fix.
    longest_takeover_retry_s: the longest pause after another client took the session over; it begins with an eighth of
        ``refused_retry_s`` and doubles, because each new attempt takes the session over in turn.
    solo_breaks: connections that one message may break, alone in flight, before it is dropped.
    stop_s: most time for a clean stop.
    max_topics: retained topics that may wait; the daemon sets it to the number that it publishes on.
    max_events: events that may wait.
    """

    answer_s: float = 5.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0
    refused_retry_s: float = 60.0
    longest_takeover_retry_s: float = 600.0
    solo_breaks: int = 3
    stop_s: float = 2.0
    max_topics: int = 4096
    max_events: int = 1000


class PublishBackoff:
    """Exponential backoff with jitter; reset only by a connection that lasted longer than the longest pause."""

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._policy = retry_policy
        self._failures = 0
        self._takeovers = 0
        self._accepted_s: float | None = None

    def accepted(self, now_s: float) -> None:
        """Records that a connection was accepted at ``now_s``, in wall seconds."""
        self._accepted_s = now_s

    def failed(self, now_s: float, *, refused: bool) -> float:
        """Records a failure and returns the seconds to pause, with up to half of the pause taken off as jitter."""
        if self._accepted_s is not None:
            connected_s = now_s - self._accepted_s
            self._failures = 0 if connected_s > self._policy.longest_retry_s else self._failures
            self._forget_takeovers(connected_s)
        self._accepted_s = None
        doublings = min(self._failures, 16)  # a failure count without limit would overflow the float
        self._failures += 1
        pause_s = min(self._policy.first_retry_s * 2**doublings, self._policy.longest_retry_s)
        return random.uniform(0.5, 1.0) * (self._policy.refused_retry_s if refused else pause_s)

    def taken_over(self, now_s: float) -> float:
        """Records that another client took the session over, and returns the seconds to pause."""
        if self._accepted_s is not None:
            self._forget_takeovers(now_s - self._accepted_s)
        self._accepted_s = None
        pause_s = min(self._policy.refused_retry_s / 8 * 2**self._takeovers, self._policy.longest_takeover_retry_s)
        self._takeovers = min(self._takeovers + 1, 16)
        return float(random.uniform(0.5, 1.0) * pause_s)

    def _forget_takeovers(self, connected_s: float) -> None:
        if connected_s > 2 * self._policy.longest_takeover_retry_s:  # longer than the other client's pause
            self._takeovers = 0
