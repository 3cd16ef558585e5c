"""The pipeline's REST requests to one venue: one task an instrument, cancelled when its request is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from daemon.clock import Clock
from daemon.errors import DataFault, ForecastdError
from daemon.ingest.rest_client import RestClient
from daemon.pipeline.answers import Answer, CandleAnswer, CandlesUnavailable, RequestFailed
from daemon.pipeline.events import CandleRequested, RepairRequested, Request, SnapshotRequested
from daemon.pipeline.pipeline import Pipeline
from features.market import Instrument

log = structlog.get_logger(__name__)

_LONGEST_S = 900.0  # a thousand instruments may wait that long for the venue's rate limit


class _Outstanding(NamedTuple):
    request: Request
    task: asyncio.Task[None]


class VenueRequests:
    """Sends the requests and passes each answer, or its failure, to the pipeline with its request.

    At most one request of each instrument is outstanding: a new one cancels the one before. rejected: the instruments
    whose last request the venue did not accept, which may no longer exist.
    """

    def __init__(self, rest: RestClient, *, pipeline: Pipeline, clock: Clock, wake: Callable[[], None]) -> None:
        self._rest = rest
        self._pipeline = pipeline
        self._clock = clock
        self._wake = wake
        self._outstanding: dict[Instrument, _Outstanding] = {}
        self.rejected: set[Instrument] = set()

    @property
    def outstanding(self) -> int:
        return len(self._outstanding)

    def send(self, request: Request) -> None:
        """Sends a request in a task of its own."""
        self._cancel(request.instrument)
        task = asyncio.create_task(self._perform(request), name=f"rest-{request.instrument}")
        self._outstanding[request.instrument] = _Outstanding(request, task)

    def cancel(self, request: Request) -> None:
        """The pipeline has given ``request`` up."""
        outstanding = self._outstanding.get(request.instrument)
        if outstanding is not None and outstanding.request == request:
            self._cancel(request.instrument)

    def report_pending(self) -> None:
        """Says that the outstanding requests are still worked on; to be called every few seconds."""
        wall_s = self._clock.wall_s()
        for request, _task in self._outstanding.values():
            self._pipeline.request_pending(request, wall_s)

    async def close(self) -> None:
        """Cancels every request."""
        tasks = [task for _request, task in self._outstanding.values()]
        self._outstanding.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cancel(self, instrument: Instrument) -> None:
        outstanding = self._outstanding.pop(instrument, None)
        if outstanding is not None:
            outstanding.task.cancel()

    async def _perform(self, request: Request) -> None:
        """After a failure the pipeline decides when to repeat the request."""
        answer: Answer
        try:
            async with asyncio.timeout(_LONGEST_S):
                answer = await self._answer(request)
            self.rejected.discard(request.instrument)
        except (ForecastdError, OSError, TimeoutError) as error:
            reason = str(error) or repr(error)
            log.warning("venue_not_asked", instrument=str(request.instrument), reason=reason)
            answer = RequestFailed(reason)
            if isinstance(error, DataFault):
                self.rejected.add(request.instrument)
        self._pipeline.answer(request, answer, self._clock.market_us(), self._clock.wall_s())
        outstanding = self._outstanding.get(request.instrument)
        if outstanding is not None and outstanding.request == request:
            del self._outstanding[request.instrument]
        self._wake()

    async def _answer(self, request: Request) -> Answer:
        symbol = request.instrument.symbol
        match request:
            case SnapshotRequested():
                return await self._rest.sequence_start(symbol, request.from_time_us)
            case RepairRequested():
                return await self._rest.trades(
                    symbol, from_id=request.from_id, until_id=request.until_id, after_us=request.after_us
                )
            case CandleRequested():
                return await self._candle(symbol, request.open_us)

    async def _candle(self, symbol: str, open_us: int) -> CandleAnswer | CandlesUnavailable:
        interval_us = self._pipeline.interval_us
        if not self._rest.has_candles(interval_us):
            return CandlesUnavailable()
        candles = await self._rest.candles(symbol, interval_us, open_us, open_us + interval_us)
        return CandleAnswer(candles[0] if candles else None)
