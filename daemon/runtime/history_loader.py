"""Loads history: candles from the venues into the ledger, for the first windows and for training."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise

import polars as pl
import structlog

from daemon.errors import ErrorHandling, ForecastdError, classify
from daemon.ingest.rest_client import RestClient
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from features.market import Instrument

log = structlog.get_logger(__name__)

RECENT_BARS = 1_000  # one page of candles: enough for the window, the longest feature memory and the baselines
MAX_BARS = 60_000  # nearly seven years of hours; short bars reach back less far
_RETRY_S = 5.0
_PARALLEL_FETCHES = 4


class HistoryLoader:
    """The stored history, completed from the venues."""

    def __init__(
        self, rests: Mapping[str, RestClient], *, ledger: Ledger, store: StoreThread, interval_us: int, history_us: int
    ) -> None:
        self._rests = rests
        self._ledger = ledger
        self._store = store
        self._interval_us = interval_us
        self._bars = min(max(history_us // interval_us, RECENT_BARS), MAX_BARS)
        self._at_once = asyncio.Semaphore(_PARALLEL_FETCHES)

    async def complete(self, ends_us: Mapping[Instrument, int], *, bars: int | None = None) -> None:
        """Fetches the missing ones of the last ``bars`` bars (default: the whole history) before each end.

        Requests without an answer are repeated; a venue that refuses is logged and skipped.
        """
        wanted = min(bars or self._bars, self._bars)
        await asyncio.gather(*(self._complete_one(each, end_us, wanted) for each, end_us in ends_us.items()))

    async def frame(self, instruments: Sequence[Instrument], end_us: int) -> pl.DataFrame:
        """All bars of the history up to ``end_us``, with the columns of ``BARS_SCHEMA``."""
        start_us = end_us - self._bars * self._interval_us
        return await self._store.call(self._ledger.bars_frame, instruments, self._interval_us, start_us, end_us)

    async def _complete_one(self, instrument: Instrument, end_us: int, bars: int) -> None:
        start_us = end_us - bars * self._interval_us
        while True:
            try:
                async with self._at_once:
                    await self._fetch_missing(instrument, start_us, end_us)
            except (ForecastdError, OSError, TimeoutError) as error:
                if classify(error) is ErrorHandling.STOP:
                    log.error("history_refused", instrument=str(instrument), reason=str(error))  # noqa: TRY400
                    return
                log.warning("history_waits", instrument=str(instrument), reason=str(error) or repr(error))
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _fetch_missing(self, instrument: Instrument, start_us: int, end_us: int) -> None:
        stored = await self._store.call(self._ledger.bars_frame, [instrument], self._interval_us, start_us, end_us)
        opens = stored["open_time_us"].sort().to_list()
        for first_us, after_us in missing_ranges(opens, start_us, end_us, self._interval_us):
            candles = await self._rests[instrument.venue].candles(
                instrument.symbol, self._interval_us, first_us, after_us
            )
            if candles:
                await self._store.call(self._ledger.save_bars, candles)
                log.info("history_fetched", instrument=str(instrument), bars=len(candles))


def missing_ranges(opens: Sequence[int], start_us: int, end_us: int, interval_us: int) -> list[tuple[int, int]]:
    """The runs of intervals in ``[start_us, end_us)`` that are not in the sorted ``opens``, right-open."""
    edges = [start_us - interval_us, *opens, end_us]
    return [(left + interval_us, right) for left, right in pairwise(edges) if right - left > interval_us]
