"""Continuity by contiguous trade ids: the watermark, the missing ids, and what they prove. No I/O."""

from __future__ import annotations

from bisect import bisect_right

from daemon.pipeline.continuity import MAX_RANGES, Admission, CompletenessReport, MissingRange
from daemon.pipeline.sequence import MissingIds, SequenceState
from features.market import Completeness, MissingTrades, Trade

# Ids that a venue may have given since the watermark: so many at once, and so many more a second. Several times the
# rate of the busiest market; a gap that REST can page through is smaller.
_MAX_JUMP = 50_000
_MAX_IDS_PER_S = 2_000
_KEPT_LOST = 64


class IdContinuity:
    """Every id after the start is either received once or listed in ``missing``.

    ``last_id`` is the watermark; the sequence starts after the ``last_id`` of the given state. A trade may cover
    several ids (``Trade.span``). Gaps from before the venue began its ids again are lost: REST has them no more.
    """

    __slots__ = (
        "_head_reached_at_us",
        "_last_requested_id",
        "_lost",
        "covered_from_us",
        "last_id",
        "last_time_us",
        "missing",
    )

    def __init__(self, state: SequenceState) -> None:
        self.last_id = state.last_id
        self.last_time_us = state.last_time_us
        self.covered_from_us = state.covered_from_us
        self.missing: list[MissingIds] = list(state.missing)
        self._lost: list[MissingIds] = []
        self._head_reached_at_us = 0
        self._last_requested_id = -1

    @property
    def missing_trades(self) -> int:
        return sum(gap.count for gap in self.missing)

    @property
    def complete(self) -> bool:
        return not self.missing

    def is_plausible(self, trade: Trade) -> bool:
        """Whether the venue can have reached the trade's id since the watermark."""
        elapsed_us = max(trade.time_us - self.last_time_us, 0)
        return trade.trade_id - self.last_id <= _MAX_JUMP + _MAX_IDS_PER_S * elapsed_us // 1_000_000

    def restart_at(self, trade: Trade) -> None:
        """The venue counts its ids from ``trade`` on: the ids between are not missing, and its bar is not proven."""
        if trade.trade_id <= self.last_id:
            self._lost = [*self._lost, *self.missing][-_KEPT_LOST:]
            self.missing, self._last_requested_id = [], -1
        self.last_id = trade.trade_id - trade.span
        self.covered_from_us = trade.time_us

    def admit(self, trade: Trade) -> Admission:
        """Records the ids of a trade.

        A merged trade of which some ids were counted before cannot be split: it is left out, and the rest of its ids
        becomes a gap, to be requested one by one.
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

    def completeness_of(self, open_us: int, close_us: int, *, now_us: int, grace_us: int) -> CompletenessReport:  # noqa: ARG002  # time alone proves nothing
        """PROVEN once a trade at or past the close has joined, or REST, asked after close and grace, had no more."""
        if missing := self._missing_between(open_us, close_us):
            ranges = [MissingTrades(each.first_id, each.last_id, each.after_us, each.before_us) for each in missing]
            count = sum(each.count for each in missing)
            return CompletenessReport(Completeness.GAP, count, final=False, ranges=tuple(ranges[:MAX_RANGES]))
        end_known = self.last_time_us >= close_us or self._head_reached_at_us >= close_us + grace_us
        if end_known and open_us >= self.covered_from_us:
            return CompletenessReport(Completeness.PROVEN, 0, final=True)
        return CompletenessReport(Completeness.UNPROVEN, 0, final=end_known)

    def next_missing(self) -> MissingRange | None:
        if not self.missing:
            return None
        gap = next((each for each in self.missing if each.first_id > self._last_requested_id), self.missing[0])
        self._last_requested_id = gap.first_id
        return MissingRange(gap.first_id, gap.last_id, gap.after_us)

    def beyond_newest(self) -> MissingRange:
        return MissingRange(self.last_id + 1, None, self.last_time_us)

    def record_answer(self, asked: MissingRange, *, head_reached: bool, complete: bool, asked_at_us: int) -> None:  # noqa: ARG002  # the ids show what is missing
        if head_reached:
            self._head_reached_at_us = max(self._head_reached_at_us, asked_at_us)

    def begin_interruption(self, after_us: int) -> bool:  # noqa: ARG002  # the ids show what is missing
        return False

    def end_interruption(self, at_us: int) -> None:
        """Nothing to record: the ids show what is missing."""

    def state(self) -> SequenceState:
        return SequenceState(
            last_id=self.last_id,
            last_time_us=self.last_time_us,
            covered_from_us=self.covered_from_us,
            missing=tuple(self.missing),
        )

    def _missing_between(self, start_us: int, end_us: int) -> list[MissingIds]:
        """Gaps whose trades may have happened in ``[start_us, end_us)``."""
        gaps = (*self._lost, *self.missing)
        return [gap for gap in gaps if gap.after_us < end_us and gap.before_us >= start_us]

    def _fill(self, trade: Trade, first_id: int) -> Admission:
        """Removes the ids of an old trade from the gap that holds all of them; else it is a duplicate."""
        trade_id = trade.trade_id
        index = bisect_right(self.missing, first_id, key=lambda gap: gap.first_id) - 1
        if index < 0 or trade_id > self.missing[index].last_id:
            return Admission.DUPLICATE
        gap = self.missing[index]
        remaining = []
        if gap.first_id < first_id:
            remaining.append(MissingIds(gap.first_id, first_id - 1, gap.after_us, trade.time_us))
        if trade_id < gap.last_id:
            remaining.append(MissingIds(trade_id + 1, gap.last_id, trade.time_us, gap.before_us))
        self.missing[index : index + 1] = remaining
        return Admission.FILLED
