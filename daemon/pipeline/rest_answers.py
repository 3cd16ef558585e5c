"""REST answers of one instrument: snapshots, repairs, candles and failed requests. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.pipeline.continuity import MissingRange
from daemon.pipeline.events import RepairReason, SymbolState
from daemon.pipeline.instrument_state import InstrumentState
from features.market import Bar, Trade


class RestAnswers:
    """Applies the answers to the pipeline's requests to ``state``."""

    def __init__(self, state: InstrumentState) -> None:
        self._state = state

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
        """Starts the sequence at ``from_time_us``: the answer to a SnapshotRequested.

        page: the venue's first trades at or after that time.
        latest: where the page is empty, the newest trade or the last one before that time; None where the instrument
        never traded.
        complete: whether the page lacks no trade of its first interval; otherwise that bar can never be proven.
        """
        state = self._state
        if not page and latest is not None and latest.time_us >= from_time_us:
            self.request_failed("trades came while the start was asked for", now_us, wall_s)
            return
        state.recovery.request_ended(helped=True, wall_s=wall_s)
        state.start_from_snapshot(
            page,
            latest,
            from_time_us=from_time_us,
            covered_from_us=from_time_us if complete else from_time_us + state.bars.interval_us,
            now_us=now_us,
            wall_s=wall_s,
        )

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
        """The answer to a RepairRequested. ``asked_at_us`` is market time before the request.

        head_reached: the answer goes up to the newest trade. complete: it left out no requested trade.
        """
        state = self._state
        continuity, reason, asked = state.continuity, state.recovery.repair_reason, state.recovery.repair_range
        assert continuity is not None, f"{state.instrument} was repaired before its sequence started"
        if asked is None:  # the request timed out before, and its trades are still of use
            state.admit(trades, now_us)
            return
        was_complete = continuity.complete
        new = state.admit(trades, now_us)
        continuity.record_answer(asked, head_reached=head_reached, complete=complete, asked_at_us=asked_at_us)
        if head_reached:
            state.catching_up = state.catching_up and not continuity.complete
        helped = new > 0 or (head_reached and complete and reason is not RepairReason.GAP)
        state.recovery.request_ended(helped=helped or (not was_complete and continuity.complete), wall_s=wall_s)
        if not state.contiguous_ids:
            self._note_without_ids(reason, asked, new, complete=complete, asked_at_us=asked_at_us)
        state.close_bars(now_us)
        if reason is RepairReason.PROBE:
            since_us = asked_at_us if complete else asked.after_us
            old_us = asked_at_us - state.timeouts.undelivered_age_us
            undelivered = not complete or any(trade.time_us < old_us for trade in trades)
            self._evaluate_probe(new, now_us, wall_s, undelivered=undelivered, since_us=since_us)

    def candle_received(self, candle: Bar | None, now_us: int, wall_s: float) -> None:
        """The answer to a CandleRequested: the venue's candle, or None where it has none yet."""
        state = self._state
        state.recovery.request_ended(helped=candle is not None, wall_s=wall_s)
        if candle is not None:
            state.bars.set_candle(candle)
        state.close_bars(now_us)

    def candles_unavailable(self, wall_s: float) -> None:
        """The venue has no candles that fit the interval: a gap remains a gap."""
        self._state.recovery.candles_unavailable()
        self._state.recovery.request_ended(helped=False, wall_s=wall_s)

    def request_failed(self, reason: str, now_us: int, wall_s: float) -> None:
        """The request in flight failed; it is made again after a pause."""
        state = self._state
        state.recovery.request_ended(helped=False, wall_s=wall_s)
        if state.continuity is None:
            state.set_symbol_state(SymbolState.WARMING_UP, now_us, f"the venue could not be asked: {reason}")
        elif state.staleness.silent_for_s(wall_s) > state.timeouts.stale_after_s:
            state.set_symbol_state(SymbolState.STALE, now_us, f"no trades and no answer from the venue: {reason}")

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
