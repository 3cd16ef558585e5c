"""Jobs that run as long as the daemon, with a clock of the test's own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from daemon.clock import ManualClock
from daemon.config import load_config
from daemon.runtime import periodic_jobs
from daemon.runtime.wiring import Components
from tests.limits import LIMIT_S

SECOND_US = 1_000_000


class RecordedTicks:
    """Stands for components and pipeline alike: when the next tick is expected."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.has_events = False
        self.due_us = 0
        self.slack_us = 0
        self._ticked = asyncio.Event()

    @property
    def pipeline(self) -> RecordedTicks:
        return self

    def time_advanced(self, now_us: int, wall_s: float) -> None:
        """A tick."""

    def expect_tick(self, due_us: int, *, slack_us: int) -> None:
        self.due_us, self.slack_us = due_us, slack_us
        self._ticked.set()

    async def tick(self) -> None:
        """Waits for the next tick."""
        self._ticked.clear()
        async with asyncio.timeout(LIMIT_S):
            await self._ticked.wait()


async def test_each_tick_says_when_the_next_is_due(tmp_path: Path) -> None:
    """So that the pipeline notes a pause of the daemon, whatever comes first after it."""
    config = load_config(None, command_line={"instance.state_dir": str(tmp_path)}, environ={})
    recorded = RecordedTicks(ManualClock(1_700_000_000 * SECOND_US))
    ticking = asyncio.create_task(periodic_jobs.tick(cast("Components", cast("Any", recorded)), lambda: config))
    for _ in range(2):
        await recorded.tick()
        assert 0 < recorded.due_us - recorded.clock.now_us <= SECOND_US // 10
        assert recorded.slack_us == recorded.due_us - recorded.clock.now_us
        recorded.clock.set(recorded.clock.now_us + 40 * SECOND_US)
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
