"""What can be asked over the control socket."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from daemon.errors import ConfigError
from daemon.retraining.controller import RetrainRefused
from daemon.runtime.control_commands import ControlCommands
from daemon.serving.status import StatusDocument
from tests.e2e import rig


class FakeTrainer:
    """Runs for ever, or until it is let go; tells its watchers what a test says."""

    def __init__(self) -> None:
        self.updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.go_on = asyncio.Event()
        self.error: Exception | None = None
        self.running = False
        self.finished = 0

    async def retrain(self, reason: str) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.running = True
        await asyncio.get_running_loop().create_task(self.go_on.wait())
        self.running = False
        self.finished += 1
        self.updates.put_nowait({"outcome": "promoted"})
        return {}

    async def watch(self) -> Any:
        while True:
            update = await self.updates.get()
            yield update
            if "outcome" in update:
                return

    def cancel(self) -> bool:
        self.go_on.set()
        return self.running


class FakeApp:
    """An app of which only the trainer is there."""

    def __init__(self) -> None:
        self.trainer = FakeTrainer()
        self.parts = self


@pytest.fixture
def app() -> FakeApp:
    return FakeApp()


def orders(app: FakeApp) -> ControlCommands:
    return ControlCommands(cast("Any", app))


async def test_a_retraining_is_followed_to_its_outcome(app: FakeApp) -> None:
    """First that it started, then its progress, last its outcome."""
    replies = orders(app).obey("retrain", {})
    app.trainer.updates.put_nowait({"progress": {"ratio": 0.5}})
    assert await anext(replies) == {"started": True}
    assert await anext(replies) == {"progress": {"ratio": 0.5}}
    app.trainer.go_on.set()
    assert [reply async for reply in replies] == [{"outcome": "promoted"}]


async def test_a_run_goes_on_when_nobody_waits(app: FakeApp) -> None:
    """The run is held by the daemon, not by the client that asked for it."""
    at = orders(app)
    assert [reply async for reply in at.obey("retrain", {"wait": False})] == [{"started": True}]
    await asyncio.sleep(0)
    gc.collect()
    app.trainer.go_on.set()
    async with asyncio.timeout(5):
        while not app.trainer.finished:
            await asyncio.sleep(0.001)


async def test_a_refusal_is_the_clients(app: FakeApp) -> None:
    """It is raised before anything is said to have started."""
    app.trainer.error = RetrainRefused("a retraining is running already")
    with pytest.raises(RetrainRefused):
        await anext(orders(app).obey("retrain", {}))


async def test_a_client_that_leaves_does_not_end_the_run(app: FakeApp) -> None:
    """Closing the stream of replies leaves the run alone."""
    at = orders(app)
    replies = at.obey("retrain", {})
    await app.trainer.updates.put({"progress": {"ratio": 0.1}})
    await anext(replies)
    await replies.aclose()
    assert app.trainer.running
    assert [reply async for reply in at.obey("cancel_retrain", {})] == [{"cancelled": True}]


async def test_an_unknown_order_names_those_that_there_are(app: FakeApp) -> None:
    """A typing error is answered with the list."""
    with pytest.raises(ValueError, match=r"'retrian'.*status, retrain, cancel_retrain and reload"):
        await anext(orders(app).obey("retrian", {}))


async def test_status_and_reload_reach_the_app(tmp_path: Path) -> None:
    """The status is the page's document; a reload without a file is refused."""
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange) as daemon:
        at = ControlCommands(daemon.app)
        (status,) = [reply async for reply in at.obey("status", {})]
        assert msgspec.convert(status, StatusDocument).instance == "e2e"
        with pytest.raises(ConfigError):
            await anext(at.obey("reload", {}))
