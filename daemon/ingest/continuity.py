"""The id watermark of one instrument: which trades are new, which ids are missing, what is proven. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum

from daemon.records import MissingRange, SequenceState
from features.market import Trade


class Admission(Enum):
    """What a trade means to the sequence."""

    JOINED = "joined"
    OPENED_GAP = "opened_gap"
    FILLED = "filled"
    DUPLICATE = "duplicate"


class Continuity:
    """Every id after the seed is either received once, or listed in ``missing``.

    Ids are contiguous per instrument; the seed is the last id before the part that this sequence covers.
    """

    __slots__ = ("covered_from_us", "last_id", "last_time_us", "missing")

    def __init__(self, state: SequenceState) -> None:
        self.last_id = state.last_id
        self.last_time_us = state.last_time_us
        self.covered_from_us = state.covered_from_us
        self.missing: list[MissingRange] = list(state.missing)

    def admit(self, trade: Trade) -> Admission:
        """Takes note of a trade's id; DUPLICATE means that the trade must be dropped."""
        trade_id = trade.trade_id
        if trade_id == self.last_id + 1:
            self.last_id = trade_id
            self.last_time_us = trade.time_us
            return Admission.JOINED
        if trade_id <= self.last_id:
            return self._fill(trade)
        self.missing.append(MissingRange(self.last_id + 1, trade_id - 1, self.last_time_us, trade.time_us))
        self.last_id = trade_id
        self.last_time_us = trade.time_us
        return Admission.OPENED_GAP

    def missing_between(self, start_us: int, end_us: int) -> int:
        """Missing ids whose trades may have happened in ``[start_us, end_us)``."""
        return sum(lost.count for lost in self.missing if lost.after_us < end_us and lost.before_us >= start_us)

    def state(self) -> SequenceState:
        return SequenceState(
            last_id=self.last_id,
            last_time_us=self.last_time_us,
            covered_from_us=self.covered_from_us,
            missing=tuple(self.missing),
        )

    def _fill(self, trade: Trade) -> Admission:
        trade_id = trade.trade_id
        index = bisect_right(self.missing, trade_id, key=lambda lost: lost.first_id) - 1
        if index < 0 or trade_id > self.missing[index].last_id:
            return Admission.DUPLICATE
        lost = self.missing[index]
        rest = []
        if lost.first_id < trade_id:
            rest.append(MissingRange(lost.first_id, trade_id - 1, lost.after_us, trade.time_us))
        if trade_id < lost.last_id:
            rest.append(MissingRange(trade_id + 1, lost.last_id, trade.time_us, lost.before_us))
        self.missing[index : index + 1] = rest
        return Admission.FILLED
