"""Continuity: every id is admitted once, and what is missing is known exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.ingest.continuity import Admission, Continuity
from daemon.records import SequenceState
from features.market import Trade


def continuity(last_id: int = 9) -> Continuity:
    return Continuity(SequenceState(last_id=last_id, last_time_us=1_000, covered_from_us=0))


def trade(trade_id: int) -> Trade:
    return Trade(trade_id, trade_id * 1_000, 1.0, 1.0, True)


@given(st.lists(st.integers(10, 40), max_size=120))
def test_what_is_missing_is_exact(ids: list[int]) -> None:
    """After any sequence of ids, duplicates included, each is admitted once and the rest is missing."""
    sequence = continuity()
    admitted = [i for i in ids if sequence.admit(trade(i)) is not Admission.DUPLICATE]
    assert sorted(admitted) == sorted(set(ids))
    expected = set(range(10, max(ids, default=9) + 1)) - set(ids)
    assert {i for lost in sequence.missing for i in range(lost.first_id, lost.last_id + 1)} == expected


@given(st.lists(st.integers(10, 40), max_size=60), st.integers(0, 60))
def test_a_restart_changes_nothing(ids: list[int], stop: int) -> None:
    """Stored and loaded anywhere on the way, the sequence goes on as if it had never stopped."""
    whole, broken = continuity(), continuity()
    for index, trade_id in enumerate(ids):
        if index == stop:
            broken = Continuity(broken.state())
        assert whole.admit(trade(trade_id)) is broken.admit(trade(trade_id))
    assert whole.state() == broken.state()


def test_time_bounds_say_which_bar_may_lack_trades() -> None:
    """A gap counts for every interval that its neighbours in time leave open, and for no other."""
    sequence = continuity()
    sequence.admit(trade(10))
    assert sequence.admit(trade(15)) is Admission.OPENED_GAP
    assert sequence.missing_between(0, 10_000) == 0
    assert sequence.missing_between(10_000, 12_000) == 4
    assert sequence.missing_between(15_000, 20_000) == 4, "the trade at 15 ms may share its time with a lost one"
    assert sequence.missing_between(15_001, 20_000) == 0


def test_a_filled_middle_splits_the_gap() -> None:
    """An id from the middle of a gap leaves two smaller ones."""
    sequence = continuity()
    sequence.admit(trade(15))
    assert sequence.admit(trade(12)) is Admission.FILLED
    assert [(lost.first_id, lost.last_id) for lost in sequence.missing] == [(10, 11), (13, 14)]
    assert sequence.admit(trade(12)) is Admission.DUPLICATE
