"""One request at a time, with pauses that grow while nothing helps."""

from __future__ import annotations

from daemon.pipeline.events import RepairReason
from daemon.pipeline.request_slot import RequestSlot


def test_a_request_under_way_blocks_the_next() -> None:
    """Nothing is asked twice at once."""
    inquiry = RequestSlot()
    assert inquiry.may_begin(0.0)
    inquiry.begin(RepairReason.GAP, 0.0)
    assert inquiry.under_way
    assert not inquiry.may_begin(100.0)
    inquiry.end(helped=True, wall_s=100.0)
    assert inquiry.may_begin(100.0)


def test_pauses_double_up_to_half_a_minute_and_end_with_success() -> None:
    """0.5 s, 1 s, 2 s ... 30 s; one answer that helped, and the next request follows at once."""
    inquiry, now_s, pauses = RequestSlot(), 0.0, []
    for _ in range(9):
        inquiry.begin(RepairReason.PROOF, now_s)
        inquiry.end(helped=False, wall_s=now_s)
        pause_s = 0.0
        while not inquiry.may_begin(now_s + pause_s):
            pause_s += 0.25
        pauses.append(pause_s)
        now_s += pause_s
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    inquiry.begin(RepairReason.PROOF, now_s)
    inquiry.end(helped=True, wall_s=now_s)
    assert inquiry.may_begin(now_s)


def test_a_request_without_an_answer_is_overdue() -> None:
    """A lost answer does not stop the asking for ever."""
    inquiry = RequestSlot()
    assert not inquiry.overdue(1000.0, 60.0)
    inquiry.begin(RepairReason.PROBE, 0.0)
    assert not inquiry.overdue(60.0, 60.0)
    assert inquiry.overdue(60.1, 60.0)
