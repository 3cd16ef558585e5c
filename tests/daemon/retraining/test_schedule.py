"""The schedule in market time: no run twice, no run skipped, missed runs replaced by one run."""

from __future__ import annotations

from datetime import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.retraining.schedule import RetrainHistory, RetrainSchedule
from daemon.timestamps import from_iso

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
START_US = from_iso("2026-01-05T12:00:00Z")

times = st.integers(0, 23 * 60 + 59).map(lambda minute: time(minute // 60, minute % 60))
schedules = st.one_of(
    st.builds(RetrainSchedule, every_s=st.integers(60, 3 * 86_400), jitter_s=st.floats(0, 50)),
    st.builds(RetrainSchedule, at=times, jitter_s=st.floats(0, 3_600)),
)

quick = settings(max_examples=40, deadline=None)  # a busy machine is no failure


def runs(schedule: RetrainSchedule, *, ticks: list[int], history: RetrainHistory, jitter: float) -> list[int]:
    """The starts of successful runs of one daemon that looks at the schedule at each tick."""
    started = []
    for now_us in ticks:
        due_us = schedule.next_run_us(history, started_us=ticks[0], jitter=jitter)
        if due_us is not None and due_us <= now_us:
            started.append(now_us)
            history = RetrainHistory(last_success_us=now_us, last_attempt_us=now_us)
    return started


def minutes(count: int, start_us: int = START_US) -> list[int]:
    return [start_us + minute * 60 * SECOND_US for minute in range(count)]


def test_off_never_runs() -> None:
    """Without an interval or a time there is no next run."""
    assert RetrainSchedule().next_run_us(RetrainHistory(), started_us=START_US, jitter=0.5) is None


def test_the_first_run_of_an_interval_is_at_once() -> None:
    """Where no run ever succeeded, every = 24h trains at the start."""
    assert RetrainSchedule(every_s=86_400).next_run_us(RetrainHistory(), started_us=START_US, jitter=0) == START_US


def test_an_interval_counts_from_the_last_success_across_restarts() -> None:
    """A restart in the middle of the interval does not change the time of the next run."""
    history = RetrainHistory(last_success_us=START_US - 3_600 * SECOND_US, last_attempt_us=START_US - 3_600 * SECOND_US)
    due_us = RetrainSchedule(every_s=86_400).next_run_us(history, started_us=START_US, jitter=0)
    assert due_us == START_US + 23 * 3_600 * SECOND_US


@pytest.mark.parametrize(
    ("last", "due"),
    [
        ("2026-01-05T03:09:59Z", "2026-01-05T12:00:00Z"),  # 03:10 of today was missed: made up at the start
        ("2026-01-05T03:10:00Z", "2026-01-06T03:10:00Z"),
        ("2026-01-05T11:00:00Z", "2026-01-06T03:10:00Z"),
        ("2025-12-01T03:10:00Z", "2026-01-05T12:00:00Z"),  # a month was missed: one run
    ],
)
def test_a_time_of_day(last: str, due: str) -> None:
    """The next 03:10 after the last success, or the start where that is past."""
    history = RetrainHistory(last_success_us=from_iso(last), last_attempt_us=from_iso(last))
    assert RetrainSchedule(at=time(3, 10)).next_run_us(history, started_us=START_US, jitter=0) == from_iso(due)


def test_a_first_time_of_day_is_the_next_one() -> None:
    """Without any success at = "03:10" waits for the first 03:10."""
    due_us = RetrainSchedule(at=time(3, 10)).next_run_us(RetrainHistory(), started_us=START_US, jitter=0)
    assert due_us == from_iso("2026-01-06T03:10:00Z")


def test_a_failed_run_is_tried_again_after_an_hour() -> None:
    """A failure neither waits for the next day nor starts over and over."""
    history = RetrainHistory(last_success_us=START_US - 2 * DAY_US, last_attempt_us=START_US)
    due_us = RetrainSchedule(every_s=86_400).next_run_us(history, started_us=START_US, jitter=0)
    assert due_us == START_US + 3_600 * SECOND_US
    due_us = RetrainSchedule(every_s=60).next_run_us(history, started_us=START_US, jitter=0)
    assert due_us == START_US + 60 * SECOND_US


def test_jitter_delays_by_its_share() -> None:
    """Half of the jitter is half of its seconds."""
    schedule = RetrainSchedule(every_s=86_400, jitter_s=600)
    assert schedule.next_run_us(RetrainHistory(), started_us=START_US, jitter=0.5) == START_US + 300 * SECOND_US


@quick
@given(schedule=schedules, jitter=st.floats(0, 0.999), missed_days=st.integers(0, 40))
def test_missed_runs_are_made_up_once(schedule: RetrainSchedule, jitter: float, missed_days: int) -> None:
    """However long the daemon was down, at most one run of the past is made up."""
    last_us = START_US - missed_days * DAY_US
    history = RetrainHistory(last_success_us=last_us, last_attempt_us=last_us)
    hour = minutes(60)
    started = runs(schedule, ticks=hour, history=history, jitter=jitter)
    shortest_us = DAY_US if schedule.every_s is None else schedule.every_s * SECOND_US
    assert all(later - earlier >= shortest_us for earlier, later in pairwise(started[1:]))
    if missed_days > 3:
        assert started or jitter * schedule.jitter_s > 59 * 60


@quick
@given(at=times, jitter=st.floats(0, 0.999), jitter_s=st.floats(0, 3_600))
def test_each_day_has_its_run_and_no_second_one(at: time, jitter: float, jitter_s: float) -> None:
    """Over five days at = "HH:MM" runs once per day, at its time or within the jitter after it."""
    schedule = RetrainSchedule(at=at, jitter_s=jitter_s)
    started = runs(schedule, ticks=minutes(5 * 24 * 60), history=RetrainHistory(), jitter=jitter)
    slot_us = from_iso(f"2026-01-05T{at:%H:%M}:00Z")
    behind = [(start - slot_us) % DAY_US for start in started]
    assert all(delay <= (jitter_s + 60) * SECOND_US for delay in behind)
    days = [(start - slot_us - delay) // DAY_US for start, delay in zip(started, behind, strict=True)]
    assert days == list(range(days[0], days[0] + len(days)))
    assert 4 <= len(days) <= 5


@quick
@given(every_s=st.integers(120, 86_400))
def test_an_interval_never_skips(every_s: int) -> None:
    """Over two days no two runs are further apart than the interval and one tick."""
    started = runs(RetrainSchedule(every_s=every_s), ticks=minutes(2 * 24 * 60), history=RetrainHistory(), jitter=0.0)
    assert started[0] == START_US
    gaps = [later - earlier for earlier, later in pairwise(started)]
    assert all(every_s * SECOND_US <= gap < (every_s + 60) * SECOND_US for gap in gaps)


@pytest.mark.parametrize(
    ("every_s", "at", "problem"),
    [(60, time(3, 10), "only one"), (0, None, "above 0")],
)
def test_invalid_schedules_are_refused(every_s: int | None, at: time | None, problem: str) -> None:
    """The message names the values and the condition."""
    with pytest.raises(ValueError, match=problem):
        RetrainSchedule(every_s=every_s, at=at)
