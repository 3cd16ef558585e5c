"""One retraining run at a time: a snapshot of the stored bars, the training process, then promotion.

The training process gets the bars as Parquet files, one an instrument, and leaves an artifact. Loading verifies it
(hashes, feature schema, finite weights, parity); an artifact that passes is promoted between two rounds.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import structlog

from daemon.clock import Clock
from daemon.config import Config
from daemon.errors import ForecastdError, Retryable
from daemon.retraining.child import State
from daemon.retraining.supervisor import RetrainSupervisor
from daemon.retraining.training_spec import training_spec
from daemon.runtime.history_loader import HistoryLoader
from daemon.runtime.promotion import ModelPromoter, RunResult
from daemon.runtime.run_reporter import RunOutcome, RunReporter
from models.specification import NETWORK_KINDS

log = structlog.get_logger(__name__)


class RetrainRefused(Retryable):
    """A retraining cannot start now."""


class Retrainer:
    """Starts runs, follows them to their outcome and promotes what passes.

    config: replaced when a reload changes it. time_budget_s: wall time of one training at most; None for no limit.
    """

    def __init__(
        self,
        config: Config,
        *,
        promoter: ModelPromoter,
        history: HistoryLoader,
        reporter: RunReporter,
        clock: Clock,
        time_budget_s: float | None = None,
    ) -> None:
        self.config = config
        self.reporter = reporter
        self._promoter = promoter
        self._history = history
        self._clock = clock
        self._time_budget_s = time_budget_s
        self._run_dir = config.instance.state_dir / "retraining"
        self._starting = False
        self._cancelled = False
        self.supervisor = RetrainSupervisor(
            run_dir=self._run_dir,
            models_dir=promoter.registry.root,
            clock=clock,
            on_progress=reporter.progressed,
        )

    @property
    def running(self) -> bool:
        return self._starting or self.supervisor.status.running

    async def retrain(self, reason: str) -> RunOutcome:
        """Performs one whole run. Its outcome also goes to watchers. Raises RetrainRefused while another runs."""
        if self.running:
            raise RetrainRefused("a retraining is running already; watch it with forecastd status")
        self._starting, self._cancelled = True, False
        kind = self.config.model.kind
        started_s, started_us = self._clock.wall_s(), self._clock.market_us()
        self.reporter.started(at_us=started_us, kind=kind, reason=reason)
        try:
            await self.reporter.note_attempt(started_us)
            run = await self._run(kind)
        except (ForecastdError, OSError) as error:
            run = RunResult("failed", str(error), None)
        except Exception as error:  # a defect in a run must not end the daemon
            log.warning("retrain_defect", exc_info=True)
            run = RunResult("failed", repr(error), None)
        finally:
            self._starting = False
            self.reporter.ended()
        return await self.reporter.finished(run, started_us=started_us, duration_s=self._clock.wall_s() - started_s)

    def cancel(self) -> bool:
        """Asks the current run to stop, also before its process exists; False where none runs."""
        self._cancelled = True
        self.supervisor.cancel()
        return self.running

    async def _run(self, kind: str) -> RunResult:
        if kind not in NETWORK_KINDS:
            info = await self._promoter.refit()
            if info is None:
                return RunResult("failed", "the history is too short to fit a model", None)
            self._promoter.announce(info, scores={})
            return RunResult("promoted", "refitted on the stored history", info.id)
        data = self._run_dir / "bars"
        await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)  # of a run that was killed
        data.mkdir(parents=True)
        if not await self._history.write_files(self.config.instruments, self._clock.market_us(), data):
            return RunResult("failed", "the store holds no bars yet; import or fetch history first", None)
        try:
            if self._cancelled:
                return RunResult(State.CANCELLED.value, "cancelled on request", None)
            parent = self._promoter.champion_name()
            spec = training_spec(self.config, data, self._promoter.registry, parent)
            await self.supervisor.start(replace(spec, time_budget_s=self._time_budget_s))
            outcome = await self.supervisor.wait()
        finally:
            await asyncio.to_thread(shutil.rmtree, data, ignore_errors=True)
        if outcome.state is not State.FINISHED or outcome.artifact is None:
            return RunResult(outcome.state.value, outcome.reason or "no reason was given", None)
        return await self._promoter.promote(Path(outcome.artifact), scores=outcome.scores)
