"""The fast path counts what the full path counts, and leaves every other record to it."""

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


def merged_path(sequence: IdContinuity, from_us: int, until_us: int) -> ContiguousFastPath:
    path = MergedFastPath(traits_of())
    path.continuity, path.bar = sequence, open_bar(from_us, until_us)
    return path


def contiguous_path(sequence: IdContinuity, from_us: int, until_us: int) -> ContiguousFastPath:
    path = ContiguousFastPath(traits_of())
    path.continuity, path.bar = sequence, open_bar(from_us, until_us)
    return path


def identity_path(sequence: TimeContinuity, from_us: int, until_us: int) -> IdentityFastPath:
    path = IdentityFastPath(traits_of())
    path.continuity, path.bar = sequence, open_bar(from_us, until_us)
    return path


def ordered_path(sequence: TimeContinuity, from_us: int, until_us: int) -> OrderedFastPath:
    path = OrderedFastPath(traits_of())
    path.continuity, path.bar = sequence, open_bar(from_us, until_us)
    return path


def open_bar(from_us: int, until_us: int) -> OpenBar:
    return OpenBar(INSTRUMENT, open_time_us=from_us, interval_us=until_us - from_us)


def continuity_from(time_us: int) -> TimeContinuity:
    return TimeContinuity(SequenceState(last_id=-1, last_time_us=time_us - 1, covered_from_us=time_us))


@given(merged_records(), st.integers(1, 6), st.integers(10, 60), st.integers(10, 60))
def test_ids_are_counted_as_by_admit(records: list[Trade], size: int, first: int, end: int) -> None:
    """Trades that join within the bar are taken; taking them changes nothing for the others."""
    fast, full = id_continuity(), id_continuity()
    path = merged_path(fast, first * 1_000, end * 1_000)
    for start in range(0, len(records), size):
        batch = records[start : start + size]
        taken = path.take_next(stream_records(batch))
        assert all(full.admit(each) is Admission.JOINED for each in batch[:taken])
        assert all(first * 1_000 <= each.time_us < end * 1_000 for each in batch[:taken])
        assert path.flush() == batch[:taken]
        assert fast.state() == full.state()
        assert [fast.admit(each) for each in batch[taken:]] == [full.admit(each) for each in batch[taken:]]
    assert fast.state() == full.state()


def test_records_are_taken_up_to_the_first_that_does_not_join() -> None:
    """A gap ends the run, and so does a record outside the bar."""
    sequence = id_continuity()
    path = merged_path(sequence, 10_000, 99_000)
    assert path.take_next(stream_records([trade(10), trade(13, span=3), trade(14), trade(16), trade(17)])) == 3
    assert (sequence.last_id, sequence.last_time_us) == (9, 1_000), "nothing is recorded before the flush"
    assert [each.trade_id for each in path.flush()] == [10, 13, 14]
    assert (sequence.last_id, sequence.last_time_us) == (14, 14_000)
    for each in (merged_path(sequence, 10_000, 16_000), contiguous_path(sequence, 10_000, 16_000)):
        assert each.take_next(stream_records([trade(15), trade(16)])) == 1
    assert merged_path(sequence, 17_000, 18_000).take_next(stream_records([trade(15)])) == 0
    assert contiguous_path(sequence, 10_000, 99_000).take_next(stream_records([trade(16)])) == 0


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 40)), max_size=40),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
)
def test_times_and_ids_are_recorded_as_by_admit(
    pairs: list[tuple[int, int]], size: int, sort: bool, settle: bool
) -> None:
    """Records out of order are not taken, repeated ones are dropped by the flush; both paths end in the same state."""
    fast, full = continuity_from(5), continuity_from(5)
    path = identity_path(fast, 5, 30)
    pairs = sorted(pairs, key=itemgetter(1)) if sort else pairs
    trades = [Trade(identity, time_us, 1.0, 1.0, True) for identity, time_us in pairs]
    waiting: list[Trade] = []
    for start in range(0, len(trades), size):
        batch = trades[start : start + size]
        taken = path.take_next(stream_records(batch))
        assert all(5 <= each.time_us < 30 for each in batch[:taken])
        waiting += [each for each in batch[:taken] if full.admit(each) is Admission.JOINED]
        if taken < len(batch) or settle:
            assert path.flush() == waiting
            waiting = []
            assert [fast.admit(each) for each in batch[taken:]] == [full.admit(each) for each in batch[taken:]]
            assert fast.state() == full.state()
            assert (fast.recent_ids, fast.earlier_ids, fast.highest_id) == (
                full.recent_ids,
                full.earlier_ids,
                full.highest_id,
            )


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), max_size=40), st.integers(1, 5), st.booleans())
def test_ascending_ids_are_recorded_as_by_admit(pairs: list[tuple[int, int]], size: int, sort: bool) -> None:
    """A higher id is taken without a lookup; after the flush all ids are remembered, whichever path they took."""
    fast, full = continuity_from(5), continuity_from(5)
    path = ordered_path(fast, 5, 30)
    trades = [Trade(identity, time_us, 1.0, 1.0, True) for identity, time_us in (sorted(pairs) if sort else pairs)]
    for start in range(0, len(trades), size):
        batch = trades[start : start + size]
        taken = path.take_next(stream_records(batch))
        assert all(full.admit(each) is Admission.JOINED for each in batch[:taken])
        assert all(5 <= each.time_us < 30 for each in batch[:taken])
        assert path.flush() == batch[:taken]
        assert [fast.admit(each) for each in batch[taken:]] == [full.admit(each) for each in batch[taken:]]
        assert fast.state() == full.state()
        assert (fast.recent_ids, fast.highest_id) == (full.recent_ids, full.highest_id)


def test_a_lower_id_is_not_taken() -> None:
    """It may be late or a duplicate, which only the continuity knows."""
    sequence = continuity_from(0)
    path = ordered_path(sequence, 0, 100)
    assert path.take_next(stream_records([Trade(7, 1, 1.0, 1.0, True), Trade(9, 1, 1.0, 1.0, True)])) == 2
    assert path.take_next(stream_records([Trade(8, 2, 1.0, 1.0, True)])) == 0
    assert path.take_next(stream_records([Trade(9, 2, 1.0, 1.0, True)])) == 0
    path.flush()
    assert sequence.admit(Trade(8, 2, 1.0, 1.0, True)) is Admission.JOINED
    assert sequence.admit(Trade(9, 2, 1.0, 1.0, True)) is Admission.DUPLICATE


@pytest.mark.parametrize("path_into", [identity_path, ordered_path])
def test_remembered_ids_are_bounded(path_into: Callable[[TimeContinuity, int, int], TimeFastPath]) -> None:
    """At most two generations of ids are kept, and the newest are known whichever path they took."""
    sequence = continuity_from(0)
    path = path_into(sequence, 0, 10_000_000)
    for start in range(0, 5 * REMEMBERED_IDS, REMEMBERED_IDS // 2):
        run = [Trade(number, number, 1.0, 1.0, True) for number in range(start, start + REMEMBERED_IDS // 2)]
        assert path.take_next(stream_records(run)) == len(run)
        path.flush()
        assert path.take_next(stream_records(run[-1:])) == 0
        assert sequence.admit(run[0]) is Admission.DUPLICATE
    assert len(sequence.recent_ids) + len(sequence.earlier_ids) <= 2 * REMEMBERED_IDS


def test_every_kind_of_ids_has_its_fast_path() -> None:
    assert [type(fast_path_for(traits_of(ids))) for ids in Ids] == [
        ContiguousFastPath,
        OrderedFastPath,
        IdentityFastPath,
    ]
    assert type(fast_path_for(traits_of(merges=True))) is MergedFastPath


def test_records_of_one_time_are_compared_in_the_buffer() -> None:
    """Another id of the newest time is another trade; after a flush, or with very many ties, it is not taken."""
    sequence = continuity_from(0)
    path = identity_path(sequence, 0, 1_000_000)
    ties = [Trade(number, 7, 1.0, 1.0, True) for number in range(1_000)]
    assert path.take_next(stream_records([ties[0], ties[1], ties[0], ties[2]])) == 2
    assert path.take_next(stream_records([ties[1]])) == 0
    assert 50 < path.take_next(stream_records(ties[2:])) < 100
    assert path.take_next(stream_records([ties[900]])) == 0
    path.flush()
    assert path.take_next(stream_records([ties[901]])) == 0
    assert sequence.admit(ties[1]) is Admission.DUPLICATE
    assert sequence.admit(ties[901]) is Admission.JOINED
    assert path.take_next(stream_records([Trade(3, 8, 1.0, 1.0, True)])) == 1, "newer than all before"


def test_the_fast_path_follows_the_continuity_after_a_flush() -> None:
    """Trades admitted otherwise move the continuity on, and the next record is the one after them."""
    sequence = id_continuity()
    path = merged_path(sequence, 10_000, 99_000)
    assert path.take_next(stream_records([trade(10)])) == 1
    path.flush()
    sequence.admit(trade(11))
    assert path.take_next(stream_records([trade(11)])) == 0
    assert path.take_next(stream_records([trade(12)])) == 1
    path.flush()
    assert sequence.last_id == 12
