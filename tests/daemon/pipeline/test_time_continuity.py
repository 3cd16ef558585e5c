"""Continuity without contiguous ids: interruptions of the stream, and what REST repairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.pipeline import time_continuity
from daemon.pipeline.continuity import Admission, CompletenessReport, MissingRange
from daemon.pipeline.fast_path import IdentityFastPath
from daemon.pipeline.sequence import Interruption, SequenceState
from daemon.pipeline.time_continuity import TimeContinuity
from features.bars import OpenBar
from features.market import Completeness, Instrument, MissingTrades, Trade
from tests.daemon.pipeline.stream_records import stream_records, traits_of

FIRST_US = 1_000


def continuity(*interruptions: Interruption) -> TimeContinuity:
    return TimeContinuity(
        SequenceState(
            last_id=-1, last_time_us=FIRST_US - 1, covered_from_us=FIRST_US, interruptions=tuple(interruptions)
        )
    )


def trade(time_us: int, trade_id: int | None = None) -> Trade:
    return Trade(time_us if trade_id is None else trade_id, time_us, 1.0, 1.0, True)


def take_and_flush(
    sequence: TimeContinuity, trades: list[Trade], from_us: int, until_us: int
) -> tuple[int, list[Trade]]:
    """How many the fast path into a bar of these bounds takes, and which of them are new."""
    path = IdentityFastPath(traits_of())
    path.continuity = sequence
    path.bar = OpenBar(Instrument("bybit", "BTC-USDT"), open_time_us=from_us, interval_us=until_us - from_us)
    return path.take_next(stream_records(trades)), path.flush()


def take(sequence: TimeContinuity, trades: list[Trade], from_us: int, until_us: int) -> int:
    taken, new = take_and_flush(sequence, trades, from_us, until_us)
    assert new == trades[:taken]
    return taken


def completeness(
    sequence: TimeContinuity, open_us: int, close_us: int, *, now_us: int, grace_us: int = 0
) -> CompletenessReport:
    return sequence.completeness_of(open_us, close_us, now_us=now_us, grace_us=grace_us)


def answer(sequence: TimeContinuity, after_us: int, *, complete: bool, asked_at_us: int) -> None:
    sequence.record_answer(
        MissingRange(None, None, after_us), head_reached=True, complete=complete, asked_at_us=asked_at_us
    )


def test_trades_are_new_by_their_id() -> None:
    """The order of ids and holes between them mean nothing; only a known id is a duplicate."""
    sequence = continuity()
    assert sequence.admit(trade(2_000, 77)) is Admission.JOINED
    assert sequence.admit(trade(2_000, 5)) is Admission.JOINED
    assert sequence.admit(trade(1_500, 900)) is Admission.FILLED
    assert sequence.last_time_us == 2_000
    for time_us, trade_id in ((2_000, 77), (2_000, 5), (1_500, 900)):
        assert sequence.admit(trade(time_us, trade_id)) is Admission.DUPLICATE
    assert sequence.missing_trades == 0
    assert sequence.complete


def test_trades_before_the_start_are_left_out() -> None:
    """A page that reaches back before the start adds none of those trades."""
    sequence = continuity()
    assert sequence.admit(trade(FIRST_US - 1)) is Admission.DUPLICATE
    assert sequence.admit(trade(FIRST_US)) is Admission.JOINED


def test_the_fast_path_takes_only_the_newest() -> None:
    """It stops at the first trade that is known, older than the newest, or outside the bar."""
    sequence = continuity()
    assert take(sequence, [trade(2_000, 1), trade(2_000, 2), trade(2_100, 3)], 2_000, 3_000) == 3
    assert (sequence.last_id, sequence.last_time_us) == (3, 2_100)
    before = sequence.state()
    for other in (trade(2_100, 2), trade(2_099, 4), trade(3_000, 4)):
        assert take(sequence, [other, trade(2_500, 5)], 2_000, 3_000) == 0
    assert take(sequence, [trade(2_500, 5)], 2_600, 3_000) == 0
    assert sequence.state() == before
    assert take(sequence, [trade(2_200, 4), trade(2_200, 4), trade(2_300, 5)], 2_000, 3_000) == 1
    assert sequence.last_time_us == 2_200
    assert sequence.admit(trade(2_300, 5)) is Admission.JOINED, "it was not recorded"


@given(
    st.lists(st.lists(st.tuples(st.integers(1_000, 1_400), st.integers(0, 30)), min_size=1), max_size=20),
    st.integers(1_000, 1_400),
    st.sampled_from([3, 16_384]),
)
def test_no_id_is_counted_twice(batches: list[list[tuple[int, int]]], from_us: int, remembered: int) -> None:
    """In any order and by either path each trade is counted once, and both paths count the same.

    With few remembered ids the paths forget at different moments, and then take late trades for known; therefore each
    id belongs to one time there.
    """
    forgets = remembered == 3

    def id_at(time_us: int, number: int) -> int:
        return 100 * time_us + number if forgets else number

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_continuity, "REMEMBERED_IDS", remembered)
        fast, full = continuity(), continuity()
        counted: list[int] = []
        for batch in batches:
            trades = [trade(time_us, id_at(time_us, trade_id)) for time_us, trade_id in batch]
            taken, new = take_and_flush(fast, trades, from_us, 1_300)
            new += [each for each in trades[taken:] if fast.admit(each) is not Admission.DUPLICATE]
            by_full = [each for each in trades if full.admit(each) is not Admission.DUPLICATE]
            assert forgets or new == by_full
            counted += [each.trade_id for each in new]
        assert forgets or fast.state() == full.state()
    all_ids = {id_at(time_us, trade_id) for batch in batches for time_us, trade_id in batch}
    assert len(counted) == len(set(counted))
    assert forgets or set(counted) == all_ids


def test_ids_are_remembered_across_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least the newest ``REMEMBERED_IDS`` ids are known; an older trade is taken for a duplicate, never for new."""
    monkeypatch.setattr(time_continuity, "REMEMBERED_IDS", 4)
    sequence = continuity()
    for number in range(2_000, 2_011):
        sequence.admit(trade(number))
        for recent in range(max(2_000, number - 3), number + 1):
            assert sequence.admit(trade(recent)) is Admission.DUPLICATE, "one of the newest four"
    for number in range(2_000, 2_011):
        assert sequence.admit(trade(number)) is Admission.DUPLICATE
    late = trade(2_000, trade_id=999)
    assert sequence.admit(late) is Admission.DUPLICATE, "it may have been counted and forgotten"
    assert sequence.admit(trade(2_010, trade_id=998)) is Admission.JOINED
    assert len(sequence.recent_ids) + len(sequence.earlier_ids) <= 8


def test_ids_of_stored_trades_are_known_after_a_restart() -> None:
    """Trades that a new connection or a page repeats are not counted again."""
    sequence = continuity()
    stored = [trade(2_000), trade(2_100), trade(2_100, 7)]
    for each in stored:
        sequence.admit(each)
    again = TimeContinuity(sequence.state(), stored[1:], known_from_us=2_100)
    assert [again.admit(each) for each in stored] == [Admission.DUPLICATE] * 3
    assert again.admit(trade(2_100, 8)) is Admission.JOINED
    assert again.state().covered_from_us == FIRST_US


def test_an_interruption_begins_once() -> None:
    """While it lasts, further failures change nothing."""
    sequence = continuity()
    assert sequence.begin_interruption(5_000)
    assert not sequence.begin_interruption(6_000)
    assert sequence.interruptions == [Interruption(5_000)]
    sequence.end_interruption(7_000)
    sequence.end_interruption(8_000)
    assert sequence.interruptions == [Interruption(5_000, 7_000)]
    assert sequence.begin_interruption(9_000)
    assert sequence.interruptions == [Interruption(5_000, 7_000), Interruption(9_000)]


def test_completeness_of_an_uninterrupted_bar() -> None:
    """It is unproven, and final once a trade at its end was received or the grace has passed."""
    sequence = continuity()
    sequence.admit(trade(2_500))
    early = completeness(sequence, 2_000, 3_000, now_us=3_099, grace_us=100)
    assert early == CompletenessReport(Completeness.UNPROVEN, 0, final=False)
    final = CompletenessReport(Completeness.UNPROVEN, 0, final=True)
    assert completeness(sequence, 2_000, 3_000, now_us=3_100, grace_us=100) == final
    sequence.admit(trade(3_000))
    assert completeness(sequence, 2_000, 3_000, now_us=3_000, grace_us=100) == final


def test_rest_proves_an_interval_without_trades() -> None:
    """An answer requested after close and grace that reaches back over the interval holds no trade of it."""
    sequence = continuity()
    sequence.admit(trade(1_500))

    def report() -> CompletenessReport:
        return completeness(sequence, 2_000, 3_000, now_us=9_000, grace_us=100)

    assert report() == CompletenessReport(Completeness.UNPROVEN, 0, final=False)
    answer(sequence, 1_500, complete=True, asked_at_us=3_099)
    assert report() == CompletenessReport(Completeness.UNPROVEN, 0, final=False), "asked too early"
    answer(sequence, 1_500, complete=False, asked_at_us=3_500)
    assert report() == CompletenessReport(Completeness.UNPROVEN, 0, final=False), "the answer did not reach back"
    answer(sequence, 2_001, complete=True, asked_at_us=3_500)
    assert report() == CompletenessReport(Completeness.UNPROVEN, 0, final=False), (
        "the request did not cover the interval"
    )
    answer(sequence, 2_000, complete=True, asked_at_us=3_100)
    assert report() == CompletenessReport(Completeness.PROVEN, 0, final=True)


@pytest.mark.parametrize(
    ("interruption", "overlaps"),
    [
        (Interruption(2_500, 2_600), True),
        (Interruption(1_000, 2_001), True),
        (Interruption(2_999, 9_000), True),
        (Interruption(2_999), True),
        (Interruption(1_000, 2_000), False),
        (Interruption(3_000, 4_000), False),
        (Interruption(3_000), False),
        (Interruption(2_500, 2_600, given_up=True), True),
    ],
)
def test_an_interruption_makes_gaps_of_the_bars_it_overlaps(interruption: Interruption, overlaps: bool) -> None:
    """The number of missing trades is unknown, and the bar lists the interruption."""
    sequence = continuity(interruption)
    sequence.admit(trade(4_000))
    report = completeness(sequence, 2_000, 3_000, now_us=9_000)
    if overlaps:
        missing = MissingTrades(None, None, interruption.after_us, interruption.before_us)
        assert report == CompletenessReport(Completeness.GAP, None, final=False, ranges=(missing,))
    else:
        assert report == CompletenessReport(Completeness.UNPROVEN, 0, final=True)


def test_a_page_that_reaches_back_repairs() -> None:
    """It holds every trade since the first interruption."""
    sequence = continuity(Interruption(2_000, 3_000), Interruption(4_000, 5_000))
    assert not sequence.complete
    assert sequence.next_missing() == MissingRange(None, None, 2_000)
    answer(sequence, 2_000, complete=True, asked_at_us=6_000)
    assert sequence.interruptions == []
    assert sequence.complete
    assert sequence.next_missing() is None


def test_a_page_repairs_only_what_it_covers() -> None:
    """Earlier interruptions, and those that end after the request, stay."""
    earlier, later, open_one = Interruption(2_000, 3_000), Interruption(4_000, 9_000), Interruption(9_500)
    sequence = continuity(earlier, Interruption(3_500, 3_600), later, open_one)
    answer(sequence, 3_500, complete=True, asked_at_us=8_000)
    assert sequence.interruptions == [earlier, later, open_one]


def test_a_page_that_does_not_reach_back_gives_up() -> None:
    """The venue returns only the newest trades: the interruption is not requested again, and the gap stays."""
    sequence = continuity(Interruption(2_000, 3_000), Interruption(4_000, 5_000))
    answer(sequence, 2_000, complete=False, asked_at_us=6_000)
    assert sequence.interruptions == [Interruption(2_000, 3_000, given_up=True), Interruption(4_000, 5_000)]
    assert sequence.next_missing() == MissingRange(None, None, 4_000)
    answer(sequence, 4_000, complete=False, asked_at_us=6_000)
    assert sequence.complete, "REST can return nothing more"
    assert sequence.next_missing() is None
    assert completeness(sequence, 2_000, 3_000, now_us=9_000).completeness is Completeness.GAP


def test_an_interruption_is_requested_after_its_end() -> None:
    """While it lasts there is nothing to request."""
    sequence = continuity()
    sequence.begin_interruption(2_000)
    assert sequence.next_missing() is None
    assert not sequence.complete
    sequence.end_interruption(3_000)
    assert sequence.next_missing() == MissingRange(None, None, 2_000)


def test_a_lost_range_is_a_gap() -> None:
    """It makes a gap like any interruption, and is not requested."""
    sequence = continuity()
    sequence.begin_interruption(9_000)
    sequence.add_lost_range(2_000, 3_000)
    assert sequence.interruptions == [Interruption(2_000, 3_000, given_up=True), Interruption(9_000)]
    sequence.end_interruption(9_500)
    assert sequence.next_missing() == MissingRange(None, None, 9_000)


def test_beyond_newest_starts_at_the_last_trade() -> None:
    """By time: another trade may have the same microsecond."""
    sequence = continuity()
    sequence.admit(trade(2_345))
    assert sequence.beyond_newest() == MissingRange(None, None, 2_345)


def test_old_interruptions_are_forgotten() -> None:
    """Those that ended before the oldest bar that is kept; never one that lasts."""
    sequence = continuity(Interruption(2_000, 3_000), Interruption(4_000, 5_000), Interruption(6_000))
    sequence.forget_before(3_000)
    assert sequence.interruptions == [Interruption(4_000, 5_000), Interruption(6_000)]
    sequence.forget_before(99_000)
    assert sequence.interruptions == [Interruption(6_000)]


def test_a_restart_keeps_the_interruptions() -> None:
    """Those that were given up and those that were not."""
    sequence = continuity(Interruption(2_000, 3_000, given_up=True), Interruption(4_000))
    sequence.admit(trade(4_500))
    again = TimeContinuity(sequence.state())
    assert again.state() == sequence.state()
    assert again.interruptions == sequence.interruptions
