"""Start of a daemon: the venues' time, the stored state, recent history, and the champion beside the first rounds."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from contextlib import suppress

import polars as pl
import structlog

from daemon.config import Config
from daemon.pipeline.events import SymbolState
from daemon.pipeline.feed_status import NOT_ASKED
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime.history_loader import RECENT_BARS
from daemon.runtime.restore import (
    PublishedState,
    ScoreboardRestoration,
    discard_future,
    published_state,
    republish,
    restore_pipeline,
    unreconciled_bars,
)
from daemon.runtime.retained_topics import announce_start
from daemon.runtime.wiring import Components, timeouts_for
from features.market import Bar, Instrument, interval_start

log = structlog.get_logger(__name__)

_WARM_TIMEOUT_S = 20.0
_HISTORY_TIMEOUT_S = 30.0
_CHAMPION_AHEAD_S = 10.0  # the first round waits so long for the champion, which usually takes two seconds
_RECENT_PATIENCE_S = 5.0
_LATE_RETRY_S = 15.0
_LONGEST_LATE_RETRY_S = 600.0
_LATE_PATIENCE_S = 60.0


async def synchronise_clock(components: Components) -> None:
    """Sets market time by the venues, so that a wrong local clock starts no bar in the wrong hour."""
    await components.timekeeper.synchronise(
        {name: (feed.rest, list(feed.instruments)) for name, feed in components.feeds.items()}
    )


async def restore_state(components: Components, config: Config) -> None:
    """Continues the stored sequences and scores, and publishes the last bars and forecasts again."""
    now_us = components.clock.market_us()
    ledger, pipeline = components.ledger, components.pipeline

    def read() -> tuple[list[Bar], PublishedState]:
        unreconciled = unreconciled_bars(ledger, config.instruments, config.bars.interval_us, now_us)
        return unreconciled, published_state(ledger, config.instruments, config.bars.interval_us)

    # Each call is repeated by itself while the disk fails, and changes the pipeline once.
    store = components.store
    if components.timekeeper.confirmed:
        await store.call(discard_future, ledger, timeouts_for(config, components.clock), now_us)
    await store.call(restore_pipeline, pipeline, ledger, config.instruments, now_us)
    since_us = now_us - scores_needed_us(pipeline, config)
    await store.call(ScoreboardRestoration(pipeline.scoreboard, ledger, since_us).run)
    unreconciled, published = await store.call(read)
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
            while not _all_asked(components.pipeline):  # noqa: ASYNC110  # the pipeline has no asyncio events
                await asyncio.sleep(0.02)
    ends_us = first_opens(components, config)
    try:
        async with asyncio.timeout(_HISTORY_TIMEOUT_S):
            await components.history.complete(ends_us, bars=RECENT_BARS, patience_s=_RECENT_PATIENCE_S)
    except TimeoutError:
        log.warning("history_late", reason="forecasts start from what the store holds")
    stored = await components.history.recent_frame(config.instruments, max(ends_us.values(), default=0))
    for venue, symbol, close in last_closes(stored):
        components.pipeline.set_earlier_close(Instrument(venue, symbol), close)
    await components.inference.load_history(stored)
    return ends_us


def last_closes(bars: pl.DataFrame) -> list[tuple[str, str, float]]:
    """Venue, symbol and close of each instrument's last bar with a trade; its bars are in order of time."""
    priced = bars.drop_nulls("close").group_by("venue", "symbol", maintain_order=True)
    return priced.agg(pl.col("close").last()).rows()


async def load_champion(components: Components, config: Config, first_round: asyncio.Event) -> None:
    """Loads the champion and sets ``first_round``, at the latest after a moment: baselines forecast until it is loaded.

    Where there is no champion to serve, a new model is requested.
    """
    if not config.instruments:
        first_round.set()
        return
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


async def complete_late_history(components: Components, config: Config) -> None:
    """Completes the history of each instrument whose venue answers late, then refits; retries without end.

    A model that could not be trained before, for lack of history, is requested again.
    """
    pause_s = _LATE_RETRY_S
    late = await _fetch_whole(components, config, config.instruments)
    while late:
        await asyncio.sleep(pause_s)
        left = await _fetch_whole(components, config, late)
        pause_s = _LATE_RETRY_S if len(left) < len(late) else min(pause_s * 2, _LONGEST_LATE_RETRY_S)
        if len(left) < len(late):
            await components.promoter.refit()
            if components.inference.model is None:
                components.retrain_job.request_model()
        late = left


async def _fetch_whole(components: Components, config: Config, instruments: Sequence[Instrument]) -> list[Instrument]:
    """Fetches the whole history of those that are warm; returns the instruments that still lack it."""
    pipelines = components.pipeline.instruments
    warm = [each for each in instruments if pipelines[each].warm]
    ends_us = first_opens(components, config)
    given_up = await components.history.complete({each: ends_us[each] for each in warm}, patience_s=_LATE_PATIENCE_S)
    return [each for each in instruments if each in given_up or each not in warm]


def report_warm_symbols(components: Components, config: Config) -> None:
    """Marks every symbol as warm whose sequence has started and that is not known to be unreachable.

    The recent history is loaded by then.
    """
    components.health.history_loaded()
    for instrument in config.instruments:
        pipeline = components.pipeline.instruments[instrument]
        if pipeline.warm and pipeline.state is not SymbolState.STALE and pipeline.unlisted is None:
            components.health.symbol_warm(instrument)


def _all_asked(pipeline: Pipeline) -> bool:
    """Whether each instrument is warm, or known to lack an answer of its venue while another one is warm."""
    every = list(pipeline.instruments.values())
    waiting = [each for each in every if not each.warm]
    return not waiting or (len(waiting) < len(every) and all(each.state_reason != NOT_ASKED for each in waiting))


def first_opens(components: Components, config: Config) -> dict[Instrument, int]:
    """Where each instrument's live bars begin; for one without trades the open of the current interval."""
    now_open_us = interval_start(components.clock.market_us(), config.bars.interval_us)
    pipelines = components.pipeline.instruments
    return {each: pipelines[each].first_open_us if pipelines[each].warm else now_open_us for each in config.instruments}
