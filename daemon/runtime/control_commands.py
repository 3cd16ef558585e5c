"""The commands of the control socket: status, retrain, cancel_retrain, reload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from daemon.config.reload import ReloadChanges
from daemon.runtime.retrainer import Retrainer
from daemon.runtime.run_reporter import RunOutcome
from daemon.serving.status import StatusDocument

Reply = dict[str, Any]


class ControlCommands:
    """Answers one command with a stream of replies; the socket turns errors into error replies."""

    def __init__(
        self, *, retrainer: Retrainer, status: Callable[[], StatusDocument], reload: Callable[[], ReloadChanges]
    ) -> None:
        self._retrainer = retrainer
        self._status = status
        self._reload = reload
        self._runs: set[asyncio.Task[RunOutcome]] = set()  # the event loop itself holds tasks weakly

    async def execute(self, command: str, arguments: dict[str, Any]) -> AsyncGenerator[Reply, None]:
        """Raises ValueError for an unknown command."""
        if command == "status":
            yield msgspec.to_builtins(self._status())
        elif command == "retrain":
            async for reply in self._retrain(wait=bool(arguments.get("wait", True))):
                yield reply
        elif command == "cancel_retrain":
            yield {"cancelled": self._retrainer.cancel()}
        elif command == "reload":
            changes = self._reload()
            yield {"applied": list(changes.applied), "refused": list(changes.refused)}
        else:
            raise ValueError(f"command was {command!r}; there are status, retrain, cancel_retrain and reload")

    async def _retrain(self, *, wait: bool) -> AsyncGenerator[Reply, None]:
        """Starts a run and follows it. A client that disconnects does not end the run."""
        watching = self._retrainer.reporter.watchers.watch()
        first = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0)  # the watcher must be registered before the run reports anything
        run = asyncio.create_task(self._retrainer.retrain("asked for"), name="retrain")
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        await asyncio.sleep(0)  # a refusal is raised at once
        try:
            if run.done():
                run.result()
            yield {"started": True}
            if not wait:
                return
            await asyncio.wait({first, run}, return_when=asyncio.FIRST_COMPLETED)
            if run.done():
                run.result()
            yield await first
            async for update in watching:
                yield update
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await watching.aclose()
