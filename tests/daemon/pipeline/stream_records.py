"""Trade records of a venue's stream, and the traits of such a venue, for tests of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.exchanges.base import Ids, Traits
from features.market import Trade


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One record. ``time`` is in microseconds; ``count`` is how many ids it covers."""

    trade_id: int
    time: int
    count: int
    trade: Trade


def stream_records(trades: Sequence[Trade]) -> list[StreamRecord]:
    return [StreamRecord(trade.trade_id, trade.time_us, trade.span, trade) for trade in trades]


def traits_of(ids: Ids = Ids.CONTIGUOUS, *, merges: bool = False) -> Traits:
    return Traits(
        ids=ids,
        decimals=8,
        opens_at_previous_close=False,
        merges=merges,
        to_trades=lambda records: [record.trade for record in records],
        to_record_time=lambda time_us: time_us,
    )
