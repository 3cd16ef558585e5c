"""Asks each venue for its candle of every closed bar and reports how the two compare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from daemon.clock import Clock
from daemon.errors import ForecastdError
from daemon.events import BarAudited
from daemon.ingest.audit import AuditSchedule, Due, audited, differences, verdict
from daemon.ingest.backfill import RestClient
from features.market import Audit, Bar

log = structlog.get_logger(__name__)

_FIRST_S, _LAST_S = 15.0, 60.0


class Auditing:
    """``watch`` every closed or revised bar; ``run`` compares them and tells ``on_audited``."""

    def __init__(
        self,
        rests: Mapping[str, RestClient],
        *,
        clock: Clock,
        bar_wall_s: float,
        on_audited: Callable[[BarAudited], None],
    ) -> None:
        self._rests = rests
        self._clock = clock
        self._on_audited = on_audited
        first_s = min(_FIRST_S, bar_wall_s / 8)
        self._schedule = AuditSchedule(first_s=first_s, last_s=min(_LAST_S, bar_wall_s / 2))
        self._pause_s = min(first_s / 2, 1.0)

    @property
    def waiting(self) -> int:
        return self._schedule.waiting

    def watch(self, bar: Bar) -> None:
        """A bar was closed or revised."""
        self._schedule.watch(bar, self._clock.wall_s())

    async def run(self) -> None:
        """Compares what is due, for ever."""
        while True:
            await asyncio.sleep(self._pause_s)
            due = self._schedule.due(self._clock.wall_s())
            if due:
                await asyncio.gather(*(self._audit(each) for each in due))

    async def _audit(self, due: Due) -> None:
        candle = await self._candle(due.bar)
        if candle is None and not due.last:
            return
        found = differences(due.bar, candle) if candle is not None else {}
        if found and not due.last:
            return  # the candle may not be final yet: it is asked for once more
        if candle is None:
            outcome, words = Audit.UNAVAILABLE, "the venue has no candle of this bar"
        else:
            outcome, words = Audit.DIFFERS if found else Audit.EQUAL, verdict(due.bar, found)
        if not self._schedule.is_current(due.bar):
            return  # the bar was revised while the venue was asked: the revision is compared by itself
        self._schedule.settle([due.bar])
        self._on_audited(BarAudited(audited(due.bar, outcome), found, words, self._clock.market_us()))

    async def _candle(self, bar: Bar) -> Bar | None:
        try:
            candles = await self._rests[bar.venue].candles(
                bar.symbol, bar.interval_us, bar.open_time_us, bar.close_time_us
            )
        except (ForecastdError, OSError, TimeoutError) as error:
            log.info("audit_waits", bar=bar.label, reason=str(error) or repr(error))
            return None
        return candles[0] if candles else None
