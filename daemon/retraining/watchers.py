"""Delivers progress and outcomes of retraining runs to any number of watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

_MAX_WAITING_UPDATES = 256  # progress that a slow watcher may be behind before it loses the oldest


class RunWatchers:
    """``notify`` reaches every ``watch`` that is active at the time."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        """Progress of the current run and, last, its outcome: the update that has the key ``outcome``."""
        updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MAX_WAITING_UPDATES)
        self._queues.add(updates)
        try:
            while True:
                update = await updates.get()
                yield update
                if "outcome" in update:
                    return
        finally:
            self._queues.discard(updates)

    def notify(self, update: dict[str, Any]) -> None:
        for updates in self._queues:
            if updates.full():
                updates.get_nowait()
            updates.put_nowait(update)
