"""When to retrain next, in market time. Pure: it is told what time it is and what happened."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_RETRY_S = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainHistory:
    """What has to survive a restart. Market times; None where it never happened.

    last_success_us: when the last run that succeeded STARTED, so that a schedule does not drift by the runs' lengths.
    last_attempt_us: when the last run started, whatever became of it.
    """

    last_success_us: int | None = None
    last_attempt_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSchedule:
    """Every ``every_s`` seconds after the last success, or each day at ``at`` ("HH:MM", UTC); neither means never.

    jitter_s: runs start up to so many seconds late, so that a fleet does not train in step.
    Raises ValueError for both at once, for an interval that is not positive, and for a time that is none.
    """

    every_s: int | None = None
    at: str | None = None
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        if self.every_s is not None and self.at is not None:
            raise ValueError(f"every was {self.every_s} s and at was {self.at!r}; only one of them can be kept")
        if self.every_s is not None and self.every_s <= 0:
            raise ValueError(f"every was {self.every_s} s, must be above 0")
        if self.at is not None:
            _time_of_day_us(self.at)

    def next_run_us(self, history: RetrainHistory, *, started_us: int, jitter: float) -> int | None:
        """The market time of the next run, in the past where it is due; None where there is none.

        started_us: when this daemon started. jitter: in [0, 1), drawn once for each daemon, not for each call.
        Runs missed while the daemon was down are made up by one run after its start. A failed run is tried again
        after an hour, or after ``every_s`` where that is less.
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


def _time_of_day_us(at: str) -> int:
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", at)
    if match is None:
        raise ValueError(f"at was {at!r}; write a time of day in UTC, e.g. 03:10")
    return (int(match[1]) * 60 + int(match[2])) * 60 * _SECOND_US


def _next_time_of_day_us(at: str, *, after_us: int) -> int:
    """The first ``at`` later than ``after_us``."""
    slot_us = _time_of_day_us(at)
    return slot_us + ((after_us - slot_us) // _DAY_US + 1) * _DAY_US
