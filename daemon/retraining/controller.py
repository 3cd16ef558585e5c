"""When and from what the model is trained again, and what happens with the result.

A run gets a snapshot of the ledger's bars as one Parquet file, trains in a process of its own, and leaves an
artifact; loading verifies it (hashes, feature schema, NaN, parity), then it is promoted between two bars.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import structlog

from daemon.clock import Clock
from daemon.config import Config
from daemon.errors import ForecastdError, Retryable
from daemon.forecasting.inference import Inference
from daemon.publishing import payloads
from daemon.publishing.message_builder import MessageBuilder
from daemon.retraining.child import State
from daemon.retraining.schedule import RetrainHistory, RetrainSchedule
from daemon.retraining.supervisor import RetrainOutcome, RetrainSupervisor
from daemon.runtime.dispatcher import Dispatcher
from daemon.runtime.history_loader import History
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics, seconds
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from models.artifacts.artifact import ArtifactError
from models.artifacts.registry import Registry
from models.forecast import ModelInfo
from models.overrides import Overrides
from models.specification import NETWORK_KINDS, Progress, TrainingSpec

log = structlog.get_logger(__name__)

_SCHEDULE_S = 0.5
_MOST_WAITING_UPDATES = 256  # progress lines that a slow watcher may be behind before it loses some


class RetrainRefused(Retryable):
    """A retraining cannot start now."""


class Trainer:
    """Owns the retraining: starts runs, follows them, promotes what passes."""

    def __init__(
        self,
        *,
        config: Config,
        registry: Registry,
        run_dir: Path,
        dispatcher: Dispatcher,
        inference: Inference,
        history: History,
        mailbox: MessageBuilder,
        metrics: Metrics,
        health: Health,
        clock: Clock,
        ledger: Ledger,
        store: StoreThread,
        on_progress: Callable[[Progress], None],
        time_budget_s: float | None = None,
    ) -> None:
        self.config = config
        self._time_budget_s = time_budget_s
        self.registry = registry
        self._run_dir = run_dir
        self._dispatcher = dispatcher
        self._inference = inference
        self._history = history
        self._mailbox = mailbox
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._ledger = ledger
        self._store = store
        self._on_progress = on_progress
        self._watchers: set[asyncio.Queue[dict[str, Any]]] = set()
        self._starting = False
        self._cancelled = False
        self._started_us = clock.market_us()
        self._jitter = random.random()
        self.supervisor = RetrainSupervisor(
            run_dir=run_dir,
            models_dir=registry.root,
            clock=clock,
            on_progress=self._progressed,
            on_finished=lambda _outcome: None,
        )
        self.last_result: dict[str, Any] | None = None
        self.next_at_us: int | None = None
        self.loaded_at_us: int | None = None
        self._needs_model = False

    @property
    def running(self) -> bool:
        return self._starting or self.supervisor.status.running

    # ---------------------------------------------------------------- runs

    async def retrain(self, reason: str) -> dict[str, Any]:
        """One whole run: snapshot, training, promotion. Returns the outcome, which is also told to watchers."""
        if self.running:
            raise RetrainRefused("a retraining is running already; watch it with forecastd status")
        self._starting, self._cancelled = True, False
        kind = self.config.model.kind
        started_s, started_us = self._clock.wall_s(), self._clock.market_us()
        self._metrics.retrain_running.set(1)
        self._metrics.retrain_progress_ratio.set(0)
        self._mailbox.event(payloads.retrain_started(at_us=started_us, model_kind=kind, reason=reason))
        log.info("retrain_started", reason=reason, kind=kind)
        try:
            await self._store.call(self._ledger.set_meta, "retrain_last_attempt_us", str(started_us))
            result, detail, model_id = await self._run(kind)
        except (ForecastdError, OSError) as error:
            result, detail, model_id = "failed", str(error), None
        except Exception as error:  # whatever a run meets, it ends as failed and the daemon goes on
            log.warning("retrain_defect", exc_info=True)
            result, detail, model_id = "failed", repr(error), None
        finally:
            self._starting = False
            self._metrics.retrain_running.set(0)
        duration_s = self._clock.wall_s() - started_s
        self._metrics.retrain_runs.labels(result).inc()
        self._metrics.retrain_duration.set(duration_s)
        if result == "promoted":
            self._metrics.retrain_last_success_timestamp.set(seconds(self._clock.market_us()))
            await self._store.call(self._ledger.set_meta, "retrain_last_success_us", str(started_us))
        self._mailbox.event(
            payloads.retrain_finished(
                at_us=self._clock.market_us(), result=result, duration_s=duration_s, reason=detail, candidate=model_id
            )
        )
        log.info("retrain_finished", result=result, reason=detail, model=model_id, duration_s=round(duration_s, 1))
        outcome = {
            "outcome": result,
            "reason": detail,
            "model_id": model_id,
            "duration_s": round(duration_s, 1),
            "finished_at_us": self._clock.market_us(),
        }
        self.last_result = outcome
        self._tell(outcome)
        return outcome

    def cancel(self) -> bool:
        """Asks the current run to stop, also while it has no process yet; False where none runs."""
        self._cancelled = True
        self.supervisor.cancel()
        return self.running

    async def _run(self, kind: str) -> tuple[str, str, str | None]:
        """Result (promoted, rejected, failed, cancelled), why, and the model's id."""
        if kind not in NETWORK_KINDS:
            info = await self.refit()
            if info is None:
                return "failed", "the history is too short to fit a model", None
            self.announce_model(info, scores={})
            return "promoted", "refitted on the stored history", info.id
        bars = await self._history.frame(self.config.instruments, self._clock.market_us())
        if bars.is_empty():
            return "failed", "the store holds no bars yet; import or fetch history first", None
        self._run_dir.mkdir(parents=True, exist_ok=True)
        data_file = self._run_dir / "bars.parquet"
        await asyncio.to_thread(bars.write_parquet, data_file)
        try:
            if self._cancelled:
                return State.CANCELLED.value, "cancelled on request", None
            spec = training_spec(self.config, data_file, self.registry, self._champion_name())
            await self.supervisor.start(replace(spec, time_budget_s=self._time_budget_s))
            outcome = await self.supervisor.wait()
        finally:
            data_file.unlink(missing_ok=True)
        if outcome.state is not State.FINISHED or outcome.artifact is None:
            return outcome.state.value, outcome.reason or "no reason was given", None
        return await self._promote(Path(outcome.artifact), outcome)

    async def _promote(self, artifact: Path, outcome: RetrainOutcome) -> tuple[str, str, str | None]:
        try:
            info = await self._dispatcher.between_bars(lambda: self._inference.load_champion(artifact))
        except (ArtifactError, ForecastdError, ValueError, RuntimeError) as error:
            # torch reports a model that it cannot put on the device as RuntimeError; the daemon goes on as it was.
            self._mailbox.event(
                payloads.model_rejected(at_us=self._clock.market_us(), candidate=artifact.name, reasons=[str(error)])
            )
            return "rejected", str(error), artifact.name
        assert info is not None, "a loaded artifact names its model"
        previous = self._champion_name()
        self.registry.promote(artifact)
        self.registry.prune()
        self._health.clear_fault("champion")
        self.announce_model(info, scores=outcome.scores)
        reason = "the artifact passed hash, schema, NaN and parity checks"
        self._mailbox.event(
            payloads.model_promoted(at_us=self._clock.market_us(), info=info, previous_id=previous, reason=reason)
        )
        return "promoted", reason, info.id

    async def refit(self) -> ModelInfo | None:
        """Loads the whole history into the buffer and fits the baselines anew, between two bars."""

        async def load() -> ModelInfo | None:
            end_us = self._dispatcher.forecast_until_us or self._clock.market_us()
            await self._inference.load_history(await self._history.frame(self.config.instruments, end_us))
            return self._inference.model

        return await self._dispatcher.between_bars(load)

    def announce_model(self, info: ModelInfo, *, scores: Mapping[str, Any]) -> None:
        """Says which model serves, retained and in metrics."""
        now_us = self.loaded_at_us = self._clock.market_us()
        self._metrics.model_loaded(info, at_us=now_us)
        self._mailbox.model(info, payloads.model(info, promoted_at_us=now_us, scores=scores))

    def _champion_name(self) -> str | None:
        try:
            champion = self.registry.champion()
        except ArtifactError:
            return None  # the pointer names a folder that is gone: nothing precedes the new champion
        return champion.name if champion else None

    # ---------------------------------------------------------------- who watches

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        """Progress of the current run and, last, its outcome."""
        updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MOST_WAITING_UPDATES)
        self._watchers.add(updates)
        try:
            while True:
                update = await updates.get()
                yield update
                if "outcome" in update:
                    return
        finally:
            self._watchers.discard(updates)

    def _progressed(self, progress: Progress) -> None:
        self._metrics.retrain_progress_ratio.set(progress.ratio)
        self._on_progress(progress)
        self._tell({"progress": msgspec.to_builtins(progress)})

    def _tell(self, update: dict[str, Any]) -> None:
        for updates in self._watchers:
            if updates.full():
                updates.get_nowait()
            updates.put_nowait(update)

    # ---------------------------------------------------------------- quiet before a bar closes

    async def keep_quiet_before_closes(self, next_close_us: Callable[[], int]) -> None:
        """Halts training from shortly before each bar's end until its forecast is out, for ever."""
        interval_us = self.config.bars.interval_us
        bar_wall_s = interval_us / 1e6 / self._clock.speed
        quiet_s = min(self.config.retrain.quiet_before_close_s, bar_wall_s / 10)
        while True:
            left_s = (next_close_us() - self._clock.market_us()) / 1e6 / self._clock.speed
            if left_s <= quiet_s:
                self.supervisor.pause()
            else:
                self.supervisor.resume()
            await asyncio.sleep(min(max(left_s - quiet_s, 0.02), 1.0))

    # ---------------------------------------------------------------- when

    async def next_run_us(self) -> int | None:
        """The market time of the next run; None where none is planned."""
        retrain = self.config.retrain
        schedule = RetrainSchedule(
            every_s=retrain.every.seconds if retrain.every else None,
            at=f"{retrain.at:%H:%M}" if retrain.at else None,
            jitter_s=min(60.0, self.config.bars.interval_us / 1e6 / 10),
        )
        return schedule.next_run_us(await self._past_runs(), started_us=self._started_us, jitter=self._jitter)

    async def run_schedule(self) -> None:
        """Retrains when it is due, for ever; at once where there is no model to serve."""
        while True:
            due_us = await self.next_run_us()
            self.next_at_us = due_us
            if self._needs_model and not self.running:
                self._needs_model = False
                await self.retrain("there is no model to serve yet")
            elif due_us is not None and self._clock.market_us() >= due_us and not self.running:
                await self.retrain("it is due")
            await asyncio.sleep(_SCHEDULE_S)

    def need_model(self) -> None:
        """Says that no champion can be served: the schedule trains one at once."""
        self._needs_model = True

    async def _past_runs(self) -> RetrainHistory:
        success = await self._store.call(self._ledger.meta, "retrain_last_success_us")
        attempt = await self._store.call(self._ledger.meta, "retrain_last_attempt_us")
        return RetrainHistory(
            last_success_us=int(success) if success else None, last_attempt_us=int(attempt) if attempt else None
        )


def training_spec(
    config: Config, data_file: Path, registry: Registry, parent: str | None, *, kind: str | None = None
) -> TrainingSpec:
    """What the configuration says about training, for one run over ``data_file``; ``kind`` for another network.

    Raises ValueError for a kind that is not trained.
    """
    model = config.model
    # Preset and overrides are the configured network's: another one may not have them.
    overrides = model.overrides if kind in {None, model.kind} else ()
    kind, preset = (model.kind, model.preset) if kind in {None, model.kind} else (kind, "auto")
    return TrainingSpec(
        data_file=data_file,
        output_dir=registry.artifacts_dir,
        kind=kind,
        preset=preset,
        overrides=Overrides.parse(overrides),
        interval_us=config.bars.interval_us,
        horizons=model.horizons,
        levels=model.quantiles,
        window=config.features.window,
        device=model.device,
        parent=parent,
    )
