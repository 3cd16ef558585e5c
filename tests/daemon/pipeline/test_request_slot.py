"""One request at a time, with pauses that grow while requests do not help."""

from __future__ import annotations

from daemon.pipeline.events import RepairReason, RepairRequested
from daemon.pipeline.request_slot import RequestSlot
from features.market import Instrument

REPAIR = RepairRequested(Instrument("binance", "BTC-USDT"), 7, 9, 1_000, RepairReason.GAP, 1)


def test_a_request_in_flight_blocks_the_next() -> None:
    """The slot is free again once the request ends."""
    slot = RequestSlot()
    assert slot.is_free(0.0)
    slot.begin(REPAIR, 0.0)
    assert slot.in_flight
    assert not slot.is_free(100.0)
    slot.end(helped=True, wall_s=100.0)
    assert slot.is_free(100.0)


def test_pauses_double_up_to_half_a_minute_and_end_with_success() -> None:
    """0.5 s, 1 s, 2 s ... 30 s; after an answer that helped the next request follows at once."""
    slot, now_s, pauses = RequestSlot(), 0.0, []
    for _ in range(9):
        slot.begin(REPAIR, now_s)
        slot.end(helped=False, wall_s=now_s)
        pause_s = 0.0
        while not slot.is_free(now_s + pause_s):
            pause_s += 0.25
        pauses.append(pause_s)
        now_s += pause_s
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    slot.begin(REPAIR, now_s)
    slot.end(helped=True, wall_s=now_s)
    assert slot.is_free(now_s)


def test_a_request_without_an_answer_is_overdue() -> None:
    """A missing answer does not block requests for ever."""
    slot = RequestSlot()
    assert not slot.overdue(1000.0, 60.0)
    slot.begin(REPAIR, 0.0)
    assert not slot.overdue(60.0, 60.0)
    assert slot.overdue(60.1, 60.0)
