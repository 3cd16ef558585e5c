"""State of one instrument, shared by its stream, its REST answers and its clock: start, admission and closing. No I/O.

A bar closes as soon as its completeness is final. With contiguous ids that is a proof: a trade at or past the end of
the interval joined by id, or REST, asked after the end plus grace, returned nothing after the watermark. At other
venues it is a stream without interruption past the end of the interval. After ``proof_wait_us`` a bar closes with the
completeness it has, and a revision follows when that improves. Time in which the daemon did not run is not part of
that wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from daemon.exchanges.base import Ids, Traits
from daemon.pipeline.answers import SequenceStart
from daemon.pipeline.bar_aggregator import BarAggregator, CompletenessLookup
from daemon.pipeline.continuity import CompletenessReport, Continuity
from daemon.pipeline.events import BarClosed, Event, SymbolState
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


class InstrumentState:
    """The parts of one instrument and the steps that involve several of them.

    events: the pipeline's list, shared by all instruments.
    catching_up: after a start, until REST has returned what happened before it; meanwhile no bar closes unproven.
    subscribed: whether the stream delivers the instrument's trades.
    unlisted: why the venue does not list the symbol; None while it does.
    """

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
        self.events = events
        self.contiguous_ids = traits.ids is Ids.CONTIGUOUS
        self.bars = BarAggregator(
            instrument,
            interval_us=interval_us,
            decimals=traits.decimals,
            ordered_ids=traits.ids is not Ids.IDENTITY,
            contiguous_ids=self.contiguous_ids,
            opens_at_previous_close=traits.opens_at_previous_close,
        )
        self.staleness = StalenessTimer()
        self.recovery = RecoveryPlanner(
            instrument, bars=self.bars, staleness=self.staleness, candles=not self.contiguous_ids, events=events
        )
        self.status = FeedStatus(instrument, last_trade_at_us=lambda: self.sequencer.last_trade_at_us, events=events)
        self.sequencer = TradeSequencer(traits, bars=self.bars, status=self.status)
        self.catching_up = False
        self.subscribed = False
        self.unlisted: str | None = None
        self._started_s: float | None = None
        self._wait_until_us = 0  # after a pause of the daemon, for the bars that had ended by then

    @property
    def continuity(self) -> Continuity | None:
        """None before the sequence starts."""
        return self.sequencer.continuity

    @property
    def steady(self) -> bool:
        """Whether, while trades arrive in sequence, nothing is to be done before the next close."""
        return (
            self.status.steady
            and not self.catching_up
            and not self.recovery.in_flight
            and self.bars.all_settled
            and self.sequencer.complete
            and not self.sequencer.check_due
        )

    # ---------------------------------------------------------------- start

    def resume(
        self, stored: SequenceState, trades: Sequence[Trade], *, first_open_us: int, published: Sequence[Bar]
    ) -> None:
        """Resumes from the store; see ``InstrumentPipeline.resume``."""
        self.catching_up = True
        self.bars.start(first_open_us)
        for trade in trades:
            self.bars.add(trade)
        self.bars.restore(published)
        last = max(trades, key=lambda trade: (trade.time_us, trade.trade_id), default=None)
        continuity = continuity_from_store(
            stored,
            trades,
            contiguous_ids=self.contiguous_ids,
            first_open_us=first_open_us,
            published=published,
        )
        self.sequencer.start(continuity, last)

    def start_from_snapshot(
        self,
        start: SequenceStart,
        *,
        from_time_us: int,
        now_us: int,
        wall_s: float,
    ) -> None:
        """Starts the sequence at ``from_time_us``."""
        covered_from_us = from_time_us if start.complete else from_time_us + self.bars.interval_us
        state = state_from_snapshot(
            start.trades, start.latest, from_time_us=from_time_us, covered_from_us=covered_from_us
        )
        continuity = IdContinuity(state) if self.contiguous_ids else TimeContinuity(state, known_from_us=from_time_us)
        self._start(continuity, start.latest, from_time_us=from_time_us, wall_s=wall_s)
        self.admit(start.trades, now_us, by_rest=True)

    def start_without_snapshot(self, now_us: int, wall_s: float) -> None:
        """Starts the sequence at the open of the current interval, with an interruption until the subscription."""
        from_us = interval_start(now_us, self.bars.interval_us)
        continuity = unsubscribed_since(from_us, until_us=now_us if self.subscribed else None)
        self._start(continuity, None, from_time_us=from_us, wall_s=wall_s)

    def _start(
        self, continuity: IdContinuity | TimeContinuity, last: Trade | None, *, from_time_us: int, wall_s: float
    ) -> None:
        self.sequencer.start(continuity, last)
        self.bars.start(interval_start(from_time_us, self.bars.interval_us))
        self.status.starting = self.catching_up = True
        self._started_s = wall_s

    def limit_catch_up(self, wall_s: float) -> None:
        """Stops catching up at ``Timeouts.catch_up_s`` after the start; after a resume, after the first call."""
        if self._started_s is None:
            self._started_s = wall_s
        if wall_s - self._started_s > self.timeouts.catch_up_s:
            self.catching_up = False

    # ---------------------------------------------------------------- trades, gaps and status

    def admit(self, trades: Sequence[Trade], now_us: int, *, by_rest: bool = False) -> int:
        """Admits trades and returns how many were new."""
        return self.sequencer.admit(trades, now_us=now_us, max_ahead_us=self.timeouts.max_ahead_us, by_rest=by_rest)

    def begin_interruption(self, after_us: int, now_us: int) -> None:
        """The stream is lost since ``after_us``: without contiguous ids that is a gap, and bars since are unsettled."""
        continuity = self.continuity
        assert continuity is not None
        if continuity.begin_interruption(after_us):
            self.bars.unsettle_since(after_us)
            self.status.gap_opened(Interruption(after_us), now_us)

    def set_symbol_state(self, state: SymbolState, now_us: int, reason: str) -> None:
        """Sets the feed status; when the state changes, the next trade takes the slow path and may set it again.

        A symbol that is not listed is halted for that reason, unless it is live: its trades contradict the list.
        """
        if self.unlisted is not None and state is not SymbolState.LIVE:
            state, reason = SymbolState.HALTED, self.unlisted
        if state is not self.status.state:
            self.sequencer.disable_fast_path()
        self.status.set_state(state, now_us, reason)

    # ---------------------------------------------------------------- closing

    def completeness_at(self, now_us: int) -> CompletenessLookup:
        """The completeness of any interval as of ``now_us``."""
        continuity, grace_us = self.continuity, self.timeouts.grace_us
        assert continuity is not None

        def completeness_of(open_us: int, close_us: int) -> CompletenessReport:
            return continuity.completeness_of(open_us, close_us, now_us=now_us, grace_us=grace_us)

        return completeness_of

    def time_lost(self, lost_us: int, now_us: int) -> None:
        """The daemon did not run for the last ``lost_us``: the rest of a wait for proof begins now."""
        if now_us >= self.bars.next_close_us:
            stopped_us = max(now_us - lost_us, self.bars.next_close_us)
            left_us = self._proof_wait_ends_us(self.bars.next_close_us) - stopped_us
            self._wait_until_us = now_us + max(left_us, 0)

    def _proof_wait_ends_us(self, close_us: int) -> int:
        return max(close_us + self.timeouts.proof_wait_us, self._wait_until_us)

    def close_bars(self, now_us: int) -> None:
        """Closes every bar that has ended and whose completeness is final or whose wait for proof is over.

        A trade past the end does not end an interval: a venue may stamp it with a time in the future.
        """
        if now_us < self.bars.next_close_us:
            return
        completeness_of = self.completeness_at(now_us)
        while now_us >= self.bars.next_close_us:
            open_us, close_us = self.bars.next_open_us, self.bars.next_close_us
            waits = self.catching_up or now_us < self._proof_wait_ends_us(close_us)
            if waits and not completeness_of(open_us, close_us).final and not self.bars.has_candle(open_us):
                return
            self.sequencer.disable_fast_path()
            self.events.append(BarClosed(self.bars.close(completeness_of, now_us), now_us - close_us))
            if self.sequencer.times is not None:
                self.sequencer.times.forget_before(self.bars.first_kept_us)
