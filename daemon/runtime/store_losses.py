"""Counts and announces records that could not be stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from daemon.publishing import event_payloads
from daemon.runtime.reporting import Reporting
from daemon.store.backlog import BacklogFull, Record
from daemon.store.errors import ForecastConflict

log = structlog.get_logger(__name__)

_ANNOUNCE_EVERY_S = 60.0


def loss_reason(error: BaseException) -> str:
    """``backlog_full``, ``conflict`` (another forecast is stored under the id) or ``failed``."""
    if isinstance(error, BacklogFull):
        return "backlog_full"
    return "conflict" if isinstance(error, ForecastConflict) else "failed"


class StoreLosses:
    """Counts every lost record, and announces losses at most once a minute by log and MQTT event.

    ``record`` may be called from any thread.
    """

    def __init__(self, reporting: Reporting) -> None:
        self._reporting = reporting
        self._loop = asyncio.get_running_loop()
        self._unannounced: Counter[tuple[Record, str]] = Counter()
        self._detail = ""
        self._announcing: asyncio.TimerHandle | None = None

    def record(self, record: Record, count: int, error: BaseException) -> None:
        """``count`` records were not stored, because of ``error``."""
        self._on_loop(lambda: self._add(record, count, error))

    def _on_loop(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _add(self, record: Record, count: int, error: BaseException) -> None:
        reason = loss_reason(error)
        self._reporting.metrics.store_lost.labels(record.value, reason).inc(count)
        self._unannounced[record, reason] += count
        self._detail = str(error) or repr(error)
        if self._announcing is None:
            self._announce()

    def _announce(self) -> None:
        """Announces what was lost since the last announcement; the next one is at least a minute later."""
        self._announcing = None
        if not self._unannounced:
            return
        lost, self._unannounced = self._unannounced, Counter()
        at_us = self._reporting.clock.market_us()
        for (record, reason), count in lost.items():
            log.error("store_lost", record=record.value, count=count, reason=reason, detail=self._detail)
            event = event_payloads.store_lost(
                at_us=at_us, record=record.value, count=count, reason=reason, detail=self._detail
            )
            self._reporting.messages.event(event)
        self._announcing = self._loop.call_later(_ANNOUNCE_EVERY_S, self._announce)
