"""Continuity by contiguous ids: every id is counted once, and the missing ones are known exactly."""

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
    return [each for gap in sequence.missing for each in range(gap.first_id, gap.last_id + 1)]


def missing_between(sequence: IdContinuity, open_us: int, close_us: int) -> int:
    report = sequence.completeness_of(open_us, close_us, now_us=close_us, grace_us=0)
    assert report.missing_trades is not None
    return report.missing_trades


@given(st.lists(st.integers(10, 40), max_size=120))
def test_missing_ids_are_exact(ids: list[int]) -> None:
    """After any sequence of ids, duplicates included, each is admitted once and the rest is missing."""
    sequence = id_continuity()
    admitted = [i for i in ids if sequence.admit(trade(i)) is not Admission.DUPLICATE]
    assert sorted(admitted) == sorted(set(ids))
    expected = set(range(10, max(ids, default=9) + 1)) - set(ids)
    assert set(missing_ids(sequence)) == expected


@given(merged_records(), st.data())
def test_no_id_is_counted_twice(records: list[Trade], data: st.DataObject) -> None:
    """Merged, lost, repeated, disordered and repaired: every id is either counted or missing, never both."""
    sequence, counted = id_continuity(), list[int]()
    for record in records:
        admission = sequence.admit(record)
        if admission in COUNTED:
            counted += covered(record)
        assert_counted_or_missing(sequence, counted)
    while (gap := sequence.next_missing()) is not None:
        assert gap.from_id is not None
        assert gap.until_id is not None
        for trade_id in range(gap.from_id, gap.until_id + 1):
            if data.draw(st.booleans()) or trade_id == gap.until_id:
                assert sequence.admit(trade(trade_id)) is Admission.FILLED
                counted.append(trade_id)
        assert_counted_or_missing(sequence, counted)
    assert sorted(counted) == list(range(10, sequence.last_id + 1)), "after the repair nothing is missing"
    assert sequence.complete


def assert_counted_or_missing(sequence: IdContinuity, counted: list[int]) -> None:
    missing = missing_ids(sequence)
    assert sorted(counted + missing) == list(range(10, sequence.last_id + 1))
    assert missing == sorted(missing)
    assert sequence.missing_trades == len(missing)
    assert sequence.complete is not bool(missing)


@given(merged_records(), st.integers(0, 60))
def test_a_restart_changes_nothing(records: list[Trade], stop: int) -> None:
    """Stored and loaded after any trade, the continuity continues as without the restart."""
    unbroken, restarted = id_continuity(), id_continuity()
    for index, record in enumerate(records):
        if index == stop:
            restarted = IdContinuity(restarted.state())
        assert unbroken.admit(record) is restarted.admit(record)
    assert unbroken.state() == restarted.state()


def test_time_bounds_show_which_bars_may_lack_trades() -> None:
    """A gap counts for every interval between the times of its neighbours, and for no other."""
    sequence = id_continuity()
    sequence.admit(trade(10))
    assert sequence.admit(trade(15)) is Admission.OPENED_GAP
    assert missing_between(sequence, 0, 10_000) == 0
    assert missing_between(sequence, 10_000, 12_000) == 4
    assert missing_between(sequence, 15_000, 20_000) == 4, (
        "a missing trade may have the same time as the trade at 15 ms"
    )
    assert missing_between(sequence, 15_001, 20_000) == 0


def test_a_filled_middle_splits_the_gap() -> None:
    """An id from the middle of a gap leaves two smaller gaps."""
    sequence = id_continuity()
    sequence.admit(trade(15))
    assert sequence.admit(trade(12)) is Admission.FILLED
    assert [(gap.first_id, gap.last_id) for gap in sequence.missing] == [(10, 11), (13, 14)]
    assert sequence.admit(trade(12)) is Admission.DUPLICATE


def test_merged_trades_join_by_their_first_id() -> None:
    """A trade of five ids joins where the first of the five is the next one."""
    sequence = id_continuity()
    assert sequence.admit(trade(14, span=5)) is Admission.JOINED
    assert sequence.admit(trade(20, span=3)) is Admission.OPENED_GAP
    assert missing_ids(sequence) == [15, 16, 17]
    assert sequence.admit(trade(17, span=3)) is Admission.FILLED
    assert sequence.complete


def test_a_merged_trade_that_is_partly_counted() -> None:
    """It cannot be split: it is left out, and its uncounted ids are missing until they are fetched."""
    sequence = id_continuity()
    sequence.admit(trade(10))
    assert sequence.admit(trade(14, span=5)) is Admission.OPENED_GAP_ONLY
    assert missing_ids(sequence) == [11, 12, 13, 14]
    assert sequence.admit(trade(15)) is Admission.JOINED
    assert sequence.admit(trade(14, span=5)) is Admission.DUPLICATE, "10 is still counted"
    assert sequence.admit(trade(14, span=4)) is Admission.FILLED


def test_a_merged_trade_across_the_edge_of_a_gap() -> None:
    """It is left out, and the gap stays as it is."""
    sequence = id_continuity()
    sequence.admit(trade(12))  # 10 and 11 are missing
    sequence.admit(trade(16))  # 13, 14 and 15 are missing
    assert sequence.admit(trade(14, span=4)) is Admission.DUPLICATE
    assert sequence.admit(trade(13, span=2)) is Admission.DUPLICATE
    assert sequence.admit(trade(16, span=2)) is Admission.DUPLICATE
    assert missing_ids(sequence) == [10, 11, 13, 14, 15]


def test_completeness_of_a_bar() -> None:
    """PROVEN by a trade past its end that joined, or by REST asked after its end and grace."""
    sequence = id_continuity()
    sequence.admit(trade(10))

    def completeness() -> tuple[Completeness, bool]:
        report = sequence.completeness_of(8_000, 12_000, now_us=99_000, grace_us=1_000)
        return report.completeness, report.final

    assert completeness() == (Completeness.UNPROVEN, False), "time alone proves nothing"
    sequence.record_answer(sequence.beyond_newest(), head_reached=False, complete=True, asked_at_us=20_000)
    sequence.record_answer(sequence.beyond_newest(), head_reached=True, complete=True, asked_at_us=12_999)
    assert completeness() == (Completeness.UNPROVEN, False), "a thousandth of a second before close and grace"
    sequence.record_answer(sequence.beyond_newest(), head_reached=True, complete=True, asked_at_us=13_000)
    sequence.record_answer(sequence.beyond_newest(), head_reached=True, complete=True, asked_at_us=100)
    assert completeness() == (Completeness.PROVEN, True)
    sequence = id_continuity()
    sequence.admit(trade(10))
    sequence.admit(trade(12))
    assert completeness() == (Completeness.GAP, False)
    sequence.admit(trade(11))
    assert completeness() == (Completeness.PROVEN, True)


def test_bars_before_the_start_are_not_proven() -> None:
    """A sequence that started within a bar cannot prove it."""
    sequence = IdContinuity(SequenceState(last_id=9, last_time_us=1_000, covered_from_us=5_000))
    sequence.admit(trade(10))
    assert sequence.completeness_of(4_000, 9_000, now_us=9_000, grace_us=0).completeness is Completeness.UNPROVEN
    assert sequence.completeness_of(5_000, 9_000, now_us=9_000, grace_us=0).completeness is Completeness.PROVEN


def test_ranges_of_a_bar_are_limited() -> None:
    """Of many gaps the first are listed; their trades are counted in full."""
    sequence = id_continuity()
    for trade_id in range(11, 111, 2):
        sequence.admit(trade(trade_id))
    report = sequence.completeness_of(0, 200_000, now_us=200_000, grace_us=0)
    assert report.missing_trades == 50
    assert len(report.ranges) == MAX_RANGES
    assert report.ranges[:2] == (MissingTrades(10, 10, 1_000, 11_000), MissingTrades(12, 12, 11_000, 13_000))


def test_gaps_are_requested_in_turn() -> None:
    """A gap that REST does not fill does not block the others."""
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


def test_interruptions_change_nothing() -> None:
    """The ids alone show what is missing."""
    sequence = id_continuity()
    before = sequence.state()
    assert not sequence.begin_interruption(500)
    sequence.end_interruption(600)
    assert sequence.state() == before
    assert sequence.next_missing() is None
