"""Tests of judging components by their progress, with generated times."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from daemon.serving.progress import ComponentState, ComponentWork, Judgement, ProgressBounds, judge, judge_all

SECONDS = st.floats(0, 1e7, allow_nan=False)
SEVERITY = {state: place for place, state in enumerate(ComponentState)}


@st.composite
def bounds(draw: st.DrawFn) -> ProgressBounds:
    degraded_s = draw(st.floats(0.1, 1e4))
    unhealthy_s = draw(st.none() | st.floats(degraded_s, 1e5))
    return ProgressBounds(degraded_s, unhealthy_s)


@given(bounds(), SECONDS)
def test_a_component_without_work_is_healthy_at_any_time(limits: ProgressBounds, now_s: float) -> None:
    """An idle venue, a halted market or a daemon that waits for its next close is no fault."""
    assert judge(ComponentWork(component="x", bounds=limits), now_s) == Judgement(
        component="x", state=ComponentState.HEALTHY
    )


@given(bounds(), SECONDS, SECONDS)
def test_the_state_follows_the_wait(limits: ProgressBounds, since_s: float, waited_s: float) -> None:
    """Below the first bound healthy, from the second on unhealthy, degraded between; each with its reason."""
    now_s = since_s + waited_s
    judged = judge(ComponentWork(component="x", bounds=limits, activity="a round", waiting_since_s=since_s), now_s)
    waited_s = now_s - since_s
    if waited_s < limits.degraded_s:
        expected = ComponentState.HEALTHY
    elif limits.unhealthy_s is None or waited_s < limits.unhealthy_s:
        expected = ComponentState.DEGRADED
    else:
        expected = ComponentState.UNHEALTHY
    assert judged.state is expected
    assert judged.reason.startswith("a round makes no progress") == (expected is not ComponentState.HEALTHY)
    assert math.isclose(judged.waiting_s, waited_s)


@given(bounds(), SECONDS, st.floats(0, 1e6))
def test_a_component_only_gets_worse_while_it_waits(limits: ProgressBounds, since_s: float, more_s: float) -> None:
    """And progress, which is a later ``waiting_since_s``, makes it better at once."""
    waiting = ComponentWork(component="x", bounds=limits, waiting_since_s=since_s)
    states = [judge(waiting, since_s + part * more_s).state for part in (0, 0.3, 0.6, 1)]
    assert states == sorted(states, key=SEVERITY.__getitem__)
    assert states[0] is ComponentState.HEALTHY


@given(bounds(), SECONDS, SECONDS)
def test_a_clock_that_runs_backwards_harms_nothing(limits: ProgressBounds, since_s: float, back_s: float) -> None:
    """A wait from the future is no wait."""
    judged = judge(ComponentWork(component="x", bounds=limits, waiting_since_s=since_s), since_s - back_s)
    assert (judged.state, judged.waiting_s) == (ComponentState.HEALTHY, 0.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), bounds(), st.none() | SECONDS), max_size=20), st.randoms())
def test_the_worst_entry_of_a_component_counts(
    entries: list[tuple[str, ProgressBounds, float | None]], order: random.Random
) -> None:
    """In whatever order they are reported; no component hides another."""
    progress = [
        ComponentWork(component=name, bounds=limits, waiting_since_s=since_s) for name, limits, since_s in entries
    ]
    judged = {each.component: each.state for each in judge_all(progress, 1e7)}
    order.shuffle(progress)
    assert {each.component: each.state for each in judge_all(progress, 1e7)} == judged
    for name in {name for name, _, _ in entries}:
        states = [judge(each, 1e7).state for each in progress if each.component == name]
        assert judged[name] is max(states, key=SEVERITY.__getitem__)


def test_the_reason_changes_seldom() -> None:
    """It is published with the status, so it must not be new every second."""
    waiting = ComponentWork(
        component="store", bounds=ProgressBounds(30.0, 300.0), activity="a write", waiting_since_s=0.0
    )
    reasons = [judge(waiting, float(now_s)).reason for now_s in range(600)]
    assert len(set(reasons)) == 20
    assert reasons[29] == ""
    assert reasons[95] == "a write makes no progress for 90 s"
