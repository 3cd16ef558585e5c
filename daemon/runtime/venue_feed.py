"""Connects one venue's stream and REST client to the pipeline: passes trades on and answers its requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from daemon.clock import Clock
from daemon.errors import DataFault, ErrorHandling, ForecastdError, classify
from daemon.exchanges.base import TradeRecord, Venue
from daemon.ingest.rest_client import RestClient
from daemon.ingest.stream import MarketStream
from daemon.pipeline.events import FeedSilent, Request
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime.venue_requests import VenueRequests
from daemon.serving.metrics import Metrics, seconds
from features.market import Instrument

log = structlog.get_logger(__name__)

_SKEW_PERIOD_S = 60.0
_FIRST_SKEW_PERIOD_S = 2.0
_SAMPLE_LENGTH = 200  # of a frame or fault, in the log
_AHEAD_SAMPLES = 5  # one second apart
_MAX_DELAY_S = 10.0  # no venue's trades stay so late for seconds


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
        metrics: Metrics,
        wake: Callable[[], None],
    ) -> None:
        self.venue = wire.name
        self.instruments = {symbol: Instrument(wire.name, symbol) for symbol in symbols}
        self.rest = rest
        self.stream: MarketStream | None = None
        self._pipeline = pipeline
        self._clock = clock
        self._metrics = metrics
        self._wake = wake
        self._to_trades = wire.to_trades
        self._take_next = {symbol: pipeline.instruments[each].take_next for symbol, each in self.instruments.items()}
        self._sample_due = True
        self._ahead_us: deque[int] = deque(maxlen=_AHEAD_SAMPLES)
        self._lost: set[str] = set()
        self.clock_known = asyncio.Event()  # set once the venue's time was received
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
            self._sample_delay(now_us - trades[-1].time_us)
        self._pipeline.trades_received(self.instruments[symbol], trades, now_us, wall_s)
        if self._pipeline.has_events:
            self._wake()

    def _sample_delay(self, delay_us: int) -> None:
        """Samples the delay of trades, and corrects the clock by it.

        Trades from the future show that market time is behind the venue's. While the venue's time is unknown, trades
        that are all very late show that market time is ahead. A single trade is no evidence.
        """
        self._metrics.feed_delay.labels(self.venue).observe(max(delay_us / 1e6 / self._clock.speed, 0.0))
        self._ahead_us.append(-delay_us)
        if len(self._ahead_us) < _AHEAD_SAMPLES:
            return
        if min(self._ahead_us) > 0:
            self._follow(min(self._ahead_us))
        elif not self.clock_known.is_set() and max(self._ahead_us) < -_MAX_DELAY_S * 1e6 * self._clock.speed:
            self._follow(max(self._ahead_us))

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

    def resubscribe(self, silent: FeedSilent) -> None:
        log.warning("feed_mute", instrument=str(silent.instrument), unheard_trades=silent.undelivered_trades)
        if self.stream is not None:
            self.stream.reconnect(silent.instrument.symbol)

    async def measure_skew(self) -> None:
        """Measures the venue's clock minus ours once a minute without end, more often until it is known."""
        while True:
            try:
                skew_ms = await self.rest.server_time_skew_ms()
            except ForecastdError as error:
                if classify(error) is ErrorHandling.STOP:
                    raise
                log.info("skew_unknown", venue=self.venue, reason=str(error))
            else:
                self._show_skew(skew_ms)
                self.clock_known.set()
            await asyncio.sleep(_SKEW_PERIOD_S if self.clock_known.is_set() else _FIRST_SKEW_PERIOD_S)

    def _show_skew(self, skew_ms: int) -> None:
        """Market time follows the venue; the metric shows how far the machine's own clock is behind it."""
        if self._follow(skew_ms * 1000):
            skew_ms = 0
        local_ms = round(skew_ms / self._clock.speed) + self._clock.ahead_of_system_us() // 1000
        self._pipeline.clock_skew_ms = local_ms
        self._metrics.clock_skew.labels(self.venue).set(local_ms / 1000)

    def _follow(self, skew_us: int) -> bool:
        stepped = self._clock.correct_skew(skew_us)
        if stepped:
            self._ahead_us.clear()
            cure = "let NTP set this machine's clock"
            log.warning("clock_stepped", venue=self.venue, skew_ms=skew_us // 1000, cure=cure)
        return stepped

    def update_counters(self, shown: dict[Instrument, Counts]) -> None:
        """Updates the trade counters, and samples the delay of the next trade; called once a second.

        shown: the values that the counters have, updated in place.
        """
        self._sample_due = True
        self.requests.report_pending()
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
