"""The time of the next retraining, in market time. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_RETRY_S = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainHistory:
    """The past runs, which a restart must know. Market times; None where there was none.

    last_success_us: the START of the last successful run, so that the schedule does not drift by the runs' lengths.
    last_attempt_us: the start of the last run, successful or not.
    """

    last_success_us: int | None = None
    last_attempt_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSchedule:
    """Every ``every_s`` seconds after the last success, or each day at ``at`` (UTC, to the minute), or never.

    jitter_s: runs start up to this many seconds late, so that several daemons do not train at the same moment.
    Raises ValueError for both at once, and for an interval that is not positive.
    """

    every_s: int | None = None
    at: time | None = None
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        if self.every_s is not None and self.at is not None:
            raise ValueError(f"every was {self.every_s} s and at was {self.at}; only one of them can be set")
        if self.every_s is not None and self.every_s <= 0:
            raise ValueError(f"every was {self.every_s} s, must be above 0")

    def next_run_us(self, history: RetrainHistory, *, started_us: int, jitter: float) -> int | None:
        """The market time of the next run, in the past where it is due; None where there is none.

        started_us: when this daemon started. jitter: in [0, 1), drawn once for each daemon, not for each call.
        After downtime one run makes up for all missed ones. A failed run is repeated after an hour, or after
        ``every_s`` where that is less.
        """
        due_us = self._due_us(history.last_success_us, started_us)
        if due_us is None:
            return None
        due_us = max(due_us, started_us) + int(jitter * self.jitter_s * _SECOND_US)
        failed = history.last_attempt_us is not None and history.last_attempt_us != history.last_success_us
        if not failed or history.last_attempt_us is None:
            return due_us
        retry_s = _RETRY_S if self.every_s is None else min(_RETRY_S, self.every_s)
        return max(due_us, history.last_attempt_us + retry_s * _SECOND_US)

    def _due_us(self, last_success_us: int | None, started_us: int) -> int | None:
        if self.every_s is not None:
            return started_us if last_success_us is None else last_success_us + self.every_s * _SECOND_US
        if self.at is not None:
            return _next_time_of_day_us(self.at, after_us=started_us if last_success_us is None else last_success_us)
        return None


def _next_time_of_day_us(at: time, *, after_us: int) -> int:
    """The first ``at`` later than ``after_us``."""
    slot_us = (at.hour * 60 + at.minute) * 60 * _SECOND_US
    return slot_us + ((after_us - slot_us) // _DAY_US + 1) * _DAY_US
