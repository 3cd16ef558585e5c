"""Continuity without contiguous trade ids: interruptions of the stream show where trades may be missing. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.pipeline.continuity import MAX_RANGES, Admission, CompletenessReport, MissingRange
from daemon.pipeline.sequence import Interruption, SequenceState
from features.market import Completeness, MissingTrades, Trade

# Ids that are remembered at least. They detect duplicates where two sources overlap: two connections for seconds, or
# a page of at most 1,000 recent trades.
REMEMBERED_IDS = 16_384


class TimeContinuity:
    """An uninterrupted subscription is assumed complete, but cannot be proven.

    recent_ids, earlier_ids: the remembered ids in two generations, each of which ends at ``REMEMBERED_IDS`` ids.
    forgotten_until_us: ids of trades up to this time may be forgotten; such a trade is taken for a duplicate.
    highest_id: the highest id of any trade.
    """

    __slots__ = (
        "_checked_from_us",
        "_checked_until_us",
        "_recent_since_us",
        "covered_from_us",
        "earlier_ids",
        "forgotten_until_us",
        "highest_id",
        "interruptions",
        "last_id",
        "last_time_us",
        "recent_ids",
    )

    def __init__(
        self, state: SequenceState, known_trades: Iterable[Trade] = (), *, known_from_us: int | None = None
    ) -> None:
        """``known_trades``: all trades since ``known_from_us``, by default since the start of the sequence."""
        self.last_id = state.last_id
        self.last_time_us = state.last_time_us
        self.covered_from_us = state.covered_from_us
        self.interruptions: list[Interruption] = list(state.interruptions)
        self.highest_id = state.last_id
        self.recent_ids: set[int] = set()
        self.earlier_ids: set[int] = set()
        first_us = state.covered_from_us if known_from_us is None else known_from_us
        self.forgotten_until_us = self._recent_since_us = first_us - 1
        self._checked_from_us = self._checked_until_us = 0
        for trade in known_trades:
            self._is_new(trade)

    @property
    def missing_trades(self) -> int:
        """Always 0: missing trades cannot be counted without contiguous ids."""
        return 0

    @property
    def complete(self) -> bool:
        """Interruptions that were given up do not count: nothing more is requested for them."""
        return all(each.given_up for each in self.interruptions)

    def admit(self, trade: Trade) -> Admission:
        if not self._is_new(trade):
            return Admission.DUPLICATE
        if trade.time_us < self.last_time_us:
            return Admission.FILLED
        self.last_id, self.last_time_us = trade.trade_id, trade.time_us
        return Admission.JOINED

    def completeness_of(self, open_us: int, close_us: int, *, now_us: int, grace_us: int) -> CompletenessReport:
        """GAP where an interruption overlaps; PROVEN only without trades, as REST confirmed; else UNPROVEN."""
        if overlapping := [each for each in self.interruptions if _overlaps(each, open_us, close_us)]:
            ranges = tuple(
                MissingTrades(None, None, each.after_us, each.before_us) for each in overlapping[:MAX_RANGES]
            )
            return CompletenessReport(Completeness.GAP, None, final=False, ranges=ranges)
        if self.last_time_us < open_us:
            checked = self._checked_from_us <= open_us and self._checked_until_us >= close_us + grace_us
            return CompletenessReport(Completeness.PROVEN if checked else Completeness.UNPROVEN, 0, final=checked)
        return CompletenessReport(
            Completeness.UNPROVEN, 0, final=self.last_time_us >= close_us or now_us >= close_us + grace_us
        )

    def next_missing(self) -> MissingRange | None:
        for each in self.interruptions:
            if each.before_us is not None and not each.given_up:
                return MissingRange(None, None, each.after_us)
        return None

    def beyond_newest(self) -> MissingRange:
        return MissingRange(None, None, self.last_time_us)

    def record_answer(self, asked: MissingRange, *, head_reached: bool, complete: bool, asked_at_us: int) -> None:  # noqa: ARG002  # every page reaches the newest trade
        """Removes the interruptions that the page covers; one that it does not reach back to is given up."""
        ended = [each for each in self.interruptions if _ended(each, asked_at_us)]
        if complete:
            self._checked_from_us, self._checked_until_us = asked.after_us, asked_at_us
            repaired = [each for each in ended if each.after_us >= asked.after_us]
            self.interruptions = [each for each in self.interruptions if each not in repaired]
            return
        for each in ended:
            if each.after_us == asked.after_us:
                self.interruptions[self.interruptions.index(each)] = Interruption(
                    each.after_us, each.before_us, given_up=True
                )

    def begin_interruption(self, after_us: int) -> bool:
        if self.interruptions and self.interruptions[-1].before_us is None:
            return False
        self.interruptions.append(Interruption(after_us))
        return True

    def end_interruption(self, at_us: int) -> None:
        if self.interruptions and self.interruptions[-1].before_us is None:
            self.interruptions[-1] = Interruption(self.interruptions[-1].after_us, at_us)

    def add_lost_range(self, after_us: int, before_us: int) -> None:
        """Records trades that the stream missed and REST does not return: an interruption that is given up."""
        self.interruptions.append(Interruption(after_us, before_us, given_up=True))
        self.interruptions.sort(key=lambda each: (each.before_us is None, each.after_us))

    def forget_before(self, time_us: int) -> None:
        """Drops interruptions that ended by ``time_us``: no bar that is kept overlaps them."""
        self.interruptions = [each for each in self.interruptions if each.before_us is None or each.before_us > time_us]

    def state(self) -> SequenceState:
        return SequenceState(
            last_id=self.last_id,
            last_time_us=self.last_time_us,
            covered_from_us=self.covered_from_us,
            interruptions=tuple(self.interruptions),
        )

    def admit_newest(self, trades: list[Trade]) -> list[Trade]:
        """Records at least one trade, none older than ``last_time_us``, and returns those that are not duplicates."""
        ids = [trade.trade_id for trade in trades]
        unique = set(ids)
        if (
            len(unique) < len(trades)
            or not self.recent_ids.isdisjoint(unique)
            or not self.earlier_ids.isdisjoint(unique)
        ):
            return [trade for trade in trades if self.admit(trade) is not Admission.DUPLICATE]
        self.last_id, self.last_time_us = ids[-1], trades[-1].time_us
        self.recent_ids |= unique
        self.highest_id = max(self.highest_id, *unique)
        if len(self.recent_ids) >= REMEMBERED_IDS:
            self._start_generation()
        return trades

    def _is_new(self, trade: Trade) -> bool:
        trade_id = trade.trade_id
        if trade_id in self.recent_ids or trade_id in self.earlier_ids or trade.time_us <= self.forgotten_until_us:
            return False
        if len(self.recent_ids) >= REMEMBERED_IDS:
            self._start_generation()
        self.recent_ids.add(trade_id)
        self.highest_id = max(self.highest_id, trade_id)
        return True

    def _start_generation(self) -> None:
        """Forgets the earlier ids and starts a new set of recent ones."""
        self.earlier_ids, self.forgotten_until_us = self.recent_ids, self._recent_since_us
        self.recent_ids, self._recent_since_us = set(), self.last_time_us


def _overlaps(interruption: Interruption, open_us: int, close_us: int) -> bool:
    return interruption.after_us < close_us and (interruption.before_us is None or interruption.before_us > open_us)


def _ended(interruption: Interruption, asked_at_us: int) -> bool:
    return interruption.before_us is not None and interruption.before_us <= asked_at_us
