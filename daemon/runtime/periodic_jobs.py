"""Jobs that run as long as the daemon: the pipeline's ticks, writes to the store, systemd's status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from daemon.config import Config
from daemon.runtime.venue_feed import Counts
from daemon.runtime.wiring import Components, timeouts_for
from daemon.serving.health import Health
from daemon.serving.notify import Notifier, announce_ready, status_line
from features.market import Instrument

log = structlog.get_logger(__name__)

_FLUSH_S = 1.0


async def tick(components: Components, config: Callable[[], Config]) -> None:
    """Advances the pipeline's time, several times per grace period of the configuration in force."""
    clock, pipeline = components.clock, components.pipeline
    while True:
        pause_s = min(0.1, max(timeouts_for(config(), clock).grace_us / clock.speed / 1e6 / 8, 0.01))
        pipeline.time_advanced(clock.market_us(), clock.wall_s())
        if pipeline.has_events:
            components.dispatcher.wake()
        pause_us = int(pause_s * clock.speed * 1e6)
        pipeline.expect_tick(clock.market_us() + pause_us, slack_us=pause_us)
        await asyncio.sleep(pause_s)


async def flush(components: Components) -> None:
    """Once a second: stores new trades, updates counters and skill metrics."""
    counted: dict[Instrument, Counts] = {}
    while True:
        await asyncio.sleep(_FLUSH_S)
        components.dispatcher.save_trades()
        for feed in components.feeds.values():
            feed.update_counters(counted)
        components.dispatcher.update_skill_metrics()


async def announce_status(notifier: Notifier, health: Health) -> None:
    """Reports to systemd when the daemon is ready, then every change of its status line."""
    await announce_ready(notifier, health)
    shown = ""
    while True:
        if (line := status_line(health)) != shown:
            notifier.status(line)
            shown = line
        await asyncio.sleep(1.0)
