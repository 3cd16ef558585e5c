"""The quick way counts what the long one would, and leaves alone whatever there is more to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.exchanges.base import Ids
from daemon.flow import HeardFlow, IdFlow, OrderedFlow, flow_for
from daemon.ingest.continuity import Admission
from daemon.ingest.id_continuity import IdContinuity
from daemon.ingest.time_continuity import REMEMBERED, TimeContinuity
from daemon.records import SequenceState
from features.bars import OpenBar
from features.market import Instrument, Trade
from tests.daemon.ingest.test_continuity import continuity, merged_records, trade

INSTRUMENT = Instrument("binance", "BTC-USDT")


def flow_by_id(sequence: IdContinuity, from_us: int, until_us: int) -> IdFlow:
    flow = IdFlow()
    flow.continuity, flow.bar = sequence, open_bar(from_us, until_us)
    return flow


def flow_as_heard(sequence: TimeContinuity, from_us: int, until_us: int) -> HeardFlow:
    flow = HeardFlow()
    flow.continuity, flow.bar = sequence, open_bar(from_us, until_us)
    return flow


def flow_in_order(sequence: TimeContinuity, from_us: int, until_us: int) -> OrderedFlow:
    flow = OrderedFlow()
    flow.continuity, flow.bar = sequence, open_bar(from_us, until_us)
    return flow


def open_bar(from_us: int, until_us: int) -> OpenBar:
    return OpenBar(INSTRUMENT, open_time_us=from_us, interval_us=until_us - from_us)


def heard_from(time_us: int) -> TimeContinuity:
    return TimeContinuity(SequenceState(last_id=-1, last_time_us=time_us - 1, covered_from_us=time_us))


@given(merged_records(), st.integers(1, 6), st.integers(10, 60), st.integers(10, 60))
def test_ids_are_counted_as_the_long_way_counts_them(records: list[Trade], size: int, first: int, end: int) -> None:
    """What joins within the bar is taken at once; of the rest nothing is noted."""
    quick, plain = continuity(), continuity()
    flow = flow_by_id(quick, first * 1_000, end * 1_000)
    for start in range(0, len(records), size):
        batch = records[start : start + size]
        taken = flow.take_next(batch)
        assert all(plain.admit(each) is Admission.JOINED for each in batch[:taken])
        assert all(first * 1_000 <= each.time_us < end * 1_000 for each in batch[:taken])
        assert quick.state() == plain.state()
        assert [quick.admit(each) for each in batch[taken:]] == [plain.admit(each) for each in batch[taken:]]
    assert quick.state() == plain.state()


def test_all_that_simply_goes_on_is_taken() -> None:
    """Up to the first trade that does not, or that lies outside the bar, or that is a record of nothing."""
    sequence = continuity()
    flow = flow_by_id(sequence, 10_000, 99_000)
    assert flow.take_next([trade(10), trade(13, span=3), trade(14), trade(16), trade(17)]) == 3
    assert flow_by_id(sequence, 10_000, 16_000).take_next([trade(15), trade(16)]) == 1
    assert flow_by_id(sequence, 17_000, 18_000).take_next([trade(16)]) == 0
    assert flow.take_next([Trade(16, 16_000, 1.0, 0.0, True, count=0)]) == 0
    assert (sequence.last_id, sequence.last_time_us) == (15, 15_000)
    assert [each.trade_id for each in flow.run] == [10, 13, 14]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 40)), max_size=40), st.integers(1, 5))
def test_times_and_identities_are_noted_as_the_long_way_notes_them(pairs: list[tuple[int, int]], size: int) -> None:
    """Whatever comes twice or out of order is left to the other way, and both end in the same state."""
    quick, plain = heard_from(5), heard_from(5)
    flow = flow_as_heard(quick, 5, 30)
    trades = [Trade(identity, time_us, 1.0, 1.0, True) for identity, time_us in pairs]
    for start in range(0, len(trades), size):
        batch = trades[start : start + size]
        taken = flow.take_next(batch)
        assert all(plain.admit(each) is Admission.JOINED for each in batch[:taken])
        assert all(5 <= each.time_us < 30 for each in batch[:taken])
        assert [quick.admit(each) for each in batch[taken:]] == [plain.admit(each) for each in batch[taken:]]
        assert quick.state() == plain.state()
        assert (quick.recent, quick.earlier) == (plain.recent, plain.earlier)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), max_size=40), st.integers(1, 5), st.booleans())
def test_ascending_ids_are_noted_as_the_long_way_notes_them(
    pairs: list[tuple[int, int]], size: int, sort: bool
) -> None:
    """A larger id is taken unasked, and once the run is settled all are remembered, whichever way they came."""
    quick, plain = heard_from(5), heard_from(5)
    flow = flow_in_order(quick, 5, 30)
    trades = [Trade(identity, time_us, 1.0, 1.0, True) for identity, time_us in (sorted(pairs) if sort else pairs)]
    for start in range(0, len(trades), size):
        batch = trades[start : start + size]
        taken = flow.take_next(batch)
        assert all(plain.admit(each) is Admission.JOINED for each in batch[:taken])
        assert all(5 <= each.time_us < 30 for each in batch[:taken])
        assert flow.settle() == batch[:taken]
        assert [quick.admit(each) for each in batch[taken:]] == [plain.admit(each) for each in batch[taken:]]
        assert quick.state() == plain.state()
        assert (quick.recent, quick.highest_id) == (plain.recent, plain.highest_id)


def test_a_smaller_id_is_left_to_be_looked_up() -> None:
    """It may be late or known: the quick way cannot tell."""
    sequence = heard_from(0)
    flow = flow_in_order(sequence, 0, 100)
    assert flow.take_next([Trade(7, 1, 1.0, 1.0, True), Trade(9, 1, 1.0, 1.0, True)]) == 2
    assert flow.take_next([Trade(8, 2, 1.0, 1.0, True)]) == 0
    assert flow.take_next([Trade(9, 2, 1.0, 1.0, True)]) == 0
    flow.settle()
    assert sequence.admit(Trade(8, 2, 1.0, 1.0, True)) is Admission.JOINED
    assert sequence.admit(Trade(9, 2, 1.0, 1.0, True)) is Admission.DUPLICATE


def test_ordered_runs_are_remembered_within_bounds() -> None:
    """Two generations at most, however long the runs are."""
    sequence = heard_from(0)
    flow = flow_in_order(sequence, 0, 10_000_000)
    for start in range(0, 5 * REMEMBERED, REMEMBERED // 2):
        run = [Trade(number, number, 1.0, 1.0, True) for number in range(start, start + REMEMBERED // 2)]
        assert flow.take_next(run) == len(run)
        flow.settle()
        assert sequence.admit(run[0]) is Admission.DUPLICATE
    assert len(sequence.recent) + len(sequence.earlier) <= 2 * REMEMBERED


def test_every_kind_of_ids_has_its_flow() -> None:
    assert [type(flow_for(ids)) for ids in Ids] == [IdFlow, OrderedFlow, HeardFlow]


def test_what_is_remembered_stays_bounded() -> None:
    """Once as many identities are known as are kept, the long way must make room."""
    sequence = heard_from(0)
    flow = flow_as_heard(sequence, 0, 1_000_000)
    taken = sum(flow.take_next([Trade(number, number, 1.0, 1.0, True)]) for number in range(REMEMBERED + 10))
    assert taken == len(sequence.recent) == REMEMBERED
    assert sequence.admit(Trade(REMEMBERED, REMEMBERED, 1.0, 1.0, True)) is Admission.JOINED
    assert flow.take_next([Trade(REMEMBERED + 1, REMEMBERED + 1, 1.0, 1.0, True)]) == 1
    assert flow.take_next([Trade(3, REMEMBERED + 2, 1.0, 1.0, True)]) == 0, "the earlier ones are still known"
