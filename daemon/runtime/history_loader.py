"""The past, brought in before it is needed: candles from the venue into the ledger, so that the first bar close
already has its window, and the training run its history."""

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

RECENT_BARS = 1_000  # one page of candles: the window, the longest feature memory and the baselines' history
MOST_BARS = 60_000  # nearly seven years of hours; short bars reach back less far
_RETRY_S = 5.0
_FETCHES_AT_ONCE = 4


class History:
    """What the ledger holds of the past, completed from the venues where it can be."""

    def __init__(
        self, rests: Mapping[str, RestClient], *, ledger: Ledger, store: StoreThread, interval_us: int, history_us: int
    ) -> None:
        self._rests = rests
        self._ledger = ledger
        self._store = store
        self._interval_us = interval_us
        self._bars = min(max(history_us // interval_us, RECENT_BARS), MOST_BARS)
        self._at_once = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def complete(self, ends_us: Mapping[Instrument, int], *, bars: int | None = None) -> None:
        """Fetches what is missing of the last ``bars`` bars (default: the whole history) before each end.

        A venue that does not answer is asked again until it does; one that refuses for good is said and left out.
        """
        wanted = min(bars or self._bars, self._bars)
        await asyncio.gather(*(self._complete_one(each, end_us, wanted) for each, end_us in ends_us.items()))

    async def frame(self, instruments: Sequence[Instrument], end_us: int) -> pl.DataFrame:
        """All bars of the history up to ``end_us``, in the columns that features are made from."""
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
