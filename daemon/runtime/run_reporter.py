"""Reports retraining runs: events, metrics, log, watchers, and the times that the schedule needs after a restart."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from daemon.clock import Clock
from daemon.publishing import event_payloads
from daemon.publishing.message_builder import MessageBuilder
from daemon.retraining.schedule import RetrainHistory
from daemon.retraining.watchers import RunWatchers
from daemon.runtime.promotion import RunResult
from daemon.serving.metrics import Metrics, seconds
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from models.specification import Progress

log = structlog.get_logger(__name__)

_LAST_SUCCESS, _LAST_ATTEMPT = "retrain_last_success_us", "retrain_last_attempt_us"


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended, as watchers and the control socket receive it.

    outcome: promoted, rejected, failed or cancelled. duration_s: wall time. finished_at_us: market time.
    """

    outcome: str
    reason: str
    model_id: str | None
    duration_s: float
    finished_at_us: int


class RunReporter:
    """``last_outcome`` is that of the last run, None before the first. on_progress: called for every progress."""

    def __init__(
        self,
        *,
        messages: MessageBuilder,
        metrics: Metrics,
        clock: Clock,
        ledger: Ledger,
        store: StoreThread,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._messages = messages
        self._metrics = metrics
        self._clock = clock
        self._ledger = ledger
        self._store = store
        self._on_progress = on_progress
        self.watchers = RunWatchers()
        self.last_outcome: RunOutcome | None = None

    def started(self, *, at_us: int, kind: str, reason: str) -> None:
        self._metrics.retrain_running.set(1)
        self._metrics.retrain_progress_ratio.set(0)
        self._messages.event(event_payloads.retrain_started(at_us=at_us, model_kind=kind, reason=reason))
        log.info("retrain_started", reason=reason, kind=kind)

    def progressed(self, progress: Progress) -> None:
        self._metrics.retrain_progress_ratio.set(progress.ratio)
        self._on_progress(progress)
        self.watchers.notify({"progress": msgspec.to_builtins(progress)})

    def ended(self) -> None:
        self._metrics.retrain_running.set(0)

    async def finished(self, run: RunResult, *, started_us: int, duration_s: float) -> RunOutcome:
        """started_us: market time; duration_s: wall time."""
        result, reason, model_id = run
        self._metrics.retrain_runs.labels(result).inc()
        self._metrics.retrain_duration.set(duration_s)
        if result == "promoted":
            self._metrics.retrain_last_success_timestamp.set(seconds(self._clock.market_us()))
            await self._store.call(self._ledger.set_meta, _LAST_SUCCESS, str(started_us))
        self._messages.event(
            event_payloads.retrain_finished(
                at_us=self._clock.market_us(), result=result, duration_s=duration_s, reason=reason, candidate=model_id
            )
        )
        log.info("retrain_finished", result=result, reason=reason, model=model_id, duration_s=round(duration_s, 1))
        self.last_outcome = RunOutcome(
            outcome=result,
            reason=reason,
            model_id=model_id,
            duration_s=round(duration_s, 1),
            finished_at_us=self._clock.market_us(),
        )
        self.watchers.notify(msgspec.to_builtins(self.last_outcome))
        return self.last_outcome

    async def note_attempt(self, started_us: int) -> None:
        """Stores the start of a run, so that a restart knows a failed attempt."""
        await self._store.call(self._ledger.set_meta, _LAST_ATTEMPT, str(started_us))

    async def past_runs(self) -> RetrainHistory:
        success = await self._store.read(self._ledger.meta, _LAST_SUCCESS)
        attempt = await self._store.read(self._ledger.meta, _LAST_ATTEMPT)
        return RetrainHistory(
            last_success_us=int(success) if success else None, last_attempt_us=int(attempt) if attempt else None
        )
