"""Pipeline of one instrument: trades, REST answers and time go in, bars, gaps and requests come out. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.pipeline.events import BarRevised, SymbolState
from daemon.pipeline.instrument_state import InstrumentState
from daemon.pipeline.rest_answers import RestAnswers
from daemon.pipeline.sequence import SequenceState
from daemon.pipeline.timeouts import Timeouts
from features.market import Bar, Completeness, Trade


class InstrumentPipeline:
    """Acts on one instrument's ``state`` and appends to its ``events``, the pipeline's list.

    answers: takes what REST returned. take_next: the fast path for trades from the stream (see ``fast_path``); those
    that it leaves go to ``trades_received``.
    """

    def __init__(self, state: InstrumentState) -> None:
        self.instrument = state.instrument
        self._state = state
        self.answers = RestAnswers(state)
        self.take_next = state.sequencer.take_next

    # ---------------------------------------------------------------- state

    @property
    def timeouts(self) -> Timeouts:
        return self._state.timeouts

    @timeouts.setter
    def timeouts(self, timeouts: Timeouts) -> None:
        self._state.timeouts = timeouts

    @property
    def state(self) -> SymbolState:
        """The feed status that subscribers see."""
        return self._state.status.state

    @property
    def state_reason(self) -> str:
        return self._state.status.reason

    @property
    def unlisted(self) -> str | None:
        """Why the venue does not list the symbol; None while it does."""
        return self._state.unlisted

    @property
    def warm(self) -> bool:
        """Whether the sequence has started, so that bars can close."""
        return self._state.continuity is not None

    @property
    def first_open_us(self) -> int:
        """The open time of the first bar that is made from trades."""
        return self._state.bars.first_open_us

    @property
    def next_close_us(self) -> int:
        """The close time of the bar that closes next."""
        return self._state.bars.next_close_us

    @property
    def trades(self) -> int:
        """Trades admitted so far, without duplicates."""
        return self._state.sequencer.trades

    @property
    def duplicates(self) -> int:
        return self._state.sequencer.duplicates

    @property
    def malformed(self) -> int:
        """Trades left out because their time or id is impossible."""
        return self._state.sequencer.malformed

    @property
    def last_trade_at_us(self) -> int | None:
        return self._state.sequencer.last_trade_at_us

    @property
    def last_price(self) -> float | None:
        last = self._state.sequencer.last_trade
        return last.price if last else None

    @property
    def missing_trades(self) -> int:
        """The number of trades that are known to be missing."""
        continuity = self._state.continuity
        return continuity.missing_trades if continuity else 0

    def knows_nothing_of(self, bar: Bar) -> bool:
        """Whether ``bar`` has no trade and no proof that there was none, while the venue does not serve the symbol."""
        unserved = self.state is SymbolState.STALE or self.unlisted is not None
        return unserved and not bar.trades and bar.completeness in {Completeness.UNPROVEN, Completeness.GAP}

    def sequence_state(self) -> SequenceState | None:
        """What to store with the trades; None before the sequence starts."""
        continuity = self._state.continuity
        return continuity.state() if continuity else None

    def take_unsaved(self) -> list[Trade]:
        """The trades since the last call; ``sequence_state`` covers them."""
        return self._state.sequencer.take_unsaved()

    # ---------------------------------------------------------------- start

    def resume(
        self, stored: SequenceState, trades: Sequence[Trade], *, first_open_us: int, published: Sequence[Bar] = ()
    ) -> None:
        """Resumes from the stored state; ``trades`` are the stored ones since ``first_open_us``.

        published: the bars from ``first_open_us`` on that were closed before; the first of them is unsettled.
        """
        self._state.resume(stored, trades, first_open_us=first_open_us, published=published)

    # ---------------------------------------------------------------- stream

    def subscribed(self, now_us: int) -> None:
        """The stream delivers the instrument's trades from now on."""
        state = self._state
        state.subscribed = True
        if state.continuity is not None:
            state.continuity.end_interruption(now_us + state.timeouts.clock_margin_us)

    def stream_lost(self, complete_until_us: int, now_us: int) -> None:
        """The stream was lost; its trades are complete only up to ``complete_until_us``."""
        state = self._state
        state.subscribed = False
        if state.continuity is not None:
            state.sequencer.disable_fast_path()
            after_us = max(complete_until_us - state.timeouts.clock_margin_us, state.sequencer.stream_time_us)
            state.begin_interruption(after_us, now_us)

    def trades_received(self, trades: Sequence[Trade], now_us: int, wall_s: float) -> None:
        """Trades from the stream, in the venue's order.

        Trades before the sequence starts are dropped; the repair that follows the snapshot fetches them.
        """
        state = self._state
        state.staleness.received(wall_s)
        if state.continuity is None:
            return
        state.admit(trades, now_us)
        state.sequencer.note_stream_time(min(trades[-1].time_us, now_us))
        if self.state is not SymbolState.LIVE:
            state.set_symbol_state(SymbolState.LIVE, now_us, "trades are coming in")
        if state.continuity.last_time_us >= self.next_close_us:
            state.close_bars(now_us)
        state.sequencer.enable_fast_path()

    def listed(self, now_us: int, *, unlisted: str | None) -> None:
        """The venue lists the symbol, or does not for the reason ``unlisted``."""
        state = self._state
        was_unlisted, state.unlisted = state.unlisted, unlisted
        if unlisted is not None and self.state is not SymbolState.LIVE:
            state.set_symbol_state(SymbolState.HALTED, now_us, unlisted)
        elif unlisted is None and was_unlisted is not None and self.state is SymbolState.HALTED:
            again = SymbolState.STALE if self.warm else SymbolState.WARMING_UP
            state.set_symbol_state(again, now_us, "the venue lists it again; waiting for trades")

    # ---------------------------------------------------------------- reconciliation

    def rebuild(self, open_us: int, trades: Sequence[Trade]) -> None:
        """Rebuilds a closed bar from the venue's trades instead of the received ones; its revision follows."""
        self._state.bars.rebuild(open_us, trades)

    def replace_with_candle(self, candle: Bar) -> None:
        """Replaces a closed bar by the venue's candle, unless contiguous ids prove its trades."""
        if not self._state.contiguous_ids:
            self._state.bars.replace_with_candle(candle)

    # ---------------------------------------------------------------- time

    def time_lost(self, lost_us: int, now_us: int) -> None:
        """The daemon did not run for the last ``lost_us``; see ``Pipeline.expect_tick``."""
        if self.warm:
            self._state.time_lost(lost_us, now_us)

    def time_advanced(self, now_us: int, wall_s: float) -> None:
        """Closes due bars, revises closed ones and requests what is missing."""
        state = self._state
        if state.sequencer.received_since_last_call():
            state.staleness.received(wall_s)
            if state.steady and now_us < self.next_close_us:
                return
        if state.recovery.give_up_overdue(wall_s, state.timeouts.answer_timeout_s):
            self.answers.request_failed("no answer in time", now_us, wall_s)
        if state.continuity is None:
            if state.contiguous_ids:
                state.recovery.request_snapshot(now_us, wall_s)
                return
            state.start_without_snapshot(now_us, wall_s)
        state.limit_catch_up(wall_s)
        state.close_bars(now_us)
        if not state.recovery.in_flight:
            # Only between requests, so that a repair in many answers makes one revision of each bar.
            self._revise_and_request(now_us, wall_s)

    def _revise_and_request(self, now_us: int, wall_s: float) -> None:
        state = self._state
        continuity = state.continuity
        assert continuity is not None
        if continuity.complete:
            state.status.gap_closed(now_us)
            state.catching_up = state.catching_up and self.state is not SymbolState.LIVE
        completeness_of = state.completeness_at(now_us)
        state.events += map(BarRevised, state.bars.revisions(completeness_of, now_us))
        state.recovery.request_next(
            continuity,
            completeness_of,
            state.timeouts,
            check_due=state.sequencer.check_due,
            now_us=now_us,
            wall_s=wall_s,
        )
