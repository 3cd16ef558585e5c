"""Keeps the store within its retention and its size, and announces what is deleted for the size."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

import structlog

from daemon.config import Config
from daemon.errors import ForecastdError
from daemon.publishing import event_payloads
from daemon.runtime.reporting import Reporting
from daemon.store.ledger import Ledger
from daemon.store.retention import Pruned, SizeFloor
from daemon.store.thread import StoreThread
from daemon.timestamps import iso

log = structlog.get_logger(__name__)

_EVERY_S = 60.0
# A file over its limit is brought below it by this share, so that deletions for the size are rare.
_TARGET_RATIO = 0.95
_TRADES_BARS = 2


class StoreRetention:
    """Prunes once a minute, in steps between which other writes have their turn.

    config: the configuration in force. scores_us: the age up to which live skill needs scores.
    """

    def __init__(
        self,
        ledger: Ledger,
        thread: StoreThread,
        *,
        reporting: Reporting,
        config: Callable[[], Config],
        scores_us: int,
    ) -> None:
        self._ledger = ledger
        self._thread = thread
        self._messages, self._metrics, self._health, self._clock = reporting
        self._config = config
        self._scores_us = scores_us
        self._too_large = False

    async def run(self) -> None:
        """Prunes without end; a store that cannot be pruned now is tried again."""
        while True:
            try:
                await self.prune()
            except (ForecastdError, sqlite3.Error) as error:
                log.warning("store_not_pruned", reason=str(error))
            await asyncio.sleep(_EVERY_S)

    async def prune(self) -> None:
        """Deletes what is older than its retention, then what the size demands."""
        self._report(await self._by_age(), reason="age")
        store = self._config().store
        limit_bytes = store.max_disk_mb * 1_000_000
        self._metrics.store_size_limit.set(limit_bytes)
        if await self._thread.call(self._ledger.used_bytes) > limit_bytes:
            pruned = await self._by_size(int(limit_bytes * _TARGET_RATIO))
            self._report(pruned, reason="size")
            if pruned.anything:
                self._messages.event(event_payloads.store_pruned(pruned, at_us=self._clock.market_us()))
        used_bytes = await self._thread.call(self._ledger.used_bytes)
        self._metrics.store_size.set(used_bytes)
        self._check_size(used_bytes, limit_bytes)

    async def _by_age(self) -> Pruned:
        config, now_us = self._config(), self._clock.market_us()
        keep, call = config.store, self._thread.call
        kept_us = max(keep.keep_open_bar_trades.microseconds, _TRADES_BARS * config.bars.interval_us)
        await call(self._ledger.prune_trades, now_us - kept_us)
        pruned = Pruned(bars=await call(self._ledger.prune_bars, now_us - keep.keep_bars.microseconds), more=True)
        while pruned.more:
            step = await call(self._ledger.prune_forecasts, now_us - keep.keep_forecasts.microseconds)
            pruned = pruned.plus(step)
        return pruned

    async def _by_size(self, max_bytes: int) -> Pruned:
        config, now_us = self._config(), self._clock.market_us()
        floor = SizeFloor(
            now_us=now_us,
            scores_since_us=now_us - self._scores_us,
            trades_since_us=now_us - _TRADES_BARS * config.bars.interval_us,
        )
        pruned = Pruned(more=True)
        while pruned.more:
            pruned = pruned.plus(await self._thread.call(self._ledger.shrink, max_bytes, floor))
        return pruned

    def _report(self, pruned: Pruned, *, reason: str) -> None:
        for record in ("bars", "forecasts", "scores"):
            self._metrics.store_pruned.labels(record, reason).inc(getattr(pruned, record))
        if not pruned.anything:
            return
        until = None if pruned.until_us is None else iso(pruned.until_us)
        figures = {"bars": pruned.bars, "forecasts": pruned.forecasts, "scores": pruned.scores}
        if reason == "size":
            log.warning("store_pruned", reason=reason, until=until, **figures)
        else:
            log.info("store_pruned", reason=reason, until=until, **figures)

    def _check_size(self, used_bytes: int, limit_bytes: int) -> None:
        """Announces once that the limit cannot be met, and why."""
        too_large, before = used_bytes > limit_bytes, self._too_large
        self._too_large = too_large
        if not too_large:
            if before:
                self._health.clear_fault("store size")
            return
        needed_mb = -(-used_bytes // 1_000_000)
        reason = (
            f"{needed_mb} MB of bars, recent scores and forecasts that wait for scores are more than "
            f"store.max_disk_mb = {limit_bytes // 1_000_000}; raise it above {needed_mb}, or shorten store.keep_bars"
        )
        self._health.fault("store size", reason)
        if not before:
            log.error("store_too_large", reason=reason, max_disk_mb=limit_bytes // 1_000_000, used_mb=needed_mb)
            event = event_payloads.store_too_large(
                at_us=self._clock.market_us(), used_bytes=used_bytes, limit_bytes=limit_bytes, reason=reason
            )
            self._messages.event(event)
