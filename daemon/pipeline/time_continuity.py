"""Continuity where ids prove nothing: what was heard, and the interruptions in which something may be lost. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.pipeline.continuity import MAX_RANGES, Admission, CompletenessReport, MissingRange
from daemon.pipeline.sequence import Interruption, SequenceState
from features.market import Completeness, MissingTrades, Trade

# Identities that are surely remembered. They are needed where two accounts of the same trades overlap: two
# connections for seconds, a page of at most 1,000 recent trades.
REMEMBERED_IDS = 16_384


class TimeContinuity:
    """Whoever listens without an interruption has heard everything, though nothing proves it."""

    __slots__ = (
        "_checked_from_us",
        "_checked_until_us",
        "_recent_from_us",
        "covered_from_us",
        "earlier",
        "earlier_from_us",
        "highest_id",
        "interruptions",
        "last_id",
        "last_time_us",
        "recent",
    )

    def __init__(
        self, state: SequenceState, heard: Iterable[Trade] = (), *, remembered_from_us: int | None = None
    ) -> None:
        """``heard``: the trades since ``remembered_from_us``, which is by default where the sequence begins."""
        self.last_id = state.last_id
        self.last_time_us = state.last_time_us
        self.covered_from_us = state.covered_from_us
        self.interruptions: list[Interruption] = list(state.interruptions)
        self.highest_id = state.last_id
        self.recent: set[int] = set()
        self.earlier: set[int] = set()
        # Every identity from this time on is remembered: an unknown one is a new trade, an older one is not asked.
        begin_us = state.covered_from_us if remembered_from_us is None else remembered_from_us
        self.earlier_from_us = self._recent_from_us = begin_us - 1
        self._checked_from_us = self._checked_until_us = 0
        for trade in heard:
            self._is_new(trade)

    @property
    def missing_trades(self) -> int:
        """Always 0: what is lost here cannot be counted."""
        return 0

    @property
    def complete(self) -> bool:
        """What has been given up is not asked for any more: it is gaps and candles in the bars, not work."""
        return all(each.given_up for each in self.interruptions)

    def admit(self, trade: Trade) -> Admission:
        if not self._is_new(trade):
            return Admission.DUPLICATE
        if trade.time_us < self.last_time_us:
            return Admission.FILLED
        self.last_id, self.last_time_us = trade.trade_id, trade.time_us
        return Admission.JOINED

    def completeness_of(self, open_us: int, close_us: int, *, now_us: int, grace_us: int) -> CompletenessReport:
        """Unproven at best, but for an interval in which the venue itself, asked, lists no trade."""
        if lost := [each for each in self.interruptions if _touches(each, open_us, close_us)]:
            ranges = tuple(MissingTrades(None, None, each.after_us, each.before_us) for each in lost[:MAX_RANGES])
            return CompletenessReport(Completeness.GAP, None, final=False, ranges=ranges)
        if self.last_time_us < open_us:
            asked = self._checked_from_us <= open_us and self._checked_until_us >= close_us + grace_us
            return CompletenessReport(Completeness.PROVEN if asked else Completeness.UNPROVEN, 0, final=asked)
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

    def record_answer(self, asked: MissingRange, *, head_reached: bool, complete: bool, asked_at_us: int) -> None:  # noqa: ARG002  # every page begins at the newest
        """A page that reaches back over an interruption mends it; one that does not says that none ever will."""
        ended = [each for each in self.interruptions if _ended(each, asked_at_us)]
        if complete:
            self._checked_from_us, self._checked_until_us = asked.after_us, asked_at_us
            mended = [each for each in ended if each.after_us >= asked.after_us]
            self.interruptions = [each for each in self.interruptions if each not in mended]
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
        """The venue has trades of this time that were not heard, and does not give them."""
        self.interruptions.append(Interruption(after_us, before_us, given_up=True))
        self.interruptions.sort(key=lambda each: (each.before_us is None, each.after_us))

    def forget_before(self, time_us: int) -> None:
        """Interruptions that ended before ``time_us`` concern nobody any more."""
        self.interruptions = [each for each in self.interruptions if each.before_us is None or each.before_us > time_us]

    def state(self) -> SequenceState:
        return SequenceState(
            last_id=self.last_id,
            last_time_us=self.last_time_us,
            covered_from_us=self.covered_from_us,
            interruptions=tuple(self.interruptions),
        )

    def admit_newest(self, trades: list[Trade]) -> list[Trade]:
        """Takes note of trades, at least one, none older than any before; returns those whose identity is new."""
        identities = [trade.trade_id for trade in trades]
        unique = set(identities)
        if len(unique) < len(trades) or not self.recent.isdisjoint(unique) or not self.earlier.isdisjoint(unique):
            return [trade for trade in trades if self.admit(trade) is not Admission.DUPLICATE]
        self.last_id, self.last_time_us = identities[-1], trades[-1].time_us
        self.recent |= unique
        self.highest_id = max(self.highest_id, *unique)
        if len(self.recent) >= REMEMBERED_IDS:
            self.earlier, self.earlier_from_us = self.recent, self._recent_from_us
            self.recent, self._recent_from_us = set(), self.last_time_us
        return trades

    def _is_new(self, trade: Trade) -> bool:
        identity = trade.trade_id
        if identity in self.recent or identity in self.earlier or trade.time_us <= self.earlier_from_us:
            return False
        if len(self.recent) >= REMEMBERED_IDS:
            self.earlier, self.earlier_from_us = self.recent, self._recent_from_us
            self.recent, self._recent_from_us = set(), self.last_time_us
        self.recent.add(identity)
        self.highest_id = max(self.highest_id, identity)
        return True


def _touches(interruption: Interruption, open_us: int, close_us: int) -> bool:
    return interruption.after_us < close_us and (interruption.before_us is None or interruption.before_us > open_us)


def _ended(interruption: Interruption, asked_at_us: int) -> bool:
    return interruption.before_us is not None and interruption.before_us <= asked_at_us
