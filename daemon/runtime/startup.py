"""Start of a daemon: the venues' time, the stored state, recent history, and the champion beside the first rounds."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import structlog

from daemon.config import Config
from daemon.pipeline.events import SymbolState
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime.history_loader import RECENT_BARS
from daemon.runtime.restore import (
    PublishedState,
    discard_future,
    published_state,
    republish,
    restore_pipeline,
    restore_scoreboard,
    unreconciled_bars,
)
from daemon.runtime.retained_topics import announce_start
from daemon.runtime.wiring import Components, timeouts_for
from features.market import Bar, Instrument, interval_start

log = structlog.get_logger(__name__)

_WARM_TIMEOUT_S = 20.0
_HISTORY_TIMEOUT_S = 30.0
_CHAMPION_AHEAD_S = 10.0  # the first round waits so long for the champion, which usually takes two seconds


async def synchronise_clock(components: Components) -> None:
    """Sets market time by the venues, so that a wrong local clock starts no bar in the wrong hour."""
    await components.timekeeper.synchronise(
        {name: (feed.rest, list(feed.instruments)) for name, feed in components.feeds.items()}
    )


async def restore_state(components: Components, config: Config) -> None:
    """Continues the stored sequences and scores, and publishes the last bars and forecasts again."""
    now_us = components.clock.market_us()
    ledger, pipeline = components.ledger, components.pipeline

    def load() -> tuple[list[Bar], PublishedState]:
        if components.timekeeper.confirmed:
            discard_future(ledger, timeouts_for(config, components.clock), now_us)
        restore_pipeline(pipeline, ledger, config.instruments, now_us)
        restore_scoreboard(pipeline.scoreboard, ledger, now_us - scores_needed_us(pipeline, config))
        unreconciled = unreconciled_bars(ledger, config.instruments, config.bars.interval_us, now_us)
        return unreconciled, published_state(ledger, config.instruments, config.bars.interval_us)

    unreconciled, published = await components.store.call(load)
    for bar in unreconciled:
        if components.reconciler is not None:
            components.reconciler.watch(bar)
    announce_start(components.messages, pipeline, components.retained, now_us)
    republish(components.messages, published)
    components.health.component_up("store")


def scores_needed_us(pipeline: Pipeline, config: Config) -> int:
    """The age of the oldest bar close whose scores live skill needs: of the longest horizon in its window."""
    return pipeline.scoreboard.window_us + max(config.model.horizons) * config.bars.interval_us


async def load_recent_history(components: Components, config: Config) -> dict[Instrument, int]:
    """Loads the recent history, which the first round needs.

    Returns where each instrument's live bars begin, in microseconds: its history ends there.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_WARM_TIMEOUT_S):
            while not all(each.warm for each in components.pipeline.instruments.values()):  # noqa: ASYNC110  # the pipeline has no asyncio events
                await asyncio.sleep(0.02)
    ends_us = _first_opens(components, config)
    try:
        async with asyncio.timeout(_HISTORY_TIMEOUT_S):
            await components.history.complete(ends_us, bars=RECENT_BARS)
    except TimeoutError:
        log.warning("history_late", reason="forecasts start from what the store holds")
    stored = await components.history.recent_frame(config.instruments, max(ends_us.values()))
    await components.inference.load_history(stored)
    return ends_us


async def load_champion(components: Components, config: Config, first_round: asyncio.Event) -> None:
    """Loads the champion and sets ``first_round``, at the latest after a moment: baselines forecast until it is loaded.

    Where there is no champion to serve, a new model is requested.
    """
    loading = asyncio.create_task(components.promoter.start(config.model.kind), name="champion")
    try:
        await asyncio.wait({loading}, timeout=_CHAMPION_AHEAD_S)
        first_round.set()
        if not await loading:
            components.retrain_job.request_model()
    finally:
        loading.cancel()
    # A full collection would visit a quarter of a million objects of modules and torch and stop the loop for 100 ms.
    gc.collect()
    gc.freeze()


def report_warm_symbols(components: Components, config: Config) -> None:
    """Marks every symbol as warm that is not known to be unreachable."""
    for instrument in config.instruments:
        if components.pipeline.instruments[instrument].state is not SymbolState.STALE:
            components.health.symbol_warm(instrument)


def _first_opens(components: Components, config: Config) -> dict[Instrument, int]:
    now_open_us = interval_start(components.clock.market_us(), config.bars.interval_us)
    pipelines = components.pipeline.instruments
    return {each: pipelines[each].first_open_us if pipelines[each].warm else now_open_us for each in config.instruments}
