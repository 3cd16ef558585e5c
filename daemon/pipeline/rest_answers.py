"""REST answers of one instrument: snapshots, repairs, candles and failed requests. No I/O."""

from __future__ import annotations

from daemon.pipeline.answers import (
    Answer,
    CandleAnswer,
    CandlesUnavailable,
    RequestFailed,
    SequenceStart,
    TradesAnswer,
    trades_of,
)
from daemon.pipeline.continuity import MissingRange
from daemon.pipeline.events import (
    CandleRequested,
    RepairReason,
    RepairRequested,
    Request,
    SnapshotRequested,
    SymbolState,
)
from daemon.pipeline.instrument_state import InstrumentState


class RestAnswers:
    """Applies the answers to the pipeline's requests to ``state``."""

    def __init__(self, state: InstrumentState) -> None:
        self._state = state

    def answer(self, request: Request, answer: Answer, now_us: int, wall_s: float) -> None:
        """What REST returned for ``request``.

        Only the answer to the request in flight proves anything. One to a request that was given up, or answered
        before, contributes its trades and nothing else. Raises TypeError for an answer of another kind of request.
        """
        if not self._state.recovery.holds(request):
            if self._state.continuity is not None:
                self._state.admit(trades_of(answer), now_us, by_rest=True)
            return
        match request, answer:
            case SnapshotRequested(), SequenceStart():
                self._snapshot_received(request, answer, now_us, wall_s)
            case RepairRequested(), TradesAnswer():
                self._repair_received(request, answer, now_us, wall_s)
            case CandleRequested(), CandleAnswer():
                self._candle_received(request, answer, now_us, wall_s)
            case CandleRequested(), CandlesUnavailable():
                self._candles_unavailable(wall_s)
            case _, RequestFailed():
                self.request_failed(answer.reason, now_us, wall_s)
            case _:
                raise TypeError(f"{type(answer).__name__} is no answer to {type(request).__name__}")

    def request_pending(self, request: Request, wall_s: float) -> None:
        """The edge still works on ``request``."""
        self._state.recovery.keep(request, wall_s)

    def start_sequence(self, start: SequenceStart, *, from_time_us: int, now_us: int, wall_s: float) -> None:
        """Starts the sequence at ``from_time_us`` without a request. Raises ValueError where it has started before."""
        if self._state.continuity is not None:
            raise ValueError(f"the sequence of {self._state.instrument} has started before")
        self._state.start_from_snapshot(start, from_time_us=from_time_us, now_us=now_us, wall_s=wall_s)

    def request_failed(self, reason: str, now_us: int, wall_s: float) -> None:
        """The request in flight failed or was given up; it is made again after a pause."""
        state = self._state
        state.recovery.request_ended(helped=False, wall_s=wall_s)
        if state.continuity is None:
            state.set_symbol_state(SymbolState.WARMING_UP, now_us, f"the venue could not be asked: {reason}")
        elif state.unlisted is not None or state.staleness.silent_for_s(wall_s) > state.timeouts.stale_after_s:
            state.set_symbol_state(SymbolState.STALE, now_us, f"no trades and no answer from the venue: {reason}")

    def _snapshot_received(self, request: SnapshotRequested, start: SequenceStart, now_us: int, wall_s: float) -> None:
        """Starts the sequence at the requested time, unless it has started by other means."""
        state = self._state
        if not start.trades and start.latest is not None and start.latest.time_us >= request.from_time_us:
            self.request_failed("trades came while the start was asked for", now_us, wall_s)
            return
        state.recovery.request_ended(helped=True, wall_s=wall_s)
        if state.continuity is None:
            self.start_sequence(start, from_time_us=request.from_time_us, now_us=now_us, wall_s=wall_s)
        else:
            state.admit(start.trades, now_us, by_rest=True)

    def _repair_received(self, request: RepairRequested, answer: TradesAnswer, now_us: int, wall_s: float) -> None:
        """Admits the trades and records what the answer proves."""
        state, trades = self._state, answer.trades
        continuity, reason, complete = state.continuity, request.reason, answer.complete
        assert continuity is not None, f"{state.instrument} was repaired before its sequence started"
        asked, asked_at_us = MissingRange(request.from_id, request.until_id, request.after_us), answer.asked_at_us
        was_complete = continuity.complete
        left_out = state.sequencer.malformed
        new = state.admit(trades, now_us, by_rest=True)
        believed = state.sequencer.malformed == left_out
        if answer.head_reached:
            state.sequencer.head_reached()
        head_reached = answer.head_reached and not state.sequencer.doubts_numbering
        continuity.record_answer(asked, head_reached=head_reached, complete=complete, asked_at_us=asked_at_us)
        if head_reached:
            state.catching_up = state.catching_up and not continuity.complete
        proves_end = head_reached and complete and believed
        helped = new > 0 or (proves_end and reason is not RepairReason.GAP)
        state.recovery.request_ended(helped=helped or (not was_complete and continuity.complete), wall_s=wall_s)
        if not state.contiguous_ids:
            self._note_without_ids(reason, asked, new, complete=complete, asked_at_us=asked_at_us)
        state.close_bars(now_us)
        if reason is RepairReason.PROBE:
            since_us = asked_at_us if complete else asked.after_us
            old_us = asked_at_us - state.timeouts.undelivered_age_us
            undelivered = not complete or any(trade.time_us < old_us for trade in trades)
            self._evaluate_probe(new, now_us, wall_s, undelivered=undelivered, since_us=since_us)

    def _candle_received(self, request: CandleRequested, answer: CandleAnswer, now_us: int, wall_s: float) -> None:
        """Sets the venue's candle of the requested interval; a candle of another one is not used."""
        state, candle = self._state, answer.candle
        if candle is not None and candle.open_time_us != request.open_us:
            candle = None
        state.recovery.request_ended(helped=candle is not None, wall_s=wall_s)
        if candle is not None:
            state.bars.set_candle(candle)
        state.close_bars(now_us)

    def _candles_unavailable(self, wall_s: float) -> None:
        """The venue has no candles that fit the interval: a gap remains a gap."""
        self._state.recovery.candles_unavailable()
        self._state.recovery.request_ended(helped=False, wall_s=wall_s)

    def _note_without_ids(
        self, reason: RepairReason | None, asked: MissingRange, new: int, *, complete: bool, asked_at_us: int
    ) -> None:
        """Counts the trades that filled a gap, and records an incomplete answer, which leaves a lasting gap."""
        state = self._state
        if reason is RepairReason.GAP:
            state.status.trades_fetched(new)
            if not complete:
                state.status.gap_abandoned()
        elif reason is RepairReason.PROOF and new and not complete and state.sequencer.times is not None:
            state.sequencer.times.add_lost_range(asked.after_us, asked_at_us)
            state.bars.unsettle_since(asked.after_us)

    def _evaluate_probe(self, new: int, now_us: int, wall_s: float, *, undelivered: bool, since_us: int) -> None:
        """Distinguishes a halted market, where a probe returns nothing new, from a stream that delivers no trades.

        undelivered: some of the ``new`` trades are too old to be still on their way.
        """
        state = self._state
        if new and undelivered:
            state.sequencer.disable_fast_path()
            state.status.mark_stream_silent(new, now_us)
            state.begin_interruption(since_us, now_us)
        elif not new and state.staleness.silent_for_s(wall_s) > state.timeouts.halted_after_s:
            state.set_symbol_state(SymbolState.HALTED, now_us, "the venue confirms that nothing was traded")
