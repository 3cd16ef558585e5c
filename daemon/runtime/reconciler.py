"""Reconciles every closed bar with the venue's candle and reports the differences."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from daemon.clock import Clock
from daemon.errors import ForecastdError
from daemon.ingest.rest_client import RestClient
from daemon.pipeline.events import BarReconciled
from daemon.pipeline.reconciliation import (
    BAR_REFUTED,
    NO_CANDLE,
    NO_CANDLE_NO_TRADE,
    Differences,
    DueBar,
    ReconciliationSchedule,
    differences,
    rebuilt_bar,
    verdict,
    verdict_after_refetch,
    with_outcome,
)
from features.market import Audit, Bar, Completeness, Instrument, Trade

log = structlog.get_logger(__name__)

_FIRST_S, _LAST_S = 15.0, 60.0
_MAX_UNANSWERED = 4
_MAX_REFETCHED_IDS = 50_000  # of a busy hour


class Reconciler:
    """Compares every bar given to ``watch`` and calls ``on_reconciled`` with the outcome.

    The trades of a proven bar that differs are fetched again: where they differ from the received ones,
    ``on_rebuilt`` gets them. The candle that contradicts an unproven bar goes to ``on_contradicted``.
    """

    def __init__(
        self,
        rests: Mapping[str, RestClient],
        *,
        clock: Clock,
        bar_wall_s: float,
        on_reconciled: Callable[[BarReconciled], None],
        on_rebuilt: Callable[[Bar, list[Trade]], None],
        on_contradicted: Callable[[Bar], None],
    ) -> None:
        self._rests = rests
        self._clock = clock
        self._unanswered: Counter[tuple[Instrument, int]] = Counter()
        self._on_reconciled = on_reconciled
        self._on_rebuilt = on_rebuilt
        self._on_contradicted = on_contradicted
        first_s = min(_FIRST_S, bar_wall_s / 8)
        self._schedule = ReconciliationSchedule(first_s=first_s, last_s=min(_LAST_S, bar_wall_s / 2))
        self._pause_s = min(first_s / 2, 1.0)

    @property
    def waiting(self) -> int:
        return self._schedule.waiting

    def watch(self, bar: Bar) -> None:
        """A bar was closed or revised."""
        self._schedule.watch(bar, self._clock.wall_s())

    async def run(self) -> None:
        """Compares bars when they are due, without end."""
        while True:
            await asyncio.sleep(self._pause_s)
            due = self._schedule.due(self._clock.wall_s())
            if due:
                await asyncio.gather(*(self._reconcile(each) for each in due))

    async def _reconcile(self, due: DueBar) -> None:
        try:
            candle = await self._candle(due.bar)
        except (ForecastdError, OSError, TimeoutError) as error:
            log.info("audit_waits", bar=due.bar.label, reason=str(error) or repr(error))
            answered, candle = False, None
        else:
            answered = True
        found = self._differences(due.bar, candle)
        if (found or candle is None) and not due.last:
            return  # the candle may be missing or not final yet: it is requested once more
        if not self._schedule.is_current(due.bar):
            return  # the bar was revised during the request: the revision is compared separately
        self._schedule.settle([due.bar])
        if not answered and self._may_retry(due.bar):
            self._schedule.watch(due.bar, self._clock.wall_s())
            return
        if candle is None:
            silent = answered and not due.bar.trades and due.bar.open is None
            outcome, words = (Audit.EQUAL, NO_CANDLE_NO_TRADE) if silent else (Audit.UNAVAILABLE, NO_CANDLE)
        else:
            outcome, words = Audit.DIFFERS if found else Audit.EQUAL, verdict(due.bar, found)
        refetched = await self._refetched_trades(due.bar) if found else None
        if refetched is not None:
            words = verdict_after_refetch(due.bar, rebuilt_bar(due.bar, refetched))
        self._on_reconciled(BarReconciled(with_outcome(due.bar, outcome), found, words, self._clock.market_us()))
        if refetched is not None and words == BAR_REFUTED:
            self._on_rebuilt(due.bar, refetched)
        elif found and candle is not None and due.bar.completeness is Completeness.UNPROVEN:
            self._on_contradicted(candle)

    def _may_retry(self, bar: Bar) -> bool:
        """Whether a request without an answer is repeated for this bar."""
        key = (bar.instrument, bar.open_time_us)
        self._unanswered[key] += 1
        if self._unanswered[key] <= _MAX_UNANSWERED:
            return True
        del self._unanswered[key]
        return False

    def _differences(self, bar: Bar, candle: Bar | None) -> Differences:
        if candle is None:
            return {}
        return differences(bar, candle, opens_at_previous_close=self._rests[bar.venue].opens_at_previous_close)

    async def _candle(self, bar: Bar) -> Bar | None:
        candles = await self._rests[bar.venue].candles(bar.symbol, bar.interval_us, bar.open_time_us, bar.close_time_us)
        return candles[0] if candles else None

    async def _refetched_trades(self, bar: Bar) -> list[Trade] | None:
        """The trades of a proven bar, fetched again by id; None for another bar or after a failure."""
        first_id, last_id = bar.first_trade_id, bar.last_trade_id
        if bar.completeness is not Completeness.PROVEN or first_id is None or last_id is None:
            return None
        if last_id - first_id >= _MAX_REFETCHED_IDS:
            return None
        trades: list[Trade] = []
        while first_id <= last_id:
            try:
                answer = await self._rests[bar.venue].trades(
                    bar.symbol, from_id=first_id, until_id=last_id, after_us=bar.open_time_us
                )
            except (ForecastdError, OSError, TimeoutError) as error:
                log.info("trades_not_fetched_again", bar=bar.label, reason=str(error) or repr(error))
                return None
            if not answer.trades:
                return None
            trades += answer.trades
            if answer.complete:
                break
            # Newest first or oldest first: the rest lies on the other side of the received ids.
            lowest_id, highest_id = answer.trades[0].trade_id, answer.trades[-1].trade_id
            first_id, last_id = (highest_id + 1, last_id) if lowest_id == first_id else (first_id, lowest_id - 1)
        return sorted(trades, key=lambda trade: trade.trade_id)
