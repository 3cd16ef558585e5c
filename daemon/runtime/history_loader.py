"""Loads history: candles from the venues into the ledger, for the first windows and for training."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import structlog

from daemon.errors import DataFault, ErrorHandling, ForecastdError, classify
from daemon.ingest.rest_client import RestClient
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from features.market import Instrument

log = structlog.get_logger(__name__)

RECENT_BARS = 1_000  # one page of candles: enough for the window, the longest feature memory and the baselines
MAX_BARS = 60_000  # nearly seven years of hours; short bars reach back less far
MOST_ROWS = 2_000_000  # in one frame, about 250 MB: three years of hours of 76 instruments
_RETRY_S = 5.0
_MOST_FAULTS = 30  # enough to find two bars among a thousand
_PARALLEL_FETCHES = 4


class HistoryLoader:
    """The stored history, completed from the venues and read in parts, between which other calls have their turn."""

    def __init__(
        self, rests: Mapping[str, RestClient], *, ledger: Ledger, store: StoreThread, interval_us: int, history_us: int
    ) -> None:
        self._rests = rests
        self._ledger = ledger
        self._store = store
        self._interval_us = interval_us
        self._at_once = asyncio.Semaphore(_PARALLEL_FETCHES)
        self._longer = asyncio.Event()
        self._ends_us: Mapping[Instrument, int] = {}
        self._bars = 0
        self.set_length(history_us)

    def set_length(self, history_us: int) -> None:
        """Sets how far the history reaches back, from the next call on; at least ``RECENT_BARS`` bars.

        ``follow_length`` fetches what a longer history lacks.
        """
        before, self._bars = self._bars, min(max(history_us // self._interval_us, RECENT_BARS), MAX_BARS)
        if self._ends_us and self._bars > before:
            self._longer.set()

    async def follow_length(self) -> None:
        """Completes the history again each time it was made longer, without end."""
        while True:
            await self._longer.wait()
            self._longer.clear()
            await self.complete(self._ends_us)

    async def complete(self, ends_us: Mapping[Instrument, int], *, bars: int | None = None) -> None:
        """Fetches the missing ones of the last ``bars`` bars (default: the whole history) before each end.

        Requests without an answer are repeated; a venue that refuses is logged and skipped.
        """
        self._ends_us = ends_us
        wanted = min(bars or self._bars, self._bars)
        await asyncio.gather(*(self._complete_one(each, end_us, wanted) for each, end_us in ends_us.items()))

    async def recent_frame(self, instruments: Sequence[Instrument], end_us: int) -> pl.DataFrame:
        """The history up to ``end_us`` with the columns of ``BARS_SCHEMA``, as far back as memory allows.

        With many instruments it reaches less far: all frames together have at most ``MOST_ROWS`` rows, or
        ``RECENT_BARS`` of each instrument.
        """
        bars = max(RECENT_BARS, min(self._bars, MOST_ROWS // max(len(instruments), 1)))
        empty = self._ledger.bars_frame([], self._interval_us, 0, 0)
        return pl.concat([empty, *[frame async for frame in self._frames(instruments, end_us, bars)]])

    async def write_files(self, instruments: Sequence[Instrument], end_us: int, folder: Path) -> int:
        """Writes the whole history up to ``end_us`` as Parquet files, one an instrument that has bars.

        Returns their number. One instrument at a time is in memory.
        """
        files = 0
        async for frame in self._frames(instruments, end_us, self._bars):
            if not frame.is_empty():
                await asyncio.to_thread(frame.write_parquet, folder / f"{files:05d}.parquet")
                files += 1
        return files

    async def _frames(self, instruments: Sequence[Instrument], end_us: int, bars: int) -> AsyncIterator[pl.DataFrame]:
        """The last ``bars`` bars before ``end_us`` of one instrument after the other."""
        start_us = end_us - bars * self._interval_us
        for each in instruments:
            yield await self._store.read(self._ledger.bars_frame, [each], self._interval_us, start_us, end_us)

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
        """Fetches every missing range; one with a fault that stays is halved until the bars at fault stand alone.

        These are skipped, and after ``_MOST_FAULTS`` faults all that is left.
        """
        missing = await self._store.read(self._ledger.missing_ranges, instrument, self._interval_us, start_us, end_us)
        faults_left = _MOST_FAULTS
        while missing:
            first_us, after_us = missing.pop(0)
            try:
                await self._fetch(instrument, first_us, after_us)
            except DataFault as error:
                faults_left -= 1
                bars = (after_us - first_us) // self._interval_us
                if bars > 1 and faults_left:
                    middle_us = first_us + bars // 2 * self._interval_us
                    missing[:0] = [(first_us, middle_us), (middle_us, after_us)]
                    continue
                log.error("history_skipped", instrument=str(instrument), bars=bars, reason=str(error))  # noqa: TRY400
                if not faults_left:
                    return

    async def _fetch(self, instrument: Instrument, first_us: int, after_us: int) -> None:
        """Stores the candles of a range. Raises DataFault where the venue answers twice with what cannot be read."""
        rest = self._rests[instrument.venue]
        try:
            candles = await rest.candles(instrument.symbol, self._interval_us, first_us, after_us)
        except DataFault:
            await asyncio.sleep(_RETRY_S)
            candles = await rest.candles(instrument.symbol, self._interval_us, first_us, after_us)
        if candles:
            await self._store.call(self._ledger.save_bars, candles)
            log.info("history_fetched", instrument=str(instrument), bars=len(candles))
