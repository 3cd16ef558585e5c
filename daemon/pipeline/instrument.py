"""One instrument from trades to closed bars: continuity, open bars, closing, repair and liveness. No I/O.

A bar closes as soon as all that can be known of its trades is known: where ids are contiguous that is proof (a trade
at or past its end joined by id, or the venue answered, asked after the boundary plus grace, that nothing lies beyond
the watermark), elsewhere that the venue was heard past the boundary. Past ``proof_wait`` it closes as it is, and a
revision follows when more is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.exchanges.base import Ids, Traits
from daemon.pipeline.bar_aggregator import BarAggregator
from daemon.pipeline.continuity import CompletenessReport, Continuity
from daemon.pipeline.events import BarClosed, BarRevised, Event, RepairReason, SymbolState
from daemon.pipeline.feed_status import FeedStatus
from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.initial_state import continuity_from_store, state_from_snapshot, unsubscribed_since
from daemon.pipeline.recovery import RecoveryPlanner
from daemon.pipeline.sequence import Interruption, SequenceState
from daemon.pipeline.sequencer import TradeSequencer
from daemon.pipeline.staleness import StalenessTimer
from daemon.pipeline.time_continuity import TimeContinuity
from daemon.pipeline.timeouts import Timeouts
from features.market import Bar, Instrument, Trade, interval_start


class InstrumentPipeline:
    """The state of one instrument. ``events`` is the pipeline's list, shared by all series."""

    def __init__(
        self,
        instrument: Instrument,
        *,
        interval_us: int,
        traits: Traits,
        timeouts: Timeouts,
        events: list[Event],
    ) -> None:
        self.instrument = instrument
        self.timeouts = timeouts
        self._events = events
        self._numbered = traits.ids is Ids.CONTIGUOUS
        self._bars = BarAggregator(
            instrument,
            interval_us=interval_us,
            decimals=traits.decimals,
            ordered=traits.ids is not Ids.IDENTITY,
            numbered=self._numbered,
            opens_at_previous_close=traits.opens_at_previous_close,
        )
        self._staleness = StalenessTimer()
        self._recovery = RecoveryPlanner(
            instrument, bars=self._bars, staleness=self._staleness, candles=not self._numbered, events=events
        )
        self._status = FeedStatus(instrument, last_trade_at_us=lambda: self.last_trade_at_us, events=events)
        self._sequencer = TradeSequencer(traits, bars=self._bars, status=self._status)
        self.take_next = self._sequencer.take_next  # what is quicker than ``trades_received``, for nearly all trades
        self._catching_up = False
        self._started_s: float | None = None
        self._subscribed = False

    # ---------------------------------------------------------------- where the sequence stands

    @property
    def state(self) -> SymbolState:
        """What subscribers are told."""
        return self._status.state

    @property
    def state_reason(self) -> str:
        return self._status.reason

    @property
    def warm(self) -> bool:
        """Whether the sequence has a start, so that its bars will be whole."""
        return self._continuity is not None

    @property
    def first_open_us(self) -> int:
        """The open time of the first bar that is made from trades."""
        return self._bars.first_open_us

    @property
    def next_close_us(self) -> int:
        """The end of the interval that closes next."""
        return self._bars.next_close_us

    @property
    def trades(self) -> int:
        """Records taken so far, duplicates left out."""
        return self._sequencer.trades

    @property
    def duplicates(self) -> int:
        return self._sequencer.duplicates

    @property
    def malformed(self) -> int:
        """Trades left out for a time that cannot be."""
        return self._sequencer.malformed

    @property
    def last_trade(self) -> Trade | None:
        return self._sequencer.last_trade

    @property
    def last_trade_at_us(self) -> int | None:
        last = self.last_trade
        return last.time_us if last else None

    @property
    def last_price(self) -> float | None:
        last = self.last_trade
        return last.price if last else None

    @property
    def late_dropped(self) -> int:
        """Trades that came too late for any bar that is still kept."""
        return self._bars.late_dropped

    @property
    def missing_trades(self) -> int:
        return self._continuity.missing_trades if self._continuity else 0

    def take_unsaved(self) -> list[Trade]:
        """The trades since the last call; ``sequence_state`` covers them."""
        return self._sequencer.take_unsaved()

    def sequence_state(self) -> SequenceState | None:
        return self._continuity.state() if self._continuity else None

    # ---------------------------------------------------------------- the start

    def resume(
        self, state: SequenceState, trades: Sequence[Trade], *, first_open_us: int, published: Sequence[Bar] = ()
    ) -> None:
        """Goes on from a stored state; ``trades`` are the stored ones since ``first_open_us``.

        published: bars from ``first_open_us`` on that were closed before, of which the first is not settled yet.
        """
        self._catching_up = True
        self._bars.start(first_open_us)
        for trade in trades:
            self._bars.add(trade)
        self._bars.restore(published)
        last = max(trades, key=lambda trade: (trade.time_us, trade.trade_id), default=None)
        account = continuity_from_store(
            state, trades, numbered=self._numbered, first_open_us=first_open_us, published=published
        )
        self._sequencer.begin(account, last)

    def snapshot_received(
        self,
        page: Sequence[Trade],
        latest: Trade | None,
        *,
        from_time_us: int,
        now_us: int,
        wall_s: float,
        complete: bool = True,
    ) -> None:
        """Starts the sequence at ``from_time_us``, the answer to a SeedWanted.

        page: the venue's first trades at or after that time. latest: where the page is empty, its newest trade, or
        its last one before that time; None where the instrument never traded. whole: whether nothing before the
        page is missing from its interval; else that first bar can never be proven.
        """
        if not page and latest is not None and latest.time_us >= from_time_us:
            self.request_failed("trades came while the start was asked for", now_us, wall_s)
            return
        self._recovery.request_ended(helped=True, wall_s=wall_s)
        covered_from_us = from_time_us if complete else from_time_us + self._bars.interval_us
        state = state_from_snapshot(page, latest, from_time_us=from_time_us, covered_from_us=covered_from_us)
        account = IdContinuity(state) if self._numbered else TimeContinuity(state, remembered_from_us=from_time_us)
        self._sequencer.begin(account, latest)
        self._begin(from_time_us, wall_s)
        self._admit(page, now_us)

    def _begin(self, from_time_us: int, wall_s: float) -> None:
        self._bars.start(interval_start(from_time_us, self._bars.interval_us))
        self._status.starting = self._catching_up = True
        self._started_s = wall_s

    def _begin_without_subscription(self, now_us: int, wall_s: float) -> None:
        """Where ids prove nothing the sequence begins with an interruption: nobody listened to what is over."""
        from_us = interval_start(now_us, self._bars.interval_us)
        self._sequencer.begin(unsubscribed_since(from_us, until_us=now_us if self._subscribed else None), None)
        self._begin(from_us, wall_s)

    # ---------------------------------------------------------------- the stream

    def subscribed(self, now_us: int) -> None:
        """The venue's stream is heard from now on."""
        self._subscribed = True
        if self._continuity is not None:
            self._continuity.end_interruption(now_us + self.timeouts.clock_margin_us)

    def stream_lost(self, complete_until_us: int, now_us: int) -> None:
        """The venue's stream is not heard any more, nor surely was it since ``complete_until_us``."""
        self._subscribed = False
        if self._continuity is not None:
            self._sequencer.disable_fast_path()
            after_us = max(complete_until_us - self.timeouts.clock_margin_us, self._sequencer.stream_time_us)
            self._begin_interruption(after_us, now_us)

    def trades_received(self, trades: Sequence[Trade], now_us: int, wall_s: float) -> None:
        """Trades from the stream, in the venue's order. Before the seed they are left to the repair by id.

        See ``take_next`` for what is quicker.
        """
        self._staleness.received(wall_s)
        if self._continuity is None:
            return
        self._admit(trades, now_us)
        self._sequencer.note_stream_time(trades[-1].time_us)
        if self.state is not SymbolState.LIVE:
            self._set_state(SymbolState.LIVE, now_us, "trades are coming in")
        if self._continuity.last_time_us >= self.next_close_us:
            self._close_bars(now_us)
        self._sequencer.enable_fast_path()

    # ---------------------------------------------------------------- answers in

    def repair_received(
        self,
        trades: Sequence[Trade],
        *,
        head_reached: bool,
        complete: bool,
        asked_at_us: int,
        now_us: int,
        wall_s: float,
    ) -> None:
        """The answer to a RepairWanted. ``asked_at_us`` is market time before the venue was asked.

        head_reached: the answer goes up to the newest trade. whole: nothing that was asked for is left out.
        """
        continuity, reason, asked = self._continuity, self._recovery.repair_reason, self._recovery.repair_range
        assert continuity is not None, f"{self.instrument} was repaired before it was seeded"
        if asked is None:  # given up in the meantime: the trades are welcome all the same
            self._admit(trades, now_us)
            return
        was_complete = continuity.complete
        fresh = self._admit(trades, now_us)
        continuity.record_answer(asked, head_reached=head_reached, complete=complete, asked_at_us=asked_at_us)
        if head_reached:
            self._catching_up = self._catching_up and not continuity.complete
        helped = fresh > 0 or (head_reached and complete and reason is not RepairReason.GAP)
        self._recovery.request_ended(helped=helped or (not was_complete and continuity.complete), wall_s=wall_s)
        if reason is RepairReason.GAP and not self._numbered:
            self._status.trades_fetched(fresh)
            if not complete:
                self._status.gap_abandoned()
        times = self._sequencer.times
        if times is not None and reason is RepairReason.PROOF and fresh and not complete:
            times.add_lost_range(asked.after_us, asked_at_us)
            self._bars.mark_unsettled(asked.after_us)
        self._close_bars(now_us)
        if reason is RepairReason.PROBE:
            since_us = asked_at_us if complete else asked.after_us
            old_us = asked_at_us - self.timeouts.undelivered_age_us
            undelivered = not complete or any(trade.time_us < old_us for trade in trades)
            self._judge_probe(fresh, now_us, wall_s, undelivered=undelivered, since_us=since_us)

    def candle_received(self, candle: Bar | None, now_us: int, wall_s: float) -> None:
        """The answer to a CandleWanted: the venue's candle, or None where it has none yet."""
        self._recovery.request_ended(helped=candle is not None, wall_s=wall_s)
        if candle is not None:
            self._bars.set_candle(candle)
        self._close_bars(now_us)

    def rebuild(self, open_us: int, trades: Sequence[Trade]) -> None:
        """Makes a closed bar from these trades instead of those that were heard; its revision follows."""
        self._bars.rebuild(open_us, trades)

    def replace_with_candle(self, candle: Bar) -> None:
        """The venue's candle counts from now on where nothing proves the trades that were heard."""
        if not self._numbered:
            self._bars.replace_with_candle(candle)

    def candles_unavailable(self, wall_s: float) -> None:
        """The venue has no candle that fits this interval: a gap stays one."""
        self._recovery.candles_unavailable()
        self._recovery.request_ended(helped=False, wall_s=wall_s)

    def request_failed(self, reason: str, now_us: int, wall_s: float) -> None:
        """A request could not be answered; it will be asked again later."""
        self._recovery.request_ended(helped=False, wall_s=wall_s)
        if self._continuity is None:
            self._set_state(SymbolState.WARMING_UP, now_us, f"the venue could not be asked: {reason}")
        elif self._staleness.silent_for_s(wall_s) > self.timeouts.stale_after_s:
            self._set_state(SymbolState.STALE, now_us, f"no trades and no answer from the venue: {reason}")

    # ---------------------------------------------------------------- time in

    def time_advanced(self, now_us: int, wall_s: float) -> None:
        """Closes what can be closed, revises what became better known, and asks for what is missing."""
        if self._sequencer.received_meanwhile():
            self._staleness.received(wall_s)
            if self._is_steady and now_us < self.next_close_us:
                return
        if self._recovery.overdue(wall_s, self.timeouts.answer_timeout_s):
            self.request_failed("no answer in time", now_us, wall_s)
        if self._continuity is None:
            if self._numbered:
                self._recovery.request_snapshot(now_us, wall_s)
                return
            self._begin_without_subscription(now_us, wall_s)
        continuity = self._continuity
        assert continuity is not None
        if self._started_s is None:
            self._started_s = wall_s
        if wall_s - self._started_s > self.timeouts.catch_up_s:
            self._catching_up = False
        self._close_bars(now_us)
        if not self._recovery.in_flight:
            # Only now, so that a long repair makes one revision of each bar and not hundreds.
            if continuity.complete:
                self._status.gap_closed(now_us)
                self._catching_up = self._catching_up and self.state is not SymbolState.LIVE
            completeness_of = self._known_at(now_us)
            self._events += map(BarRevised, self._bars.revisions(completeness_of, now_us))
            self._recovery.request_next(continuity, completeness_of, self.timeouts, now_us=now_us, wall_s=wall_s)

    # ---------------------------------------------------------------- inside

    @property
    def _continuity(self) -> Continuity | None:
        return self._sequencer.continuity

    def _admit(self, trades: Sequence[Trade], now_us: int) -> int:
        return self._sequencer.admit(trades, now_us=now_us, max_ahead_us=self.timeouts.max_ahead_us)

    @property
    def _is_steady(self) -> bool:
        """Whether, while trades come as they should, the next thing to do is to close the bar."""
        return (
            self._status.steady
            and not self._catching_up
            and not self._recovery.in_flight
            and self._bars.all_settled
            and self._sequencer.complete
        )

    def _known_at(self, now_us: int) -> Callable[[int, int], CompletenessReport]:
        continuity, grace_us = self._continuity, self.timeouts.grace_us
        assert continuity is not None

        def known(open_us: int, close_us: int) -> CompletenessReport:
            return continuity.completeness_of(open_us, close_us, now_us=now_us, grace_us=grace_us)

        return known

    def _close_bars(self, now_us: int) -> None:
        assert self._continuity is not None
        if max(now_us, self._continuity.last_time_us) < self._bars.next_close_us:
            return
        completeness_of = self._known_at(now_us)
        while True:
            open_us, close_us = self._bars.next_open_us, self._bars.next_close_us
            waits = self._catching_up or now_us < close_us + self.timeouts.proof_wait_us
            if waits and not completeness_of(open_us, close_us).final and not self._bars.has_candle(open_us):
                return
            self._sequencer.disable_fast_path()
            self._events.append(BarClosed(self._bars.close(completeness_of, now_us), now_us - close_us))
            if self._sequencer.times is not None:
                self._sequencer.times.forget_before(self._bars.first_kept_us)

    def _begin_interruption(self, after_us: int, now_us: int) -> None:
        assert self._continuity is not None
        if self._continuity.begin_interruption(after_us):
            self._bars.mark_unsettled(after_us)
            self._status.gap_opened(Interruption(after_us), now_us)

    def _judge_probe(self, fresh: int, now_us: int, wall_s: float, *, undelivered: bool, since_us: int) -> None:
        """A quiet market answers with nothing new; a dead subscription is given away by trades it did not bring.

        undelivered: some of the ``fresh`` trades are too old to be still on their way.
        """
        if fresh and undelivered:
            self._sequencer.disable_fast_path()
            self._status.mark_stream_silent(fresh, now_us)
            self._begin_interruption(since_us, now_us)
        elif not fresh and self._staleness.silent_for_s(wall_s) > self.timeouts.halted_after_s:
            self._set_state(SymbolState.HALTED, now_us, "the venue confirms that nothing was traded")

    def _set_state(self, state: SymbolState, now_us: int, reason: str) -> None:
        if state is not self.state:
            self._sequencer.disable_fast_path()
        self._status.set_state(state, now_us, reason)
