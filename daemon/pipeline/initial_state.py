"""Initial continuity of one instrument: from a snapshot, from the store, or without a subscription. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.sequence import Interruption, SequenceState
from daemon.pipeline.time_continuity import TimeContinuity
from features.market import Bar, Completeness, Trade


def state_from_snapshot(
    page: Sequence[Trade], latest: Trade | None, *, from_time_us: int, covered_from_us: int
) -> SequenceState:
    """The state just before the first trade of ``page``, or after ``latest`` where the page is empty."""
    if page:
        last_id, last_time_us = page[0].trade_id - page[0].span, from_time_us - 1
    elif latest is not None:
        last_id, last_time_us = latest.trade_id, latest.time_us
    else:
        last_id, last_time_us = -1, from_time_us - 1
    return SequenceState(last_id=last_id, last_time_us=last_time_us, covered_from_us=covered_from_us)


def unsubscribed_since(from_us: int, *, until_us: int | None) -> TimeContinuity:
    """Continuity that begins with an interruption at ``from_us``; ``until_us`` is None while it lasts."""
    state = SequenceState(
        last_id=-1,
        last_time_us=from_us - 1,
        covered_from_us=from_us,
        interruptions=(Interruption(from_us, until_us),),
    )
    return TimeContinuity(state)


def continuity_from_store(
    state: SequenceState,
    trades: Sequence[Trade],
    *,
    contiguous_ids: bool,
    first_open_us: int,
    published: Sequence[Bar],
) -> IdContinuity | TimeContinuity:
    """Continuity after a restart.

    Without contiguous ids the time since the stop is an interruption. It begins with the last stored trade, or with
    the close of the last published bar where that bar was complete.
    """
    if contiguous_ids:
        return IdContinuity(state)
    continuity = TimeContinuity(state, trades, known_from_us=first_open_us)
    closed_complete = bool(published) and published[-1].completeness is Completeness.UNPROVEN
    continuity.begin_interruption(max(state.last_time_us, published[-1].close_time_us if closed_complete else 0))
    return continuity
