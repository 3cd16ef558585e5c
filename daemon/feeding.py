"""One venue's stream and REST joined to the pipeline: trades go in, what the pipeline wants is fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import structlog

from daemon.clock import Clock
from daemon.errors import DataFault, ForecastdError, Verdict, judge
from daemon.events import FeedMute, RepairWanted, SeedWanted
from daemon.ingest.backfill import RestClient
from daemon.ingest.stream import MarketStream
from daemon.pipeline import Pipeline
from daemon.serving.metrics import Metrics, seconds
from features.market import Instrument, Trade

log = structlog.get_logger(__name__)

_SKEW_PERIOD_S = 60.0
_FRAME_SAMPLE_BYTES = 200


class VenueFeed:
    """Listens to one venue's stream (see StreamListener) and asks its REST side what the pipeline wants to know."""

    def __init__(
        self,
        venue: str,
        symbols: Sequence[str],
        *,
        pipeline: Pipeline,
        rest: RestClient,
        clock: Clock,
        metrics: Metrics,
        wake: Callable[[], None],
    ) -> None:
        self.venue = venue
        self.instruments = {symbol: Instrument(venue, symbol) for symbol in symbols}
        self.rest = rest
        self.stream: MarketStream | None = None
        self._pipeline = pipeline
        self._clock = clock
        self._metrics = metrics
        self._wake = wake
        self._take_next = {symbol: pipeline.series[each].take_next for symbol, each in self.instruments.items()}
        self._sample_due = True
        self._lost: set[str] = set()
        self.clock_checked = asyncio.Event()
        self._requests: set[asyncio.Task[None]] = set()

    # ---------------------------------------------------------------- StreamListener

    def trades(self, symbol: str, trades: list[Trade]) -> None:
        # Nearly every message is one trade, the next of the open bar: it needs no clock and makes no event.
        if not self._sample_due and len(trades) == 1 and self._take_next[symbol](trades[0]):
            return
        now_us, wall_s = self._now()
        if self._sample_due:
            self._sample_due = False
            delay_s = (now_us - trades[-1].time_us) / 1e6 / self._clock.speed
            self._metrics.feed_delay.labels(self.venue).observe(max(delay_s, 0.0))
        self._pipeline.trades_received(self.instruments[symbol], trades, now_us, wall_s)
        if self._pipeline.has_events:
            self._wake()

    def malformed(self, frame: bytes, error: DataFault) -> None:
        self._metrics.frames_malformed.labels(self.venue).inc()
        log.warning("frame_malformed", venue=self.venue, reason=str(error), frame=frame[:_FRAME_SAMPLE_BYTES])

    def subscribed(self, symbol: str) -> None:
        log.info("subscribed", venue=self.venue, symbol=symbol)

    def refused(self, symbol: str, reason: str) -> None:
        log.error("subscription_refused", venue=self.venue, symbol=symbol, reason=reason)

    def connected(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            self._metrics.feed_connected.labels(self.venue, symbol).set(1)
            if symbol in self._lost:
                self._lost.discard(symbol)
                self._metrics.feed_reconnects.labels(self.venue, symbol).inc()

    def disconnected(self, symbols: Sequence[str], reason: str, next_try_s: float) -> None:
        for symbol in symbols:
            self._metrics.feed_connected.labels(self.venue, symbol).set(0)
            self._lost.add(symbol)
        log.warning(
            "feed_lost", venue=self.venue, symbols=list(symbols), reason=reason, next_try_s=round(next_try_s, 1)
        )

    # ---------------------------------------------------------------- what the pipeline wants

    def seed(self, wanted: SeedWanted) -> None:
        self._ask(self._seed(wanted), wanted.instrument)

    def repair(self, wanted: RepairWanted) -> None:
        self._ask(self._repair(wanted), wanted.instrument)

    def resubscribe(self, mute: FeedMute) -> None:
        log.warning("feed_mute", instrument=str(mute.instrument), unheard_trades=mute.unheard_trades)
        if self.stream is not None:
            self.stream.reconnect(mute.instrument.symbol)

    async def measure_skew(self) -> None:
        """Publishes the venue's clock minus ours, once a minute, for ever."""
        while True:
            try:
                skew_ms = await self.rest.server_time_skew_ms()
            except ForecastdError as error:
                if judge(error) is Verdict.STOP:
                    raise
                log.info("skew_unknown", venue=self.venue, reason=str(error))
            else:
                self._show_skew(skew_ms)
            self.clock_checked.set()
            await asyncio.sleep(_SKEW_PERIOD_S)

    def _show_skew(self, skew_ms: int) -> None:
        """Market time follows the venue; what is shown is how far the machine's own clock is behind it."""
        if self._clock.follow(skew_ms * 1000):
            log.warning("clock_stepped", venue=self.venue, skew_ms=skew_ms, cure="let NTP set this machine's clock")
            skew_ms = 0
        local_ms = round(skew_ms / self._clock.speed) + self._clock.ahead_of_system_us() // 1000
        self._pipeline.clock_skew_ms = local_ms
        self._metrics.clock_skew.labels(self.venue).set(local_ms / 1000)

    def show_counts(self, shown: dict[Instrument, tuple[int, int]]) -> None:
        """Brings the trade counters up to date, and lets the next trade's delay be noted; called once a second.

        ``shown`` remembers what the counters show.
        """
        self._sample_due = True
        for instrument in self.instruments.values():
            series = self._pipeline.series[instrument]
            trades, duplicates = shown.get(instrument, (0, 0))
            self._metrics.trades.labels(*instrument).inc(series.trades - trades)
            self._metrics.trades_duplicate.labels(*instrument).inc(series.duplicates - duplicates)
            shown[instrument] = (series.trades, series.duplicates)
            self._metrics.trades_missing.labels(*instrument).set(series.missing_trades)
            if series.last_trade_at_us is not None:
                self._metrics.feed_last_trade_timestamp.labels(*instrument).set(seconds(series.last_trade_at_us))

    async def close(self) -> None:
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        await self.rest.close()

    # ---------------------------------------------------------------- inside

    def _ask(self, request: Coroutine[None, None, None], instrument: Instrument) -> None:
        task = asyncio.create_task(self._guarded(request, instrument), name=f"rest-{instrument}")
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _guarded(self, request: Coroutine[None, None, None], instrument: Instrument) -> None:
        """A venue that cannot be asked now is asked again later: the pipeline decides when."""
        try:
            await request
        except (ForecastdError, OSError, TimeoutError) as error:
            log.warning("venue_not_asked", instrument=str(instrument), reason=str(error) or repr(error))
            self._pipeline.request_failed(instrument, str(error) or repr(error), *self._now())
        self._wake()

    async def _seed(self, wanted: SeedWanted) -> None:
        symbol = wanted.instrument.symbol
        answer = await self.rest.trades_from_time(symbol, wanted.from_time_us)
        latest = None if answer.trades else await self.rest.latest_trade(symbol)
        now_us, wall_s = self._now()
        self._pipeline.seeded(
            wanted.instrument, answer.trades, latest, from_time_us=wanted.from_time_us, now_us=now_us, wall_s=wall_s
        )

    async def _repair(self, wanted: RepairWanted) -> None:
        answer = await self.rest.trades_from_id(wanted.instrument.symbol, wanted.from_id, wanted.until_id)
        now_us, wall_s = self._now()
        self._pipeline.repair_received(
            wanted.instrument,
            answer.trades,
            head_reached=answer.head_reached,
            asked_at_us=answer.asked_at_us,
            now_us=now_us,
            wall_s=wall_s,
        )

    def _now(self) -> tuple[int, float]:
        return self._clock.market_us(), self._clock.wall_s()
