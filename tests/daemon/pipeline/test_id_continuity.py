"""Continuity by ids: every id is counted once, and what is missing is known exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.pipeline.continuity import MAX_RANGES, Admission, MissingRange
from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.sequence import SequenceState
from features.market import Completeness, MissingTrades, Trade
from tests.daemon.pipeline.id_sequences import id_continuity, merged_records, trade

COUNTED = {Admission.JOINED, Admission.OPENED_GAP, Admission.FILLED}


def covered(record: Trade) -> range:
    return range(record.trade_id - record.span + 1, record.trade_id + 1)


def missing_ids(sequence: IdContinuity) -> list[int]:
    return [each for lost in sequence.missing for each in range(lost.first_id, lost.last_id + 1)]


def missing_between(sequence: IdContinuity, open_us: int, close_us: int) -> int:
    known = sequence.completeness_of(open_us, close_us, now_us=close_us, grace_us=0)
    assert known.missing_trades is not None
    return known.missing_trades


@given(st.lists(st.integers(10, 40), max_size=120))
def test_what_is_missing_is_exact(ids: list[int]) -> None:
    """After any sequence of ids, duplicates included, each is admitted once and the rest is missing."""
    sequence = id_continuity()
    admitted = [i for i in ids if sequence.admit(trade(i)) is not Admission.DUPLICATE]
    assert sorted(admitted) == sorted(set(ids))
    expected = set(range(10, max(ids, default=9) + 1)) - set(ids)
    assert set(missing_ids(sequence)) == expected


@given(merged_records(), st.data())
def test_no_id_is_counted_twice(records: list[Trade], data: st.DataObject) -> None:
    """Merged, lost, repeated, disordered and repaired: counted and missing are always all there is, and never both."""
    sequence, counted = id_continuity(), list[int]()
    for record in records:
        admission = sequence.admit(record)
        if admission in COUNTED:
            counted += covered(record)
        check(sequence, counted)
    while (lost := sequence.next_missing()) is not None:
        assert lost.from_id is not None
        assert lost.until_id is not None
        for trade_id in range(lost.from_id, lost.until_id + 1):
            if data.draw(st.booleans()) or trade_id == lost.until_id:
                assert sequence.admit(trade(trade_id)) is Admission.FILLED
                counted.append(trade_id)
        check(sequence, counted)
    assert sorted(counted) == list(range(10, sequence.last_id + 1)), "repaired one by one, nothing is missing"
    assert sequence.complete


def check(sequence: IdContinuity, counted: list[int]) -> None:
    missing = missing_ids(sequence)
    assert sorted(counted + missing) == list(range(10, sequence.last_id + 1))
    assert missing == sorted(missing)
    assert sequence.missing_trades == len(missing)
    assert sequence.complete is not bool(missing)


@given(merged_records(), st.integers(0, 60))
def test_a_restart_changes_nothing(records: list[Trade], stop: int) -> None:
    """Stored and loaded anywhere on the way, the sequence goes on as if it had never stopped."""
    whole, broken = id_continuity(), id_continuity()
    for index, record in enumerate(records):
        if index == stop:
            broken = IdContinuity(broken.state())
        assert whole.admit(record) is broken.admit(record)
    assert whole.state() == broken.state()


def test_time_bounds_say_which_bar_may_lack_trades() -> None:
    """A gap counts for every interval that its neighbours in time leave open, and for no other."""
    sequence = id_continuity()
    sequence.admit(trade(10))
    assert sequence.admit(trade(15)) is Admission.OPENED_GAP
    assert missing_between(sequence, 0, 10_000) == 0
    assert missing_between(sequence, 10_000, 12_000) == 4
    assert missing_between(sequence, 15_000, 20_000) == 4, "the trade at 15 ms may share its time with a lost one"
    assert missing_between(sequence, 15_001, 20_000) == 0


def test_a_filled_middle_splits_the_gap() -> None:
    """An id from the middle of a gap leaves two smaller ones."""
    sequence = id_continuity()
    sequence.admit(trade(15))
    assert sequence.admit(trade(12)) is Admission.FILLED
    assert [(lost.first_id, lost.last_id) for lost in sequence.missing] == [(10, 11), (13, 14)]
    assert sequence.admit(trade(12)) is Admission.DUPLICATE


def test_merged_records_join_by_the_first_of_their_ids() -> None:
    """A record of five ids is the next one where the first of the five is."""
    sequence = id_continuity()
    assert sequence.admit(trade(14, span=5)) is Admission.JOINED
    assert sequence.admit(trade(20, span=3)) is Admission.OPENED_GAP
    assert missing_ids(sequence) == [15, 16, 17]
    assert sequence.admit(trade(17, span=3)) is Admission.FILLED
    assert sequence.complete


def test_a_merged_record_that_is_partly_counted() -> None:
    """It cannot be split: it is left out, and the part that was not counted is missing until it is asked for."""
    sequence = id_continuity()
    sequence.admit(trade(10))
    assert sequence.admit(trade(14, span=5)) is Admission.OPENED_GAP_ONLY
    assert missing_ids(sequence) == [11, 12, 13, 14]
    assert sequence.admit(trade(15)) is Admission.JOINED
    assert sequence.admit(trade(14, span=5)) is Admission.DUPLICATE, "10 is still counted"
    assert sequence.admit(trade(14, span=4)) is Admission.FILLED


def test_a_merged_record_across_the_edge_of_a_gap() -> None:
    """What lies partly within a gap and partly beside it is left out, and the gap stays as it is."""
    sequence = id_continuity()
    sequence.admit(trade(12))  # 10 and 11 are missing
    sequence.admit(trade(16))  # 13, 14 and 15 are missing
    assert sequence.admit(trade(14, span=4)) is Admission.DUPLICATE
    assert sequence.admit(trade(13, span=2)) is Admission.DUPLICATE
    assert sequence.admit(trade(16, span=2)) is Admission.DUPLICATE
    assert missing_ids(sequence) == [10, 11, 13, 14, 15]


def test_what_is_known_of_a_bar() -> None:
    """Proven by a trade past its end that joined, or by a head that was asked for after its end and grace."""
    sequence = id_continuity()
    sequence.admit(trade(10))

    def known() -> tuple[Completeness, bool]:
        verdict = sequence.completeness_of(8_000, 12_000, now_us=99_000, grace_us=1_000)
        return verdict.completeness, verdict.final

    assert known() == (Completeness.UNPROVEN, False), "waiting alone proves nothing"
    sequence.record_answer(sequence.beyond_newest(), head_reached=False, complete=True, asked_at_us=20_000)
    sequence.record_answer(sequence.beyond_newest(), head_reached=True, complete=True, asked_at_us=12_999)
    assert known() == (Completeness.UNPROVEN, False), "a thousandth short of close and grace"
    sequence.record_answer(sequence.beyond_newest(), head_reached=True, complete=True, asked_at_us=13_000)
    sequence.record_answer(sequence.beyond_newest(), head_reached=True, complete=True, asked_at_us=100)
    assert known() == (Completeness.PROVEN, True)
    sequence = id_continuity()
    sequence.admit(trade(10))
    sequence.admit(trade(12))
    assert known() == (Completeness.GAP, False)
    sequence.admit(trade(11))
    assert known() == (Completeness.PROVEN, True)


def test_bars_before_the_beginning_are_not_proven() -> None:
    """A sequence that began within a bar says nothing of it."""
    sequence = IdContinuity(SequenceState(last_id=9, last_time_us=1_000, covered_from_us=5_000))
    sequence.admit(trade(10))
    assert sequence.completeness_of(4_000, 9_000, now_us=9_000, grace_us=0).completeness is Completeness.UNPROVEN
    assert sequence.completeness_of(5_000, 9_000, now_us=9_000, grace_us=0).completeness is Completeness.PROVEN


def test_ranges_that_travel_with_a_bar_are_few() -> None:
    """Of many gaps the first are named; their trades are all counted."""
    sequence = id_continuity()
    for trade_id in range(11, 111, 2):
        sequence.admit(trade(trade_id))
    known = sequence.completeness_of(0, 200_000, now_us=200_000, grace_us=0)
    assert known.missing_trades == 50
    assert len(known.ranges) == MAX_RANGES
    assert known.ranges[:2] == (MissingTrades(10, 10, 1_000, 11_000), MissingTrades(12, 12, 11_000, 13_000))


def test_gaps_are_asked_for_in_turn() -> None:
    """One that the venue does not fill keeps no other waiting."""
    sequence = id_continuity()
    for trade_id in (12, 15, 18):
        sequence.admit(trade(trade_id))
    asked = [sequence.next_missing() for _ in range(4)]
    assert asked == [
        MissingRange(10, 11, 1_000),
        MissingRange(13, 14, 12_000),
        MissingRange(16, 17, 15_000),
        MissingRange(10, 11, 1_000),
    ]
    sequence.admit(trade(13))
    assert sequence.next_missing() == MissingRange(14, 14, 13_000)
    assert sequence.beyond_newest() == MissingRange(19, None, 18_000)


def test_interruptions_are_of_no_concern() -> None:
    """The ids alone tell what was lost."""
    sequence = id_continuity()
    before = sequence.state()
    assert not sequence.begin_interruption(500)
    sequence.end_interruption(600)
    assert sequence.state() == before
    assert sequence.next_missing() is None
