"""The id watermark of one instrument: which trades are new, which ids are missing, what is proven. No I/O."""

from __future__ import annotations

from bisect import bisect_right

from daemon.pipeline.continuity import MAX_RANGES, Admission, CompletenessReport, MissingRange
from daemon.pipeline.sequence import MissingIds, SequenceState
from features.market import Completeness, MissingTrades, Trade


class IdContinuity:
    """Every id after the seed is either received once, or listed in ``missing``.

    Ids are contiguous per instrument; the seed is the last id before the part that this sequence covers. A record
    may cover several ids (``Trade.span``).
    """

    __slots__ = ("_asked_id", "_head_asked_at_us", "covered_from_us", "last_id", "last_time_us", "missing")

    def __init__(self, state: SequenceState) -> None:
        self.last_id = state.last_id
        self.last_time_us = state.last_time_us
        self.covered_from_us = state.covered_from_us
        self.missing: list[MissingIds] = list(state.missing)
        self._head_asked_at_us = 0
        self._asked_id = -1

    @property
    def missing_trades(self) -> int:
        return sum(lost.count for lost in self.missing)

    @property
    def complete(self) -> bool:
        return not self.missing

    def admit(self, trade: Trade) -> Admission:
        """Takes note of a trade's ids.

        A merged record that was counted in part cannot be split: it is left out, and the rest of its ids is asked
        for one by one.
        """
        first_id, trade_id = trade.trade_id - trade.span + 1, trade.trade_id
        if trade_id <= self.last_id:
            return self._fill(trade, first_id)
        expected_id, before_us = self.last_id + 1, self.last_time_us
        self.last_id, self.last_time_us = trade_id, trade.time_us
        if first_id == expected_id:
            return Admission.JOINED
        if first_id < expected_id:
            self.missing.append(MissingIds(expected_id, trade_id, before_us, trade.time_us))
            return Admission.OPENED_GAP_ONLY
        self.missing.append(MissingIds(expected_id, first_id - 1, before_us, trade.time_us))
        return Admission.OPENED_GAP

    def completeness_of(self, open_us: int, close_us: int, *, now_us: int, grace_us: int) -> CompletenessReport:  # noqa: ARG002  # waiting proves nothing here
        """Proven: a trade at or past the close joined, or the venue, asked after close and grace, knew of no more."""
        if missing := self._missing_between(open_us, close_us):
            ranges = [MissingTrades(each.first_id, each.last_id, each.after_us, each.before_us) for each in missing]
            count = sum(each.count for each in missing)
            return CompletenessReport(Completeness.GAP, count, final=False, ranges=tuple(ranges[:MAX_RANGES]))
        seen_past = self.last_time_us >= close_us or self._head_asked_at_us >= close_us + grace_us
        if seen_past and open_us >= self.covered_from_us:
            return CompletenessReport(Completeness.PROVEN, 0, final=True)
        return CompletenessReport(Completeness.UNPROVEN, 0, final=False)

    def next_missing(self) -> MissingRange | None:
        if not self.missing:
            return None
        lost = next((each for each in self.missing if each.first_id > self._asked_id), self.missing[0])
        self._asked_id = lost.first_id
        return MissingRange(lost.first_id, lost.last_id, lost.after_us)

    def beyond_newest(self) -> MissingRange:
        return MissingRange(self.last_id + 1, None, self.last_time_us)

    def record_answer(self, asked: MissingRange, *, head_reached: bool, complete: bool, asked_at_us: int) -> None:  # noqa: ARG002  # ids say what is whole
        if head_reached:
            self._head_asked_at_us = max(self._head_asked_at_us, asked_at_us)

    def begin_interruption(self, after_us: int) -> bool:  # noqa: ARG002  # the ids tell what was lost
        return False

    def end_interruption(self, at_us: int) -> None:
        """Nothing to note: the ids tell what was lost."""

    def state(self) -> SequenceState:
        return SequenceState(
            last_id=self.last_id,
            last_time_us=self.last_time_us,
            covered_from_us=self.covered_from_us,
            missing=tuple(self.missing),
        )

    def _missing_between(self, start_us: int, end_us: int) -> list[MissingIds]:
        """Missing ids whose trades may have happened in ``[start_us, end_us)``."""
        return [lost for lost in self.missing if lost.after_us < end_us and lost.before_us >= start_us]

    def _fill(self, trade: Trade, first_id: int) -> Admission:
        trade_id = trade.trade_id
        index = bisect_right(self.missing, first_id, key=lambda lost: lost.first_id) - 1
        if index < 0 or trade_id > self.missing[index].last_id:
            return Admission.DUPLICATE
        lost = self.missing[index]
        rest = []
        if lost.first_id < first_id:
            rest.append(MissingIds(lost.first_id, first_id - 1, lost.after_us, trade.time_us))
        if trade_id < lost.last_id:
            rest.append(MissingIds(trade_id + 1, lost.last_id, trade.time_us, lost.before_us))
        self.missing[index : index + 1] = rest
        return Admission.FILLED
