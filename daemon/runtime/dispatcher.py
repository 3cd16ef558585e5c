"""Acts on each event of the pipeline: stores it, publishes it, counts it, or sends a request to an edge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import structlog

from daemon.forecasting.records import IssuedForecast
from daemon.pipeline.events import (
    BarClosed,
    BarReconciled,
    BarRevised,
    CandleRequested,
    Event,
    FeedSilent,
    ForecastIssued,
    ForecastsScored,
    GapOpened,
    GapRepaired,
    RepairRequested,
    RequestGivenUp,
    RoundClosed,
    SnapshotRequested,
    SymbolState,
    SymbolStateChanged,
)
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.reconciliation import with_outcome
from daemon.publishing import event_payloads
from daemon.runtime.forecast_delivery import ForecastDelivery
from daemon.runtime.forecast_rounds import ForecastRounds
from daemon.runtime.reconciler import Reconciler
from daemon.runtime.reporting import Reporting
from daemon.runtime.store_writer import StoreWriter
from daemon.runtime.venue_feed import VenueFeed
from daemon.serving.metrics import seconds
from features.market import Audit, Bar, Instrument

log = structlog.get_logger(__name__)

_SKILL_METRICS_S = 0.03  # of the event loop's time each second


class Dispatcher:
    """Takes the pipeline's events and acts on them, in order.

    reconciler: None where bars are not compared with the venue's candles. on_bar: called with each closed or revised
    bar.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        feeds: Mapping[str, VenueFeed],
        writer: StoreWriter,
        rounds: ForecastRounds,
        delivery: ForecastDelivery,
        reporting: Reporting,
        reconciler: Reconciler | None,
        on_bar: Callable[[Bar], None],
    ) -> None:
        self._pipeline = pipeline
        self._feeds = feeds
        self._writer = writer
        self._rounds = rounds
        self._delivery = delivery
        self._reporting = reporting
        self._messages = reporting.messages
        self._metrics = reporting.metrics
        self._reconciler = reconciler
        self._on_bar = on_bar
        self._wake = asyncio.Event()
        self._closed_s: dict[Instrument, float] = {}
        self._stale_skill: dict[tuple[Instrument, int], None] = {}  # oldest first

    @property
    def latest(self) -> Mapping[Instrument, IssuedForecast]:
        """The last published forecast of each instrument."""
        return self._delivery.latest

    def wake(self) -> None:
        """Must be called when the pipeline has events."""
        self._wake.set()

    async def run(self) -> None:
        """Acts on events as they arrive, without end."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._act_on_events():  # noqa: ASYNC110  # this yields to other tasks and waits for nothing
                await asyncio.sleep(0)  # a round goes to its thread before its bars are scored

    def drain(self) -> None:
        """Acts on all events that are waiting now."""
        while self._act_on_events():
            pass

    def save_trades(self, instruments: Iterable[Instrument] | None = None) -> None:
        """Stores the trades of ``instruments`` (None: of all) that are not stored yet."""
        self._writer.trades(self._pipeline.unsaved_trades(instruments))

    def update_skill_metrics(self) -> None:
        """Brings the skill gauges up to date, the oldest first; called once a second.

        It stops after a moment, because with hundreds of instruments all gauges together take seconds.
        """
        until_s = self._reporting.clock.wall_s() + _SKILL_METRICS_S
        while self._stale_skill and self._reporting.clock.wall_s() < until_s:
            instrument, horizon = next(iter(self._stale_skill))
            del self._stale_skill[instrument, horizon]
            scoreboard = self._pipeline.scoreboard
            skill = scoreboard.skill(*instrument, horizon_bars=horizon)
            self._metrics.skill_scored(instrument, skill, horizon=horizon)
            self._metrics.calibrated(instrument, scoreboard.widths(instrument, horizon), horizon=horizon)

    def bar_reconciled(self, event: BarReconciled) -> None:
        """Stores and publishes the bar with its outcome, and announces a difference."""
        bar = event.bar
        self._writer.bar(bar)
        self._messages.bar(bar)
        self._metrics.bar_audits.labels(*bar.instrument, bar.audit.value).inc()
        if event.differences:
            log.warning("bar_audit_mismatch", bar=bar.label, differences=event.differences, verdict=event.verdict)
            self._messages.event(event_payloads.bar_audit_mismatch(event))

    # ---------------------------------------------------------------- events

    def _act_on_events(self) -> bool:
        """Whether there may be more."""
        events = self._pipeline.events()
        # A bar is never stored before its trades: killed between the two, it could not be revised after the restart.
        self.save_trades({event.bar.instrument for event in events if isinstance(event, BarClosed | BarRevised)})
        for event in events:
            self._act(event)
        return bool(events) or self._pipeline.has_events

    def _act(self, event: Event) -> None:
        match event:
            case BarClosed():
                self._bar_closed(event)
            case BarRevised():
                self._bar_revised(event.bar)
            case BarReconciled():
                self.bar_reconciled(event)
            case RoundClosed():
                self._rounds.submit(event)
            case ForecastIssued():
                self._forecast_issued(event)
            case ForecastsScored():
                self._scored(event)
            case SnapshotRequested() | RepairRequested() | CandleRequested():
                self._feeds[event.instrument.venue].request(event)
            case RequestGivenUp():
                self._feeds[event.request.instrument.venue].cancel(event.request)
            case FeedSilent():
                self._feeds[event.instrument.venue].resubscribe(event)
            case GapOpened():
                self._metrics.trade_gaps.labels(*event.instrument).inc()
                log.warning("gap_opened", instrument=str(event.instrument), missing=event.missing)
                self._messages.event(event_payloads.gap_opened(event))
            case GapRepaired():
                self._metrics.trade_gaps_repaired.labels(*event.instrument).inc()
                log.info("gap_repaired", instrument=str(event.instrument), trades=event.trades)
                self._messages.event(event_payloads.gap_repaired(event))
            case SymbolStateChanged():
                self._symbol_state_changed(event)

    def _bar_closed(self, event: BarClosed) -> None:
        bar, instrument = self._watched(event.bar), event.bar.instrument
        self._closed_s[instrument] = self._reporting.clock.wall_s()
        if self._reporting.clock.market_us() < bar.close_time_us + bar.interval_us:  # else a forecast is out of date
            self._reporting.health.bar_closed(instrument, bar.close_time_us)
        self._writer.bar(bar)
        self._messages.bar(bar)
        self._metrics.bars.labels(*instrument, bar.completeness.value).inc()
        self._metrics.bar_last_close_timestamp.labels(*instrument).set(seconds(bar.close_time_us))
        wait_s = event.wait_us / 1e6 / self._reporting.clock.speed
        self._metrics.bar_to_publish_last.labels(*instrument, "wait_for_proof").set(wait_s)
        log.info("bar_closed", instrument=str(instrument), completeness=bar.completeness.value, trades=bar.trades)
        self._on_bar(bar)

    def _bar_revised(self, revised: Bar) -> None:
        bar = self._watched(revised)
        self._writer.bar(bar)
        self._messages.bar(bar)
        self._metrics.bar_revisions.labels(*bar.instrument).inc()
        self._rounds.submit(bar)
        log.info("bar_revised", instrument=str(bar.instrument), revision=bar.revision, verdict=bar.completeness.value)
        self._on_bar(bar)

    def _watched(self, bar: Bar) -> Bar:
        """The bar, scheduled for its comparison with the venue's candle."""
        if self._reconciler is None:
            return with_outcome(bar, Audit.UNAVAILABLE)
        self._reconciler.watch(bar)
        return bar

    def _forecast_issued(self, event: ForecastIssued) -> None:
        forecast = event.issued.forecast
        now_s = self._reporting.clock.wall_s()
        closed_s = self._closed_s.get(Instrument(forecast.venue, forecast.symbol), now_s)
        self._delivery.deliver(event.issued, closed_s=closed_s)

    def _scored(self, event: ForecastsScored) -> None:
        self._writer.scores(event.scores, self._pipeline.scoreboard.take_changes())
        self._stale_skill |= dict.fromkeys((Instrument(s.venue, s.symbol), s.horizon_bars) for s in event.scores)

    def _symbol_state_changed(self, event: SymbolStateChanged) -> None:
        log.info("symbol_state", instrument=str(event.instrument), state=event.state.value, reason=event.reason)
        self._messages.symbol_status(event)
        self._metrics.show_state(event.instrument, event.state)
        unlisted = event.state is SymbolState.HALTED and self._pipeline.instruments[event.instrument].unlisted
        if event.state in {SymbolState.STALE, SymbolState.WARMING_UP} or unlisted:
            self._reporting.health.symbol_unreachable(event.instrument, event.reason)
        else:
            self._reporting.health.symbol_live(event.instrument)
