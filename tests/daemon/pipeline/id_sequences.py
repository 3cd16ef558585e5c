"""Contiguous ids for tests: a continuity, its trades, and trades that are merged, lost, repeated and out of order."""

from __future__ import annotations

from hypothesis import strategies as st

from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.sequence import SequenceState
from features.market import Trade


def id_continuity(last_id: int = 9) -> IdContinuity:
    return IdContinuity(SequenceState(last_id=last_id, last_time_us=1_000, covered_from_us=0))


def trade(trade_id: int, span: int = 1) -> Trade:
    """Trade N, at N milliseconds; it covers ``span`` ids, of which N is the last."""
    return Trade(trade_id, trade_id * 1_000, 1.0, 1.0, True, span, span)


@st.composite
def merged_records(draw: st.DrawFn) -> list[Trade]:
    """Trades with ids from 10 on, some of them merged, lost, repeated or out of order."""
    records: list[Trade] = []
    first_id = 10
    for span in draw(st.lists(st.integers(1, 5), max_size=25)):
        records.append(trade(first_id + span - 1, span))
        first_id += span
    if not records:
        return []
    kept = draw(st.lists(st.sampled_from(records), max_size=40))
    # REST returns single ids that the stream merged, and a stream may merge differently the next time.
    single = draw(st.lists(st.integers(10, first_id - 1), max_size=15))
    merged_again = draw(st.lists(st.tuples(st.integers(10, first_id - 1), st.integers(1, 6)), max_size=6))
    others = [trade(last_id, min(span, last_id - 9)) for last_id, span in merged_again]
    return draw(st.permutations([*kept, *map(trade, single), *others]))
