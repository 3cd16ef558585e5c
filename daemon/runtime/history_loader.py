"""Loads history: candles from the venues into the ledger, for the first windows and for training."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl
import structlog

from daemon.errors import DataFault, ErrorHandling, ForecastdError, classify
from daemon.exchanges import VENUE_NAMES
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
_PATIENCE_S = 60.0
_LONGEST_WAIT_S = 120.0  # where no venue answers: the schedule then trains on what the store holds
_LOOK_S = 1.0
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
        self._longer = asyncio.Event()
        self._ends_us: Mapping[Instrument, int] = {}
        self._bars = 0
        # by venue, so that one that does not answer holds up no other
        self._at_once = {name: asyncio.Semaphore(_PARALLEL_FETCHES) for name in VENUE_NAMES}
        self._answered_s: dict[Instrument, float] = {}
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

    async def complete(
        self, ends_us: Mapping[Instrument, int], *, bars: int | None = None, patience_s: float = _PATIENCE_S
    ) -> set[Instrument]:
        """Fetches the missing ones of the last ``bars`` bars (default: the whole history) before each end.

        Requests without an answer are repeated. Returns the instruments that were given up: their venue answered
        nothing for ``patience_s`` wall seconds after the others were complete, or for ``_LONGEST_WAIT_S``.
        """
        self._ends_us = {**self._ends_us, **ends_us}
        wanted = min(bars or self._bars, self._bars)
        running = {
            asyncio.create_task(self._complete_one(each, end_us, wanted), name=f"history {each}"): each
            for each, end_us in ends_us.items()
        }
        started_s = asyncio.get_running_loop().time()
        self._answered_s |= dict.fromkeys(ends_us, started_s)
        given_up: set[Instrument] = set()
        pending = set(running)
        try:
            while pending:
                done, pending = await asyncio.wait(pending, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # a defect ends the daemon
                silent_s = self._shortest_silence_s(running[task] for task in pending)
                if silent_s > (patience_s if len(pending) < len(running) else max(patience_s, _LONGEST_WAIT_S)):
                    given_up = {running[task] for task in pending}
                    log.warning("history_given_up", instruments=[str(each) for each in sorted(given_up)])
                    break
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return given_up

    def _shortest_silence_s(self, instruments: Iterable[Instrument]) -> float:
        """The seconds since the venue last answered for one of ``instruments``; 0.0 for none."""
        now_s = asyncio.get_running_loop().time()
        return min((now_s - self._answered_s[each] for each in instruments), default=0.0)

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
                async with self._at_once[instrument.venue]:
                    await self._fetch_missing(instrument, start_us, end_us)
            except (ForecastdError, OSError, TimeoutError) as error:
                reason = str(error) or repr(error)
                if classify(error) is ErrorHandling.STOP:
                    log.error("history_refused", instrument=str(instrument), reason=reason)  # noqa: TRY400
                else:
                    log.warning("history_waits", instrument=str(instrument), reason=reason)
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
        self._answered_s[instrument] = asyncio.get_running_loop().time()
        if candles:
            await self._store.call(self._ledger.save_bars, candles)
            log.info("history_fetched", instrument=str(instrument), bars=len(candles))
