"""Check of a venue's symbol list: a configured symbol that it lacks is halted, named, and looked up again."""

from __future__ import annotations

import asyncio

import structlog

from daemon.clock import Clock
from daemon.errors import ForecastdError
from daemon.pipeline.events import SymbolState
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime.venue_feed import VenueFeed
from features.market import Instrument

log = structlog.get_logger(__name__)

_PERIOD_S = 600.0  # a list is up to 10 MB
_FIRST_RETRY_S = 15.0
_LOOK_S = 1.0


class SymbolCheck:
    """Compares the instruments of one venue with its symbol list.

    The list is requested at the start and every ten minutes. While it cannot be had, lacks a symbol, or a symbol's
    trades stopped coming, it is requested again after 15 s, then after twice the time, up to ten minutes.
    """

    def __init__(self, feed: VenueFeed, pipeline: Pipeline, clock: Clock) -> None:
        self._feed = feed
        self._pipeline = pipeline
        self._clock = clock
        self._problems: dict[str, str] = {}
        self._failure: str | None = None
        self._retry_s = _FIRST_RETRY_S

    async def run(self) -> None:
        """Checks without end; no answer of the venue ends it."""
        while True:
            await self.check()
            await self._wait()

    async def check(self) -> None:
        """Requests the list once, and tells the pipeline which symbols it lacks."""
        venue = self._feed.venue
        try:
            listing = await self._feed.rest.list_symbols(list(self._feed.instruments))
        except (ForecastdError, OSError, TimeoutError) as error:
            self._failure = str(error) or repr(error)
            log.warning("symbols_not_checked", venue=venue, reason=self._failure)
            return
        self._failure = None
        problems = {
            **listing.unknown,
            **{symbol: f"{venue} says {state}" for symbol, state in listing.not_trading.items()},
        }
        for symbol, instrument in self._feed.instruments.items():
            self._apply(instrument, listing.unknown.get(symbol))
            if (problem := problems.get(symbol)) is not None and problem != self._problems.get(symbol):
                if symbol in listing.unknown:
                    log.warning("symbol_not_listed", venue=venue, symbol=symbol, reason=problem)
                else:
                    log.warning("symbol_not_trading", venue=venue, symbol=symbol, state=listing.not_trading[symbol])
        self._problems = problems

    def _apply(self, instrument: Instrument, unlisted: str | None) -> None:
        was_unlisted = self._pipeline.instruments[instrument].unlisted
        self._pipeline.symbol_listed(instrument, self._clock.market_us(), unlisted=unlisted)
        if was_unlisted is not None and unlisted is None:
            log.info("symbol_listed_again", venue=instrument.venue, symbol=instrument.symbol)
            self._feed.renew_subscription(instrument.symbol, "the venue lists the symbol again")

    async def _wait(self) -> None:
        """Waits for the next check; a symbol that stops trading meanwhile brings it forward."""
        troubled, waited_s, due_s = self._troubled(), 0.0, _PERIOD_S
        if self._failure is not None or troubled:
            due_s, self._retry_s = self._retry_s, min(self._retry_s * 2, _PERIOD_S)
        else:
            self._retry_s = _FIRST_RETRY_S
        while waited_s < due_s:
            await asyncio.sleep(_LOOK_S)
            waited_s += _LOOK_S
            if self._troubled() - troubled:
                due_s = min(due_s, _FIRST_RETRY_S)

    def _troubled(self) -> set[Instrument]:
        """The instruments that are not listed, that the venue rejects, or whose trades stopped without a known halt."""
        pipelines, rejected = self._pipeline.instruments, self._feed.requests.rejected
        waiting = (SymbolState.WARMING_UP, SymbolState.STALE)

        def troubled(instrument: Instrument) -> bool:
            pipeline = pipelines[instrument]
            return pipeline.state in waiting or pipeline.unlisted is not None or instrument in rejected

        return {each for each in self._feed.instruments.values() if troubled(each)}
