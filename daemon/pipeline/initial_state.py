"""Where the account of an instrument's trades begins: after a start, on a stored state, or unheard. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.sequence import Interruption, SequenceState
from daemon.pipeline.time_continuity import TimeContinuity
from features.market import Bar, Completeness, Trade


def state_from_snapshot(
    page: Sequence[Trade], latest: Trade | None, *, from_time_us: int, covered_from_us: int
) -> SequenceState:
    """The state just before the first trade of ``page``, or where that is empty after ``latest``."""
    if page:
        last_id, last_time_us = page[0].trade_id - page[0].span, from_time_us - 1
    elif latest is not None:
        last_id, last_time_us = latest.trade_id, latest.time_us
    else:
        last_id, last_time_us = -1, from_time_us - 1
    return SequenceState(last_id=last_id, last_time_us=last_time_us, covered_from_us=covered_from_us)


def unsubscribed_since(from_us: int, *, until_us: int | None) -> TimeContinuity:
    """Nobody listened from ``from_us`` on; until when, if somebody does by now."""
    state = SequenceState(
        last_id=-1,
        last_time_us=from_us - 1,
        covered_from_us=from_us,
        interruptions=(Interruption(from_us, until_us),),
    )
    return TimeContinuity(state)


def continuity_from_store(
    state: SequenceState, trades: Sequence[Trade], *, numbered: bool, first_open_us: int, published: Sequence[Bar]
) -> IdContinuity | TimeContinuity:
    """A stored state; where ids do not say what was lost meanwhile, with an interruption.

    That begins with the last trade that was stored, or with the close of a bar that was heard to its end.
    """
    if numbered:
        return IdContinuity(state)
    continuity = TimeContinuity(state, trades, remembered_from_us=first_open_us)
    heard_out = bool(published) and published[-1].completeness is Completeness.UNPROVEN
    continuity.begin_interruption(max(state.last_time_us, published[-1].close_time_us if heard_out else 0))
    return continuity
