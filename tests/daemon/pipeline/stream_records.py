"""Trades as a venue's stream tells them, for tests of those who take records; the venue is nobody's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from daemon.exchanges.base import Ids, Traits
from features.market import Trade


class StreamRecord(NamedTuple):
    """A record. ``time`` is in microseconds; ``count`` is how many ids it covers."""

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
        moment=lambda time_us: time_us,
    )
