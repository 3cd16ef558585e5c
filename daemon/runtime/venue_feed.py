"""Connects one venue's stream and REST client to the pipeline: passes trades on and answers its requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from daemon.clock import Clock
from daemon.errors import DataFault
from daemon.exchanges.base import TradeRecord, Venue
from daemon.ingest.rest_client import RestClient
from daemon.ingest.stream import MarketStream
from daemon.pipeline.events import FeedSilent, Request
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime.timekeeper import Timekeeper
from daemon.runtime.venue_requests import VenueRequests
from daemon.serving.metrics import Metrics, seconds
from features.market import Instrument, Trade

log = structlog.get_logger(__name__)

_SAMPLE_LENGTH = 200  # of a frame or fault, in the log


class Counts(NamedTuple):
    """The counter values of one instrument that were last added to the metrics."""

    trades: int = 0
    duplicates: int = 0
    malformed: int = 0
    missing: int = 0
    last_trade_at_us: int | None = None


_NOTHING = Counts()


class VenueFeed:
    """The listener of one venue's stream (see StreamListener), which also sends the pipeline's REST requests."""

    def __init__(
        self,
        wire: Venue,
        symbols: Sequence[str],
        *,
        pipeline: Pipeline,
        rest: RestClient,
        clock: Clock,
        timekeeper: Timekeeper,
        metrics: Metrics,
        wake: Callable[[], None],
    ) -> None:
        self.venue = wire.name
        self.instruments = {symbol: Instrument(wire.name, symbol) for symbol in symbols}
        self.rest = rest
        self.stream: MarketStream | None = None
        self._pipeline = pipeline
        self._clock = clock
        self._timekeeper = timekeeper
        self._metrics = metrics
        self._wake = wake
        self._to_trades = wire.to_trades
        self._take_next = {symbol: pipeline.instruments[each].take_next for symbol, each in self.instruments.items()}
        self._sample_due = True
        self._lost: set[str] = set()
        self._candles_rejected = 0  # of them in the metric
        self.requests = VenueRequests(rest, pipeline=pipeline, clock=clock, wake=wake)

    # ---------------------------------------------------------------- StreamListener

    def trades_received(self, symbol: str, records: Sequence[TradeRecord]) -> None:
        if not self._sample_due:
            # Nearly every trade is next in sequence for the open bar: it needs no clock and makes no event.
            taken = self._take_next[symbol](records)
            if taken == len(records):
                return
            records = records[taken:]
        trades = self._to_trades(records)
        now_us, wall_s = self._now()
        if self._sample_due:
            self._sample_due = False
            self._sample_delay(trades[-1], now_us)
        self._pipeline.trades_received(self.instruments[symbol], trades, now_us, wall_s)
        if self._pipeline.has_events:
            self._wake()

    def _sample_delay(self, newest: Trade, now_us: int) -> None:
        delay_us = now_us - newest.time_us
        self._metrics.feed_delay.labels(self.venue).observe(max(delay_us / 1e6 / self._clock.speed, 0.0))
        self._timekeeper.trade_received(self.venue, newest.time_us)

    def frame_malformed(self, frame: bytes, error: DataFault) -> None:
        self._metrics.frames_malformed.labels(self.venue).inc()
        reason = str(error)[:_SAMPLE_LENGTH]  # a fault may quote the frame
        log.warning("frame_malformed", venue=self.venue, reason=reason, frame=frame[:_SAMPLE_LENGTH])

    def subscribed(self, symbol: str) -> None:
        self._pipeline.subscribed(self.instruments[symbol], self._clock.market_us())
        log.info("subscribed", venue=self.venue, symbol=symbol)

    def refused(self, symbol: str, reason: str) -> None:
        log.error("subscription_refused", venue=self.venue, symbol=symbol, reason=reason[:_SAMPLE_LENGTH])

    def connected(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            self._metrics.feed_connected.labels(self.venue, symbol).set(1)
            if symbol in self._lost:
                self._lost.discard(symbol)
                self._metrics.feed_reconnects.labels(self.venue, symbol).inc()

    def disconnected(self, symbols: Sequence[str], reason: str, next_try_s: float, complete_until_us: int) -> None:
        now_us = self._clock.market_us()
        for symbol in symbols:
            self._metrics.feed_connected.labels(self.venue, symbol).set(0)
            self._lost.add(symbol)
            self._pipeline.stream_lost(self.instruments[symbol], complete_until_us, now_us)
        if self._pipeline.has_events:
            self._wake()
        log.warning(
            "feed_lost", venue=self.venue, symbols=list(symbols), reason=reason, next_try_s=round(next_try_s, 1)
        )

    # ---------------------------------------------------------------- requests of the pipeline

    def request(self, request: Request) -> None:
        """Sends a request; the pipeline receives the answer or the failure."""
        self.requests.send(request)

    def cancel(self, request: Request) -> None:
        """Cancels a request that the pipeline has given up."""
        self.requests.cancel(request)

    def renew_subscription(self, symbol: str, reason: str) -> None:
        """Replaces the connection of ``symbol``: the venue may have dropped its subscription without a word."""
        if self.stream is not None:
            self.stream.reconnect(symbol, reason)

    def resubscribe(self, silent: FeedSilent) -> None:
        log.warning("feed_mute", instrument=str(silent.instrument), unheard_trades=silent.undelivered_trades)
        if self.stream is not None:
            self.stream.reconnect(silent.instrument.symbol)

    def update_counters(self, shown: dict[Instrument, Counts]) -> None:
        """Updates the trade counters, and samples the delay of the next trade; called once a second.

        shown: the values that the counters have, updated in place.
        """
        self._sample_due = True
        self.requests.report_pending()
        rejected, self._candles_rejected = self._candles_rejected, self.rest.candles_rejected
        if self._candles_rejected != rejected:
            self._metrics.candles_rejected.labels(self.venue).inc(self._candles_rejected - rejected)
        for instrument in self.instruments.values():
            series = self._pipeline.instruments[instrument]
            counts = Counts(
                series.trades, series.duplicates, series.malformed, series.missing_trades, series.last_trade_at_us
            )
            before = shown.get(instrument, _NOTHING)
            if counts != before:
                shown[instrument] = counts
                self._show(instrument, counts, before)

    def _show(self, instrument: Instrument, counts: Counts, before: Counts) -> None:
        """Updates changed metrics only: looking a metric up costs more than setting it."""
        metrics = self._metrics
        metrics.trades.labels(*instrument).inc(counts.trades - before.trades)
        if counts.duplicates != before.duplicates:
            metrics.trades_duplicate.labels(*instrument).inc(counts.duplicates - before.duplicates)
        if counts.malformed != before.malformed:
            metrics.trades_malformed.labels(*instrument).inc(counts.malformed - before.malformed)
        if counts.missing != before.missing:
            metrics.trades_missing.labels(*instrument).set(counts.missing)
        if counts.last_trade_at_us is not None:
            metrics.feed_last_trade_timestamp.labels(*instrument).set(seconds(counts.last_trade_at_us))

    async def close(self) -> None:
        await self.requests.close()
        await self.rest.close()

    # ---------------------------------------------------------------- inside

    def _now(self) -> tuple[int, float]:
        return self._clock.market_us(), self._clock.wall_s()
