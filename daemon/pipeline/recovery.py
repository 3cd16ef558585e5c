"""What an instrument asks its venue: the gaps it knows of, proof at a close, candles for what is lost. No I/O."""

from __future__ import annotations

from collections import Counter

from daemon.pipeline.bar_aggregator import BarAggregator, Knowledge
from daemon.pipeline.continuity import Continuity, MissingRange
from daemon.pipeline.events import CandleWanted, Event, RepairReason, RepairWanted, SeedWanted
from daemon.pipeline.request_slot import RequestSlot
from daemon.pipeline.staleness import StalenessTimer, Timeouts
from features.market import Completeness, Instrument, interval_start

_CANDLE_ATTEMPTS = 8  # within about two minutes; a venue that has no candle by then leaves a gap


class RecoveryPlanner:
    """One question at a time; ``events`` is the pipeline's list.

    candles: whether the venue's candle may stand in for trades that cannot be had.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        bars: BarAggregator,
        hearing: StalenessTimer,
        candles: bool,
        events: list[Event],
    ) -> None:
        self._instrument = instrument
        self._bars = bars
        self._hearing = hearing
        self._candles = candles
        self._events = events
        self._inquiry = RequestSlot()
        self._candles_asked: Counter[int] = Counter()
        self._gap_was_vain = False

    @property
    def under_way(self) -> bool:
        return self._inquiry.under_way

    @property
    def reason(self) -> RepairReason | None:
        """Of the repair under way."""
        question = self._inquiry.question
        return question.reason if isinstance(question, RepairWanted) else None

    @property
    def asked(self) -> MissingRange | None:
        """What the repair under way asked for."""
        question = self._inquiry.question
        if not isinstance(question, RepairWanted):
            return None
        return MissingRange(question.from_id, question.until_id, question.after_us)

    def overdue(self, wall_s: float, timeout_s: float) -> bool:
        return self._inquiry.overdue(wall_s, timeout_s)

    def ended(self, *, helped: bool, wall_s: float) -> None:
        """The question was answered, or failed."""
        self._gap_was_vain = self.reason is RepairReason.GAP and not helped
        self._inquiry.end(helped=helped, wall_s=wall_s)

    def without_candles(self) -> None:
        """The venue has no candle that fits this interval."""
        self._candles = False

    def ask_start(self, now_us: int, wall_s: float) -> None:
        """Where the sequence begins: with the interval that is open now."""
        if self._inquiry.may_begin(wall_s):
            self._ask(SeedWanted(self._instrument, interval_start(now_us, self._bars.interval_us)), wall_s)

    def ask_next(
        self, continuity: Continuity, knowledge: Knowledge, patience: Timeouts, *, now_us: int, wall_s: float
    ) -> None:
        """The most pressing question, if one is due. A gap that could not be filled lets others go first, once."""
        if not self._inquiry.may_begin(wall_s):
            return
        gap = self._gap(continuity)
        of_closes = self._of_closes(continuity, knowledge, now_us - patience.grace_us)
        question = of_closes or gap if self._gap_was_vain else gap or of_closes
        if question is None and self._hearing.probe_due(wall_s, patience.stale_after_s):
            self._hearing.probed(wall_s)
            question = self._repair(continuity.newest(), RepairReason.PROBE)
        if question is not None:
            self._ask(question, wall_s)

    def _gap(self, continuity: Continuity) -> RepairWanted | None:
        lost = continuity.to_ask()
        return None if lost is None else self._repair(lost, RepairReason.GAP)

    def _of_closes(
        self, continuity: Continuity, knowledge: Knowledge, closed_by_us: int
    ) -> RepairWanted | CandleWanted | None:
        """What is asked of the closed bars and, once its time is over, of the one that closes next."""
        opens = self._bars.unsettled_opens_us
        if self._bars.next_close_us <= closed_by_us:
            opens.append(self._bars.next_open_us)
        for open_us in opens:
            close_us = open_us + self._bars.interval_us
            known = knowledge(open_us, close_us)
            if known.completeness is Completeness.UNPROVEN and not known.final and close_us <= closed_by_us:
                newest = continuity.newest()
                if newest.from_id is None:  # by time only this interval matters, however long ago the last trade was
                    newest = newest._replace(after_us=max(newest.after_us, open_us))
                return self._repair(newest, RepairReason.PROOF)
            if known.completeness is Completeness.GAP and self._may_ask_candle(open_us):
                self._candles_asked[open_us] += 1
                return CandleWanted(self._instrument, open_us)
        return None

    def _may_ask_candle(self, open_us: int) -> bool:
        wanted = self._candles and not self._bars.has_candle(open_us)
        return wanted and self._candles_asked[open_us] < _CANDLE_ATTEMPTS

    def _repair(self, lost: MissingRange, reason: RepairReason) -> RepairWanted:
        return RepairWanted(self._instrument, lost.from_id, lost.until_id, lost.after_us, reason)

    def _ask(self, question: SeedWanted | RepairWanted | CandleWanted, wall_s: float) -> None:
        self._inquiry.begin(question, wall_s)
        self._events.append(question)
