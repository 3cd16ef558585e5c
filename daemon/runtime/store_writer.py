"""Writes bars, trades and scores through the store's thread, in the order of the calls; losses are counted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

from daemon.errors import Retryable
from daemon.forecasting.records import Score
from daemon.forecasting.scoreboard import PendingChanges
from daemon.runtime.store_losses import StoreLosses
from daemon.store.backlog import Record
from daemon.store.coverage import TradeBatch, TradeCoverage
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from features.market import Bar

R = TypeVar("R")

# Estimated memory of one record.
_TRADE_BYTES, _BAR_BYTES, _SCORE_BYTES, _BATCH_BYTES = 200, 1_000, 500, 1_000


class StoreWriter:
    """The ledger's writes as calls that return at once; ``thread`` performs and retries them."""

    def __init__(self, ledger: Ledger, thread: StoreThread, losses: StoreLosses, *, interval_us: int) -> None:
        self._ledger = ledger
        self._thread = thread
        self._losses = losses
        # Refused batches are newer than those that wait, so each side keeps its own account.
        self._refused = TradeCoverage(interval_us)
        self._failed = TradeCoverage(interval_us)

    def trades(self, batches: Sequence[TradeBatch]) -> None:
        """Trades with the states that cover them, each pair in one transaction.

        After a loss the states stored later cover no lost trade; see ``TradeCoverage``.
        """
        storable = self._refused.storable(batches)
        self._count_skipped(batches, storable)
        if not storable:
            return
        count = sum(len(trades) for _, trades, _ in storable)
        size_bytes = count * _TRADE_BYTES + len(storable) * _BATCH_BYTES
        saved = self._thread.write(Record.TRADES, size_bytes, self._save_trades, storable)
        if saved.done() and isinstance(saved.exception(), Retryable):
            self._refused.lost(storable)
        self._watch(saved, Record.TRADES, count)

    def bar(self, bar: Bar) -> None:
        self._watch(self._thread.write(Record.BARS, _BAR_BYTES, self._ledger.save_bars, [bar]), Record.BARS, 1)

    def scores(self, scores: Sequence[Score], changes: PendingChanges) -> None:
        """Scores, in one transaction with what they change of pending forecasts and calibration."""
        pending_bytes = sum(map(len, changes.still_pending.values()))
        saved = self._thread.write(
            Record.SCORES,
            len(scores) * _SCORE_BYTES + pending_bytes,
            self._ledger.save_scores,
            list(scores),
            settled=changes.settled,
            still_pending=changes.still_pending,
            calibrations=changes.calibrations,
        )
        self._watch(saved, Record.SCORES, len(scores))

    def _save_trades(self, batches: Sequence[TradeBatch]) -> None:
        """In the store's thread."""
        storable = self._failed.storable(batches)
        self._count_skipped(batches, storable)
        if not storable:
            return
        try:
            self._ledger.save_trades_of(storable)
        except Retryable:
            raise  # tried again; where the thread ends first, no later batch is stored
        except Exception:  # whatever it is: the trades are lost for the store, which the error is raised to report
            self._failed.lost(storable)
            raise

    def _count_skipped(self, batches: Sequence[TradeBatch], storable: Sequence[TradeBatch]) -> None:
        skipped = sum(len(trades) for _, trades, _ in batches) - sum(len(trades) for _, trades, _ in storable)
        if skipped:
            reason = Retryable("earlier trades of the same bar were lost")
            self._losses.record(Record.TRADES, skipped, reason)

    def _watch(self, saved: Future[R], record: Record, count: int) -> None:
        def note(future: Future[R]) -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                self._losses.record(record, count, error)

        saved.add_done_callback(note)
