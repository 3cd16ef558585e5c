"""The commands of the control socket."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from daemon.errors import ConfigError
from daemon.runtime.control_commands import ControlCommands
from daemon.runtime.retrainer import RetrainRefused
from daemon.serving.status import StatusDocument
from tests.e2e import rig
from tests.limits import LIMIT_S


class FakeRetrainer:
    """A run that ends when ``go_on`` is set; its watchers get the updates of the test."""

    def __init__(self) -> None:
        self.updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.go_on = asyncio.Event()
        self.error: Exception | None = None
        self.running = False
        self.finished = 0
        self.reporter = self.watchers = self

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


@pytest.fixture
def retrainer() -> FakeRetrainer:
    return FakeRetrainer()


def commands(retrainer: FakeRetrainer) -> ControlCommands:
    return ControlCommands(retrainer=cast("Any", retrainer), status=_absent, reload=_absent)


def _absent() -> Any:
    raise AssertionError("only the retrainer is there")


async def test_a_retraining_is_followed_to_its_outcome(retrainer: FakeRetrainer) -> None:
    """First the start, then the progress, last the outcome."""
    replies = commands(retrainer).execute("retrain", {})
    retrainer.updates.put_nowait({"progress": {"ratio": 0.5}})
    assert await anext(replies) == {"started": True}
    assert await anext(replies) == {"progress": {"ratio": 0.5}}
    retrainer.go_on.set()
    assert [reply async for reply in replies] == [{"outcome": "promoted"}]


async def test_a_run_continues_without_a_waiting_client(retrainer: FakeRetrainer) -> None:
    """The daemon holds the run, not the client that started it."""
    at = commands(retrainer)
    assert [reply async for reply in at.execute("retrain", {"wait": False})] == [{"started": True}]
    await asyncio.sleep(0)
    gc.collect()
    retrainer.go_on.set()
    async with asyncio.timeout(LIMIT_S):
        while not retrainer.finished:
            await asyncio.sleep(0.001)


async def test_a_refusal_is_raised_to_the_client(retrainer: FakeRetrainer) -> None:
    """It is raised before the first reply."""
    retrainer.error = RetrainRefused("a retraining is running already")
    with pytest.raises(RetrainRefused):
        await anext(commands(retrainer).execute("retrain", {}))


async def test_a_client_that_disconnects_does_not_end_the_run(retrainer: FakeRetrainer) -> None:
    """Closing the stream of replies does not stop the run."""
    at = commands(retrainer)
    replies = at.execute("retrain", {})
    await retrainer.updates.put({"progress": {"ratio": 0.1}})
    await anext(replies)
    await replies.aclose()
    assert retrainer.running
    assert [reply async for reply in at.execute("cancel_retrain", {})] == [{"cancelled": True}]


async def test_an_unknown_command_names_the_known_ones(retrainer: FakeRetrainer) -> None:
    """A typing error is answered with the list of commands."""
    with pytest.raises(ValueError, match=r"'retrian'.*status, retrain, cancel_retrain and reload"):
        await anext(commands(retrainer).execute("retrian", {}))


async def test_status_and_reload_reach_the_app(tmp_path: Path) -> None:
    """The status is the page's document; a reload without a file is refused."""
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange) as daemon:
        at = ControlCommands(
            retrainer=daemon.app.components.retrainer, status=daemon.app.status, reload=daemon.app.reload
        )
        (status,) = [reply async for reply in at.execute("status", {})]
        assert msgspec.convert(status, StatusDocument).instance == "e2e"
        with pytest.raises(ConfigError):
            await anext(at.execute("reload", {}))
