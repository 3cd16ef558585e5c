"""What the control socket can ask of the running daemon: status, retrain, cancel_retrain, reload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from daemon.runtime.app import App

Reply = dict[str, Any]


class ControlCommands:
    """Answers one command with a stream of replies; errors become error replies at the socket."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._runs: set[asyncio.Task[Reply]] = set()  # the event loop itself holds tasks weakly

    async def obey(self, command: str, arguments: dict[str, Any]) -> AsyncGenerator[Reply, None]:
        if command == "status":
            yield msgspec.to_builtins(self._app.status())
        elif command == "retrain":
            async for reply in self._retrain(wait=bool(arguments.get("wait", True))):
                yield reply
        elif command == "cancel_retrain":
            yield self._cancel()
        elif command == "reload":
            changes = self._app.reload()
            yield {"applied": list(changes.applied), "refused": list(changes.refused)}
        else:
            raise ValueError(f"command was {command!r}; there are status, retrain, cancel_retrain and reload")

    async def _retrain(self, *, wait: bool) -> AsyncGenerator[Reply, None]:
        """Starts a run and follows it. A client that leaves does not end the run."""
        trainer = self._app.parts.trainer
        watching = trainer.watch()
        first = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0)  # the watcher is in place before the run can say anything
        run = asyncio.create_task(trainer.retrain("asked for"), name="retrain")
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        await asyncio.sleep(0)  # a refusal comes at once
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

    def _cancel(self) -> Reply:
        return {"cancelled": self._app.parts.trainer.cancel()}
