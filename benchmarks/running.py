"""The daemon's components, wired as in the app, without those that are not measured: history, model, broker.

What runs is what trades need: the streams, the ticker, the dispatcher, and once a second the flush to the ledger.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from daemon.clock import SystemClock
from daemon.config import load_config
from daemon.runtime.hooks import Hooks
from daemon.runtime.store_opening import open_ledger
from daemon.runtime.venue_feed import Counts
from daemon.runtime.wiring import Components, build
from features.market import Instrument

_TICK_S = 0.1
_FLUSH_S = 1.0


@asynccontextmanager
async def running(venue: str, symbols: Sequence[str], *, ws_url: str = "", rest_url: str) -> AsyncIterator[Components]:
    """The components for one venue, at work until the context ends; an empty ``ws_url`` leaves the stream out."""
    with tempfile.TemporaryDirectory() as folder:
        feed = {"venue": venue, "symbols": list(symbols), "ws_url": ws_url or "ws://127.0.0.1:9", "rest_url": rest_url}
        values = {
            "instance.state_dir": str(Path(folder) / "state"),
            "feeds": [feed],
            "model.kind": "har",
            "mqtt.url": "mqtt://127.0.0.1:9",  # no broker runs there, and no client connects
        }
        config = load_config(None, command_line=values, environ={})
        ledger = await open_ledger(config)
        components = build(config, ledger=ledger, clock=SystemClock(), hooks=Hooks(), embedded=None)
        jobs = [components.dispatcher.run(), _tick(components), _flush(components)]
        if ws_url and (stream := components.feeds[venue].stream) is not None:
            jobs.append(stream.run())
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            yield components
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await components.feeds[venue].close()
            await components.inference.close()
            components.store.close()
            components.ledger.close()
            for failure in ended:
                if isinstance(failure, Exception):
                    raise failure


async def _tick(components: Components) -> None:
    while True:
        components.pipeline.time_advanced(components.clock.market_us(), components.clock.wall_s())
        if components.pipeline.has_events:
            components.dispatcher.wake()
        await asyncio.sleep(_TICK_S)


async def _flush(components: Components) -> None:
    counted: dict[Instrument, Counts] = {}
    while True:
        await asyncio.sleep(_FLUSH_S)
        components.dispatcher.save_trades()
        for feed in components.feeds.values():
            feed.update_counters(counted)
