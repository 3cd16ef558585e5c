"""Retraining from the daemon's side: started once, followed, cancelled, promoted or turned away."""

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
from daemon.retraining.controller import RetrainRefused, Trainer, training_spec
from daemon.runtime.history_loader import History
from features.market import HOUR_US, Instrument
from models.artifacts.artifact import ArtifactError
from models.artifacts.registry import Registry
from models.forecast import ModelInfo
from tests.daemon.forecasting.moments import START_US
from tests.daemon.publishing.harness import TOPICS, eventually
from tests.daemon.retraining.programs import HANG, SUCCESS, command
from tests.daemon.runtime.test_dispatcher import Desk
from tests.daemon.runtime.test_dispatcher import desk as opened_desk

BARS = pl.DataFrame({"close": [1.0, 2.0]})


class FakeHistory:
    """What the store holds; ``go_on`` lets a snapshot wait, ``error`` lets it fail."""

    def __init__(self) -> None:
        self.bars = BARS
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def frame(self, instruments: Sequence[Instrument], end_us: int) -> pl.DataFrame:
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return self.bars


class FakeInference:
    """Serves what it is told to, or refuses with ``error``."""

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


class Gym:
    """A trainer whose training processes run small programs."""

    def __init__(self, desk: Desk, folder: Path, **keys: Any) -> None:
        self.folder = folder
        self.desk = desk
        self.history, self.inference = FakeHistory(), FakeInference()
        self.config = load_config(
            None,
            command_line={"instance.state_dir": str(folder), "retrain.every": "6h"}
            | {name.replace("__", "."): value for name, value in keys.items()},
            environ={},
        )
        self.registry = Registry(folder / "models")
        self.trainer = Trainer(
            config=self.config,
            registry=self.registry,
            run_dir=folder / "retraining",
            dispatcher=desk.dispatcher,
            inference=cast("Inference", self.inference),
            history=cast("History", self.history),
            mailbox=desk.mailbox,
            metrics=desk.metrics,
            health=desk.health,
            clock=desk.clock,
            ledger=desk.ledger,
            store=desk.store,
            on_progress=lambda _progress: None,
        )
        self.runs(SUCCESS)

    def runs(self, program: str) -> None:
        self.trainer.supervisor._command = tuple(command(self.folder, program))

    def events(self) -> list[dict[str, Any]]:
        """The newest event of each kind."""
        sent = self.desk.waiting()
        return [msgspec.json.decode(payload) for topic, payload in sent.items() if "/event/" in topic]

    def event(self, kind: str) -> dict[str, Any]:
        (found,) = [each for each in self.events() if each["kind"] == kind]
        return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_desk(tmp_path) as made:
        yield made


@pytest.fixture
def gym(desk: Desk, tmp_path: Path) -> Gym:
    return Gym(desk, tmp_path)


async def test_a_finished_model_is_served_and_becomes_the_champion(gym: Gym) -> None:
    """Snapshot, process, artifact, promotion; the snapshot is gone afterwards."""
    outcome = await gym.trainer.retrain("asked for")
    assert outcome["outcome"] == "promoted"
    assert gym.inference.served == ["artifact-1"]
    champion = gym.registry.champion()
    assert champion is not None
    assert champion.name == outcome["model_id"] == "artifact-1"
    assert not (gym.folder / "retraining" / "bars.parquet").exists()
    assert {each["kind"] for each in gym.events()} == {"retrain_started", "retrain_finished", "model_promoted"}
    assert gym.desk.ledger.meta("retrain_last_success_us") == str(gym.desk.clock.now_us)


@pytest.mark.parametrize("error", [ArtifactError("parity is off"), ValueError("other horizons")], ids=repr)
async def test_an_artifact_that_must_not_be_served_is_turned_away(gym: Gym, error: Exception) -> None:
    """The champion before it stays, and the reason is said."""
    gym.inference.error = error
    outcome = await gym.trainer.retrain("asked for")
    assert (outcome["outcome"], outcome["reason"]) == ("rejected", str(error))
    assert gym.registry.champion() is None
    assert gym.event("model_rejected")["reasons"] == [str(error)]


async def test_one_run_at_a_time(gym: Gym) -> None:
    """A second order is refused at once, and the first goes on."""
    gym.history.go_on.clear()
    first = asyncio.create_task(gym.trainer.retrain("asked for"))
    await asyncio.sleep(0.01)
    with pytest.raises(RetrainRefused, match="running already"):
        await gym.trainer.retrain("asked for")
    gym.history.go_on.set()
    assert (await first)["outcome"] == "promoted"


async def test_a_run_can_be_cancelled_before_its_process_starts(gym: Gym) -> None:
    """While the history is read there is no process to stop; none is started either."""
    gym.history.go_on.clear()
    run = asyncio.create_task(gym.trainer.retrain("asked for"))
    await asyncio.sleep(0.01)
    assert gym.trainer.cancel()
    gym.history.go_on.set()
    assert (await run)["outcome"] == "cancelled"
    assert gym.inference.served == []
    assert not gym.trainer.cancel()
    assert (await gym.trainer.retrain("asked for"))["outcome"] == "promoted"


async def test_whoever_watches_hears_progress_and_the_outcome(gym: Gym) -> None:
    """Each watcher gets the same, and its stream ends with the outcome."""

    async def watched() -> list[dict[str, Any]]:
        return [update async for update in gym.trainer.watch()]

    watching = [asyncio.create_task(watched()) for _ in range(2)]
    await asyncio.sleep(0)
    outcome = await gym.trainer.retrain("asked for")
    for updates in await asyncio.gather(*watching):
        assert [update["progress"]["ratio"] for update in updates[:-1]] == [0.25, 0.75]
        assert updates[-1] == outcome


async def test_a_store_that_fails_ends_the_run_and_is_told(gym: Gym) -> None:
    """No watcher waits for ever: the outcome is failed, with the reason."""
    gym.history.error = Retryable("disk full")
    watching = asyncio.create_task(anext(gym.trainer.watch()))
    await asyncio.sleep(0)
    outcome = await gym.trainer.retrain("it is due")
    assert (outcome["outcome"], outcome["reason"]) == ("failed", "disk full")
    assert await watching == outcome
    assert not gym.trainer.running


async def test_a_defect_in_a_run_is_a_failed_run(gym: Gym) -> None:
    """Whatever a run meets, the daemon goes on and the watchers are told."""
    gym.history.error = ZeroDivisionError("a defect")
    watching = asyncio.create_task(anext(gym.trainer.watch()))
    await asyncio.sleep(0)
    outcome = await gym.trainer.retrain("it is due")
    assert outcome["outcome"] == "failed"
    assert "a defect" in outcome["reason"]
    assert await watching == outcome
    assert not gym.trainer.running


async def test_without_bars_there_is_nothing_to_train_on(gym: Gym) -> None:
    """The reason names the cure."""
    gym.history.bars = BARS.clear()
    outcome = await gym.trainer.retrain("asked for")
    assert outcome["outcome"] == "failed"
    assert "import or fetch" in outcome["reason"]


async def test_a_baseline_is_fitted_anew(desk: Desk, tmp_path: Path) -> None:
    """For a kind without a network retraining is a fit of the stored history, and it is announced."""
    gym = Gym(desk, tmp_path, model__kind="har")
    outcome = await gym.trainer.retrain("asked for")
    assert (outcome["outcome"], outcome["model_id"]) == ("promoted", "har-1")
    assert TOPICS.model in desk.waiting()


async def test_the_schedule_trains_at_once_where_no_model_can_be_served(gym: Gym) -> None:
    """``need_model`` does not wait until the next run is due."""
    gym.runs(HANG)
    gym.trainer.need_model()
    schedule = asyncio.create_task(gym.trainer.run_schedule())
    await eventually(lambda: gym.trainer.supervisor.status.progress is not None)
    gym.trainer.supervisor.cancel()
    await gym.trainer.supervisor.close()
    schedule.cancel()
    await asyncio.gather(schedule, return_exceptions=True)


async def test_the_schedule_goes_by_market_time(gym: Gym) -> None:
    """Six hours after the last success, with a little jitter; nothing is due before."""
    gym.desk.ledger.set_meta("retrain_last_success_us", str(gym.desk.clock.now_us))
    gym.desk.ledger.set_meta("retrain_last_attempt_us", str(gym.desk.clock.now_us))
    due_us = await gym.trainer.next_run_us()
    assert due_us is not None
    assert 0 <= due_us - gym.desk.clock.now_us - 6 * HOUR_US <= 60_000_000


async def test_training_is_quiet_before_a_bar_closes(gym: Gym) -> None:
    """It is halted from shortly before the close until the next bar is well under way."""
    gym.runs(HANG)
    run = asyncio.create_task(gym.trainer.retrain("asked for"))
    await eventually(lambda: gym.trainer.supervisor.status.progress is not None)
    close_us = gym.desk.clock.now_us + 10_000_000
    quiet = asyncio.create_task(gym.trainer.keep_quiet_before_closes(lambda: close_us))
    await eventually(lambda: gym.trainer.supervisor.status.paused)
    close_us += HOUR_US
    await eventually(lambda: not gym.trainer.supervisor.status.paused)
    quiet.cancel()
    await gym.trainer.supervisor.close()
    await asyncio.gather(quiet, run, return_exceptions=True)


async def test_the_specification_says_what_the_configuration_says(desk: Desk, tmp_path: Path) -> None:
    """Nothing that a person sets is lost on the way to the training process."""
    gym = Gym(desk, tmp_path, model__horizons=[1, 5], model__preset="small", model__device="cpu", features__window=24)
    spec = training_spec(gym.config, tmp_path / "bars.parquet", gym.registry, "parent-1")
    assert (spec.horizons, spec.preset, spec.device, spec.window, spec.parent) == (
        (1, 5),
        "small",
        "cpu",
        24,
        "parent-1",
    )
    assert spec.interval_us == HOUR_US
    assert spec.levels == gym.config.model.quantiles
    assert spec.output_dir == gym.registry.artifacts_dir
