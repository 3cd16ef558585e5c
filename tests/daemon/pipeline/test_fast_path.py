"""The quick way counts what the long one would, and leaves alone whatever there is more to."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.exchanges.base import Ids
from daemon.pipeline.continuity import Admission
from daemon.pipeline.fast_path import (
    ContiguousFastPath,
    IdentityFastPath,
    MergedFastPath,
    OrderedFastPath,
    TimeFastPath,
    fast_path_for,
)
from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.sequence import SequenceState
from daemon.pipeline.time_continuity import REMEMBERED_IDS, TimeContinuity
from features.bars import OpenBar
from features.market import Instrument, Trade
from tests.daemon.pipeline.id_sequences import id_continuity, merged_records, trade
from tests.daemon.pipeline.stream_records import stream_records, traits_of

INSTRUMENT = Instrument("binance", "BTC-USDT")


def flow_by_id(sequence: IdContinuity, from_us: int, until_us: int) -> ContiguousFastPath:
    flow = MergedFastPath(traits_of())
    flow.continuity, flow.bar = sequence, open_bar(from_us, until_us)
    return flow


def flow_of_singles(sequence: IdContinuity, from_us: int, until_us: int) -> ContiguousFastPath:
    flow = ContiguousFastPath(traits_of())
    flow.continuity, flow.bar = sequence, open_bar(from_us, until_us)
    return flow


def flow_as_heard(sequence: TimeContinuity, from_us: int, until_us: int) -> IdentityFastPath:
    flow = IdentityFastPath(traits_of())
    flow.continuity, flow.bar = sequence, open_bar(from_us, until_us)
    return flow


def flow_in_order(sequence: TimeContinuity, from_us: int, until_us: int) -> OrderedFastPath:
    flow = OrderedFastPath(traits_of())
    flow.continuity, flow.bar = sequence, open_bar(from_us, until_us)
    return flow


def open_bar(from_us: int, until_us: int) -> OpenBar:
    return OpenBar(INSTRUMENT, open_time_us=from_us, interval_us=until_us - from_us)


def heard_from(time_us: int) -> TimeContinuity:
    return TimeContinuity(SequenceState(last_id=-1, last_time_us=time_us - 1, covered_from_us=time_us))


@given(merged_records(), st.integers(1, 6), st.integers(10, 60), st.integers(10, 60))
def test_ids_are_counted_as_the_long_way_counts_them(records: list[Trade], size: int, first: int, end: int) -> None:
    """What joins within the bar is taken at once; of the rest nothing is noted."""
    quick, plain = id_continuity(), id_continuity()
    flow = flow_by_id(quick, first * 1_000, end * 1_000)
    for start in range(0, len(records), size):
        batch = records[start : start + size]
        taken = flow.take_next(stream_records(batch))
        assert all(plain.admit(each) is Admission.JOINED for each in batch[:taken])
        assert all(first * 1_000 <= each.time_us < end * 1_000 for each in batch[:taken])
        assert flow.flush() == batch[:taken]
        assert quick.state() == plain.state()
        assert [quick.admit(each) for each in batch[taken:]] == [plain.admit(each) for each in batch[taken:]]
    assert quick.state() == plain.state()


def test_all_that_simply_goes_on_is_taken() -> None:
    """Up to the first trade that does not, or that lies outside the bar, or that is a record of nothing."""
    sequence = id_continuity()
    flow = flow_by_id(sequence, 10_000, 99_000)
    assert flow.take_next(stream_records([trade(10), trade(13, span=3), trade(14), trade(16), trade(17)])) == 3
    assert (sequence.last_id, sequence.last_time_us) == (9, 1_000), "nothing is noted before it is settled"
    assert [each.trade_id for each in flow.flush()] == [10, 13, 14]
    assert (sequence.last_id, sequence.last_time_us) == (14, 14_000)
    for kind in (flow_by_id(sequence, 10_000, 16_000), flow_of_singles(sequence, 10_000, 16_000)):
        assert kind.take_next(stream_records([trade(15), trade(16)])) == 1
    assert flow_by_id(sequence, 17_000, 18_000).take_next(stream_records([trade(15)])) == 0
    assert flow_of_singles(sequence, 10_000, 99_000).take_next(stream_records([trade(16)])) == 0


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 40)), max_size=40),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
)
def test_times_and_identities_are_noted_as_the_long_way_notes_them(
    pairs: list[tuple[int, int]], size: int, sort: bool, settle: bool
) -> None:
    """What comes out of order is left to the other way, what comes twice is left out; both end in the same state."""
    quick, plain = heard_from(5), heard_from(5)
    flow = flow_as_heard(quick, 5, 30)
    pairs = sorted(pairs, key=itemgetter(1)) if sort else pairs
    trades = [Trade(identity, time_us, 1.0, 1.0, True) for identity, time_us in pairs]
    waiting: list[Trade] = []
    for start in range(0, len(trades), size):
        batch = trades[start : start + size]
        taken = flow.take_next(stream_records(batch))
        assert all(5 <= each.time_us < 30 for each in batch[:taken])
        waiting += [each for each in batch[:taken] if plain.admit(each) is Admission.JOINED]
        if taken < len(batch) or settle:
            assert flow.flush() == waiting
            waiting = []
            assert [quick.admit(each) for each in batch[taken:]] == [plain.admit(each) for each in batch[taken:]]
            assert quick.state() == plain.state()
            assert (quick.recent_ids, quick.earlier_ids, quick.highest_id) == (
                plain.recent_ids,
                plain.earlier_ids,
                plain.highest_id,
            )


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
        taken = flow.take_next(stream_records(batch))
        assert all(plain.admit(each) is Admission.JOINED for each in batch[:taken])
        assert all(5 <= each.time_us < 30 for each in batch[:taken])
        assert flow.flush() == batch[:taken]
        assert [quick.admit(each) for each in batch[taken:]] == [plain.admit(each) for each in batch[taken:]]
        assert quick.state() == plain.state()
        assert (quick.recent_ids, quick.highest_id) == (plain.recent_ids, plain.highest_id)


def test_a_smaller_id_is_left_to_be_looked_up() -> None:
    """It may be late or known: the quick way cannot tell."""
    sequence = heard_from(0)
    flow = flow_in_order(sequence, 0, 100)
    assert flow.take_next(stream_records([Trade(7, 1, 1.0, 1.0, True), Trade(9, 1, 1.0, 1.0, True)])) == 2
    assert flow.take_next(stream_records([Trade(8, 2, 1.0, 1.0, True)])) == 0
    assert flow.take_next(stream_records([Trade(9, 2, 1.0, 1.0, True)])) == 0
    flow.flush()
    assert sequence.admit(Trade(8, 2, 1.0, 1.0, True)) is Admission.JOINED
    assert sequence.admit(Trade(9, 2, 1.0, 1.0, True)) is Admission.DUPLICATE


@pytest.mark.parametrize("flow_into", [flow_as_heard, flow_in_order])
def test_runs_are_remembered_within_bounds(flow_into: Callable[[TimeContinuity, int, int], TimeFastPath]) -> None:
    """Two generations at most, however long the runs are, and the newest are known whichever way they came."""
    sequence = heard_from(0)
    flow = flow_into(sequence, 0, 10_000_000)
    for start in range(0, 5 * REMEMBERED_IDS, REMEMBERED_IDS // 2):
        run = [Trade(number, number, 1.0, 1.0, True) for number in range(start, start + REMEMBERED_IDS // 2)]
        assert flow.take_next(stream_records(run)) == len(run)
        flow.flush()
        assert flow.take_next(stream_records(run[-1:])) == 0
        assert sequence.admit(run[0]) is Admission.DUPLICATE
    assert len(sequence.recent_ids) + len(sequence.earlier_ids) <= 2 * REMEMBERED_IDS


def test_every_kind_of_ids_has_its_flow() -> None:
    assert [type(fast_path_for(traits_of(ids))) for ids in Ids] == [
        ContiguousFastPath,
        OrderedFastPath,
        IdentityFastPath,
    ]
    assert type(fast_path_for(traits_of(merges=True))) is MergedFastPath


def test_records_of_one_time_are_told_apart_while_they_wait() -> None:
    """Another id of the newest time is another trade; once those are settled, or very many, they must be looked up."""
    sequence = heard_from(0)
    flow = flow_as_heard(sequence, 0, 1_000_000)
    ties = [Trade(number, 7, 1.0, 1.0, True) for number in range(1_000)]
    assert flow.take_next(stream_records([ties[0], ties[1], ties[0], ties[2]])) == 2
    assert flow.take_next(stream_records([ties[1]])) == 0
    assert 50 < flow.take_next(stream_records(ties[2:])) < 100
    assert flow.take_next(stream_records([ties[900]])) == 0
    flow.flush()
    assert flow.take_next(stream_records([ties[901]])) == 0
    assert sequence.admit(ties[1]) is Admission.DUPLICATE
    assert sequence.admit(ties[901]) is Admission.JOINED
    assert flow.take_next(stream_records([Trade(3, 8, 1.0, 1.0, True)])) == 1, "newer than all before"


def test_a_flow_follows_the_account_once_it_is_told() -> None:
    """Trades that came another way move the account on: what was the next is not the next any more."""
    sequence = id_continuity()
    flow = flow_by_id(sequence, 10_000, 99_000)
    assert flow.take_next(stream_records([trade(10)])) == 1
    flow.flush()
    sequence.admit(trade(11))
    assert flow.take_next(stream_records([trade(11)])) == 0
    assert flow.take_next(stream_records([trade(12)])) == 1
    flow.flush()
    assert sequence.last_id == 12
