"""Retraining in the daemon: one run at a time, followed, cancelled, promoted or rejected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import polars as pl
import pytest

from daemon.config import load_config
from daemon.errors import Retryable
from daemon.forecasting.inference import Inference
from daemon.retraining.training_spec import training_spec
from daemon.runtime.history_loader import HistoryLoader
from daemon.runtime.promotion import ModelPromoter
from daemon.runtime.retrain_job import RetrainJob
from daemon.runtime.retrainer import Retrainer, RetrainRefused
from daemon.runtime.run_reporter import RunReporter
from features.market import HOUR_US, Instrument
from models.artifacts.artifact import ArtifactError
from models.artifacts.registry import Registry
from models.forecast import ModelInfo
from tests.daemon.forecasting.forecast_builders import START_US
from tests.daemon.publishing.harness import TOPICS, eventually
from tests.daemon.retraining.programs import HANG, SUCCESS, command
from tests.daemon.runtime.dispatching import DispatcherSetup
from tests.daemon.runtime.dispatching import dispatcher_setup as opened_desk

BARS = pl.DataFrame({"close": [1.0, 2.0]})


class FakeHistory:
    """Stored history; a snapshot waits for ``go_on`` and raises ``error``."""

    def __init__(self) -> None:
        self.bars = BARS
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def recent_frame(self, instruments: Sequence[Instrument], end_us: int) -> pl.DataFrame:
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return self.bars

    async def write_files(self, instruments: Sequence[Instrument], end_us: int, folder: Path) -> int:
        bars = await self.recent_frame(instruments, end_us)
        if bars.is_empty():
            return 0
        bars.write_parquet(folder / "00000.parquet")
        return 1


class FakeInference:
    """Serves every champion, or raises ``error``."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.served: list[str] = []
        self.model: ModelInfo | None = None

    async def load_history(self, bars: pl.DataFrame) -> None:
        self.model = ModelInfo(id="har-1", kind="har", trained_until_us=START_US)

    async def load_champion(self, path: Path) -> ModelInfo:
        if self.error is not None:
            raise self.error
        self.served.append(path.name)
        return ModelInfo(id=path.name, kind="attention_lstm", trained_until_us=START_US)


class Setup:
    """A retrainer whose training processes run small programs."""

    def __init__(self, dispatcher_setup: DispatcherSetup, folder: Path, **keys: Any) -> None:
        self.folder = folder
        self.dispatcher_setup = dispatcher_setup
        self.history, self.inference = FakeHistory(), FakeInference()
        self.config = load_config(
            None,
            command_line={"instance.state_dir": str(folder), "retrain.every": "6h"}
            | {name.replace("__", "."): value for name, value in keys.items()},
            environ={},
        )
        self.registry = Registry(folder / "models")
        self.promoter = ModelPromoter(
            self.registry,
            instruments=self.config.instruments,
            rounds=dispatcher_setup.rounds,
            inference=cast("Inference", self.inference),
            history=cast("HistoryLoader", self.history),
            reporting=dispatcher_setup.reporting,
        )
        reporter = RunReporter(
            messages=dispatcher_setup.messages,
            metrics=dispatcher_setup.metrics,
            clock=dispatcher_setup.clock,
            ledger=dispatcher_setup.ledger,
            store=dispatcher_setup.store,
            on_progress=lambda _progress: None,
        )
        self.retrainer = Retrainer(
            self.config,
            promoter=self.promoter,
            history=cast("HistoryLoader", self.history),
            reporter=reporter,
            clock=dispatcher_setup.clock,
        )
        self.job = RetrainJob(self.retrainer, dispatcher_setup.clock)
        self.runs(SUCCESS)

    def runs(self, program: str) -> None:
        self.retrainer.supervisor._command = tuple(command(self.folder, program))

    def events(self) -> list[dict[str, Any]]:
        """The newest event of each kind."""
        sent = self.dispatcher_setup.waiting()
        return [msgspec.json.decode(payload) for topic, payload in sent.items() if "/event/" in topic]

    def event(self, kind: str) -> dict[str, Any]:
        (found,) = [each for each in self.events() if each["kind"] == kind]
        return found


@pytest.fixture
async def dispatcher_setup(tmp_path: Path) -> AsyncIterator[DispatcherSetup]:
    async with opened_desk(tmp_path) as made:
        yield made


@pytest.fixture
def setup(dispatcher_setup: DispatcherSetup, tmp_path: Path) -> Setup:
    return Setup(dispatcher_setup, tmp_path)


async def test_a_finished_model_is_served_and_becomes_the_champion(setup: Setup) -> None:
    """Snapshot, process, artifact, promotion; the snapshot is gone afterwards."""
    outcome = await setup.retrainer.retrain("asked for")
    assert outcome.outcome == "promoted"
    assert setup.inference.served == ["artifact-1"]
    champion = setup.registry.champion()
    assert champion is not None
    assert champion.name == outcome.model_id == "artifact-1"
    assert not (setup.folder / "retraining" / "bars").exists()
    assert {each["kind"] for each in setup.events()} == {"retrain_started", "retrain_finished", "model_promoted"}
    assert setup.dispatcher_setup.ledger.meta("retrain_last_success_us") == str(setup.dispatcher_setup.clock.now_us)


@pytest.mark.parametrize("error", [ArtifactError("parity is off"), ValueError("other horizons")], ids=repr)
async def test_an_artifact_that_cannot_be_loaded_is_rejected(setup: Setup, error: Exception) -> None:
    """The previous champion stays, and the event has the reason."""
    setup.inference.error = error
    outcome = await setup.retrainer.retrain("asked for")
    assert (outcome.outcome, outcome.reason) == ("rejected", str(error))
    assert setup.registry.champion() is None
    assert setup.event("model_rejected")["reasons"] == [str(error)]


async def test_one_run_at_a_time(setup: Setup) -> None:
    """A second command is refused at once, and the first run continues."""
    setup.history.go_on.clear()
    first = asyncio.create_task(setup.retrainer.retrain("asked for"))
    await asyncio.sleep(0.01)
    with pytest.raises(RetrainRefused, match="running already"):
        await setup.retrainer.retrain("asked for")
    setup.history.go_on.set()
    assert (await first).outcome == "promoted"


async def test_a_run_can_be_cancelled_before_its_process_starts(setup: Setup) -> None:
    """While the history is read there is no process to stop; none is started either."""
    setup.history.go_on.clear()
    run = asyncio.create_task(setup.retrainer.retrain("asked for"))
    await asyncio.sleep(0.01)
    assert setup.retrainer.cancel()
    setup.history.go_on.set()
    assert (await run).outcome == "cancelled"
    assert setup.inference.served == []
    assert not setup.retrainer.cancel()
    assert (await setup.retrainer.retrain("asked for")).outcome == "promoted"


async def test_watchers_get_progress_and_the_outcome(setup: Setup) -> None:
    """Each watcher gets the same, and its stream ends with the outcome."""

    async def watched() -> list[dict[str, Any]]:
        return [update async for update in setup.retrainer.reporter.watchers.watch()]

    watching = [asyncio.create_task(watched()) for _ in range(2)]
    await asyncio.sleep(0)
    outcome = await setup.retrainer.retrain("asked for")
    for updates in await asyncio.gather(*watching):
        assert [update["progress"]["ratio"] for update in updates[:-1]] == [0.25, 0.75]
        assert updates[-1] == msgspec.to_builtins(outcome)


async def test_a_failing_store_ends_the_run_with_its_reason(setup: Setup) -> None:
    """No watcher waits without end: the outcome is failed, with the reason."""
    setup.history.error = Retryable("disk full")
    watching = asyncio.create_task(anext(setup.retrainer.reporter.watchers.watch()))
    await asyncio.sleep(0)
    outcome = await setup.retrainer.retrain("it is due")
    assert (outcome.outcome, outcome.reason) == ("failed", "disk full")
    assert await watching == msgspec.to_builtins(outcome)
    assert not setup.retrainer.running


async def test_a_defect_in_a_run_is_a_failed_run(setup: Setup) -> None:
    """After an unexpected error the daemon continues and the watchers get the outcome."""
    setup.history.error = ZeroDivisionError("a defect")
    watching = asyncio.create_task(anext(setup.retrainer.reporter.watchers.watch()))
    await asyncio.sleep(0)
    outcome = await setup.retrainer.retrain("it is due")
    assert outcome.outcome == "failed"
    assert "a defect" in outcome.reason
    assert await watching == msgspec.to_builtins(outcome)
    assert not setup.retrainer.running


async def test_without_bars_there_is_nothing_to_train_on(setup: Setup) -> None:
    """The reason names the cure."""
    setup.history.bars = BARS.clear()
    outcome = await setup.retrainer.retrain("asked for")
    assert outcome.outcome == "failed"
    assert "import or fetch" in outcome.reason


async def test_a_baseline_is_refitted(dispatcher_setup: DispatcherSetup, tmp_path: Path) -> None:
    """For a kind without a network retraining is a fit of the stored history, and it is announced."""
    setup = Setup(dispatcher_setup, tmp_path, model__kind="har")
    outcome = await setup.retrainer.retrain("asked for")
    assert (outcome.outcome, outcome.model_id) == ("promoted", "har-1")
    assert TOPICS.model in dispatcher_setup.waiting()


async def test_the_schedule_trains_at_once_where_no_model_can_be_served(setup: Setup) -> None:
    """``request_model`` does not wait until the next run is due."""
    setup.runs(HANG)
    setup.job.request_model()
    schedule = asyncio.create_task(setup.job.run_schedule())
    await eventually(lambda: setup.retrainer.supervisor.status.progress is not None)
    setup.retrainer.supervisor.cancel()
    await setup.retrainer.supervisor.close()
    schedule.cancel()
    await asyncio.gather(schedule, return_exceptions=True)


async def test_the_schedule_goes_by_market_time(setup: Setup) -> None:
    """Six hours after the last success, with a little jitter; nothing is due before."""
    setup.dispatcher_setup.ledger.set_meta("retrain_last_success_us", str(setup.dispatcher_setup.clock.now_us))
    setup.dispatcher_setup.ledger.set_meta("retrain_last_attempt_us", str(setup.dispatcher_setup.clock.now_us))
    due_us = await setup.job.next_run_us()
    assert due_us is not None
    assert 0 <= due_us - setup.dispatcher_setup.clock.now_us - 6 * HOUR_US <= 60_000_000


async def test_training_is_quiet_before_a_bar_closes(setup: Setup) -> None:
    """It is halted from shortly before the close until the next bar is well under way."""
    setup.runs(HANG)
    run = asyncio.create_task(setup.retrainer.retrain("asked for"))
    await eventually(lambda: setup.retrainer.supervisor.status.progress is not None)
    close_us = setup.dispatcher_setup.clock.now_us + 10_000_000
    quiet = asyncio.create_task(setup.job.pause_around_closes(lambda: close_us))
    await eventually(lambda: setup.retrainer.supervisor.status.paused)
    close_us += HOUR_US
    await eventually(lambda: not setup.retrainer.supervisor.status.paused)
    quiet.cancel()
    await setup.retrainer.supervisor.close()
    await asyncio.gather(quiet, run, return_exceptions=True)


async def test_the_specification_follows_the_configuration(dispatcher_setup: DispatcherSetup, tmp_path: Path) -> None:
    """Every configured value reaches the training process."""
    setup = Setup(
        dispatcher_setup,
        tmp_path,
        model__horizons=[1, 5],
        model__preset="small",
        model__device="cpu",
        features__window=24,
    )
    spec = training_spec(setup.config, tmp_path / "bars.parquet", setup.registry, "parent-1")
    assert (spec.horizons, spec.preset, spec.device, spec.window, spec.parent) == (
        (1, 5),
        "small",
        "cpu",
        24,
        "parent-1",
    )
    assert spec.interval_us == HOUR_US
    assert spec.levels == setup.config.model.quantiles
    assert spec.output_dir == setup.registry.artifacts_dir
