"""What the daemon does about each event: store it, publish it, count it, or ask an edge for what is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future

import structlog

from daemon.clock import Clock
from daemon.errors import DataFault
from daemon.forecasting.inference import Inference
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
    RoundClosed,
    SnapshotRequested,
    SymbolState,
    SymbolStateChanged,
)
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.reconciliation import with_outcome
from daemon.publishing import payloads
from daemon.publishing.message_builder import MessageBuilder
from daemon.runtime.reconciler import Auditing
from daemon.runtime.venue_feed import VenueFeed
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics, seconds
from daemon.store.errors import ForecastConflict
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from daemon.timestamps import iso
from features.market import Audit, Bar, Instrument
from models.forecast import ModelInfo

log = structlog.get_logger(__name__)

_MOST_ROUNDS = 1024  # bar closes waiting for the device: a day of outage at one-minute bars, caught up with at once


class Dispatcher:
    """Takes the pipeline's events and acts on them, in order."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        feeds: Mapping[str, VenueFeed],
        ledger: Ledger,
        store: StoreThread,
        inference: Inference,
        mailbox: MessageBuilder,
        metrics: Metrics,
        health: Health,
        clock: Clock,
        inference_deadline_s: float,
        auditing: Auditing | None,
        on_forecast: Callable[[IssuedForecast, bytes], None] = lambda _issued, _payload: None,
        on_bar: Callable[[Bar], None] = lambda _bar: None,
    ) -> None:
        self._pipeline = pipeline
        self._feeds = feeds
        self._ledger = ledger
        self._store = store
        self._inference = inference
        self._mailbox = mailbox
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._deadline_s = inference_deadline_s
        self._auditing = auditing
        self._on_forecast = on_forecast
        self._on_bar = on_bar
        self._wake = asyncio.Event()
        self._rounds: asyncio.Queue[RoundClosed | Bar | _Turn] = asyncio.Queue(_MOST_ROUNDS)
        self._closed_s: dict[Instrument, float] = {}
        self._stale_skill: set[tuple[Instrument, int]] = set()
        self.latest: dict[Instrument, IssuedForecast] = {}
        self.forecast_until_us = 0

    @property
    def rounds_depth(self) -> int:
        return self._rounds.qsize()

    rounds_capacity = _MOST_ROUNDS

    def wake(self) -> None:
        """Says that the pipeline has events."""
        self._wake.set()

    async def run(self) -> None:
        """Acts on events as they come, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._act_on_events():  # noqa: ASYNC110  # nothing is waited for: a turn is left to others
                await asyncio.sleep(0)  # a round goes to its thread before its bars are scored

    def drain(self) -> None:
        """Acts on everything that waits now."""
        while self._act_on_events():
            pass

    def save_trades(self, instruments: Iterable[Instrument] | None = None) -> None:
        """Stores the trades that are not stored yet; ``instruments`` says whose, None all."""
        if batches := self._pipeline.unsaved_trades(instruments):
            self._store.submit(self._ledger.save_trades_of, batches)

    async def run_rounds(self) -> None:
        """Forecasts round after round, and swaps champions between them, for ever."""
        while True:
            item = await self._rounds.get()
            if isinstance(item, _Turn):
                await item.perform()
            elif isinstance(item, Bar):
                await self._inference.revise(item)
            else:
                await self._forecast(item)

    async def between_bars(self, change: Callable[[], Awaitable[ModelInfo | None]]) -> ModelInfo | None:
        """Performs a change of the model between two rounds, and raises what it raises; the old one then stays."""
        turn = _Turn(change)
        await self._rounds.put(turn)
        return await turn.done

    # ---------------------------------------------------------------- inside

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
                self.bar_audited(event)
            case RoundClosed():
                self._line_up(event)
            case ForecastIssued():
                self._forecast_issued(event)
            case ForecastsScored():
                self._scored(event)
            case SnapshotRequested() | RepairRequested() | CandleRequested():
                self._feeds[event.instrument.venue].ask(event)
            case FeedSilent():
                self._feeds[event.instrument.venue].resubscribe(event)
            case GapOpened():
                self._metrics.trade_gaps.labels(*event.instrument).inc()
                log.warning("gap_opened", instrument=str(event.instrument), missing=event.missing)
                self._mailbox.event(payloads.gap_opened(event))
            case GapRepaired():
                self._metrics.trade_gaps_repaired.labels(*event.instrument).inc()
                log.info("gap_repaired", instrument=str(event.instrument), trades=event.trades)
                self._mailbox.event(payloads.gap_repaired(event))
            case SymbolStateChanged():
                self._symbol_state_changed(event)

    def _bar_closed(self, event: BarClosed) -> None:
        bar, instrument = self._to_be_audited(event.bar), event.bar.instrument
        self._closed_s[instrument] = self._clock.wall_s()
        self._store.submit(self._ledger.save_bars, [bar])
        self._mailbox.bar(bar)
        self._metrics.bars.labels(*instrument, bar.completeness.value).inc()
        self._metrics.bar_last_close_timestamp.labels(*instrument).set(seconds(bar.close_time_us))
        wait_s = event.wait_us / 1e6 / self._clock.speed
        self._metrics.bar_to_publish_last.labels(*instrument, "wait_for_proof").set(wait_s)
        log.info("bar_closed", instrument=str(instrument), completeness=bar.completeness.value, trades=bar.trades)
        self._on_bar(bar)

    def bar_audited(self, event: BarReconciled) -> None:
        """The outcome goes onto the bar; a bar that differs is announced."""
        bar = event.bar
        self._store.submit(self._ledger.save_bars, [bar])
        self._mailbox.bar(bar)
        self._metrics.bar_audits.labels(*bar.instrument, bar.audit.value).inc()
        if event.differences:
            log.warning("bar_audit_mismatch", bar=bar.label, differences=event.differences, verdict=event.verdict)
            self._mailbox.event(payloads.bar_audit_mismatch(event))

    def _to_be_audited(self, bar: Bar) -> Bar:
        if self._auditing is None:
            return with_outcome(bar, Audit.UNAVAILABLE)
        self._auditing.watch(bar)
        return bar

    def _bar_revised(self, revised: Bar) -> None:
        bar = self._to_be_audited(revised)
        self._store.submit(self._ledger.save_bars, [bar])
        self._mailbox.bar(bar)
        self._metrics.bar_revisions.labels(*bar.instrument).inc()
        self._line_up(bar)
        log.info("bar_revised", instrument=str(bar.instrument), revision=bar.revision, verdict=bar.completeness.value)
        self._on_bar(bar)

    def _line_up(self, item: RoundClosed | Bar) -> None:
        try:
            self._rounds.put_nowait(item)
        except asyncio.QueueFull:
            # The forecast would be stale; the bar itself is stored, and the next history load brings it back.
            log.error("round_dropped", reason="inference is far behind", waiting=_MOST_ROUNDS)  # noqa: TRY400

    async def _forecast(self, closed: RoundClosed) -> None:
        made = await self._inference.round(closed.close_time_us, closed.bars, deadline_s=self._deadline_s)
        if made.failure is not None:
            log.error("model_failed", reason=made.failure)
            self._health.fault("model", made.failure)
        else:
            self._health.clear_fault("model")
        for instrument, reason in made.unforecast:
            log.warning("not_forecast", instrument=str(instrument), reason=reason)
        self.forecast_until_us = closed.close_time_us
        now_us = self._clock.market_us()
        if made.forecasts and now_us >= payloads.valid_until_us(made.forecasts[0].issued):
            log.warning("round_too_old", close_time=iso(closed.close_time_us))
            return
        self._pipeline.forecasts_made(made, now_us=now_us)
        for instrument in {bar.instrument for bar in closed.bars}:
            self._metrics.bar_to_publish_last.labels(*instrument, "features").set(made.features_ms / 1000)
            self._metrics.bar_to_publish_last.labels(*instrument, "inference").set(made.inference_ms / 1000)
            self._metrics.inference.labels(instrument.venue).observe(made.inference_ms / 1000)
        self.drain()

    def _forecast_issued(self, event: ForecastIssued) -> None:
        issued, made = event.issued, event.issued.forecast
        instrument = Instrument(made.venue, made.symbol)
        try:
            payload = payloads.forecast(issued)
        except DataFault as error:
            # A number that no message can hold: this forecast stays here, and the daemon lives on.
            log.error("forecast_withheld", id=issued.id, kind=made.model.kind, reason=str(error))  # noqa: TRY400
            return
        self.latest[instrument] = issued
        closed_s = self._closed_s.get(instrument, self._clock.wall_s())
        saved = self._store.submit(
            self._save_forecast, issued, payload, self._pipeline.scoreboard.pending_record(issued.id, instrument)
        )
        loop = asyncio.get_running_loop()

        def publish(future: Future[bytes]) -> None:
            if not future.cancelled() and future.exception() is None:
                loop.call_soon_threadsafe(self._mailbox.forecast, made, future.result(), closed_s)

        saved.add_done_callback(publish)
        self._metrics.forecasts.labels(*instrument, issued.source).inc()
        self._metrics.forecast_last_timestamp.labels(*instrument).set(seconds(issued.issued_at_us))
        self._health.forecast_issued()
        log.info("forecast_issued", id=issued.id, source=issued.source, kind=made.model.kind)
        self._on_forecast(issued, payload)

    def _save_forecast(self, issued: IssuedForecast, payload: bytes, pending_record: bytes) -> bytes:
        """Stores a forecast, in the store's thread, and returns what is to be published: what was issued first."""
        made = issued.forecast
        instrument = Instrument(made.venue, made.symbol)
        try:
            self._ledger.save_forecast(
                StoredForecast(
                    id=issued.id,
                    venue=made.venue,
                    symbol=made.symbol,
                    interval_us=made.interval_us,
                    close_time_us=made.close_time_us,
                    valid_until_us=payloads.valid_until_us(made),
                    topic=self._mailbox.topics.forecast(instrument, made.interval_us),
                    payload=payload,
                ),
                pending_record=pending_record,
                reading=made.reading,
            )
        except ForecastConflict as error:
            log.warning("forecast_stands", id=issued.id, reason=str(error))
            return self._ledger.forecast_payload(issued.id) or payload
        return payload

    def _scored(self, event: ForecastsScored) -> None:
        changes = self._pipeline.scoreboard.take_changes()
        self._store.submit(
            self._ledger.save_scores,
            list(event.scores),
            settled=changes.settled,
            still_pending=changes.still_pending,
            calibrations=changes.calibrations,
        )
        self._stale_skill |= {(Instrument(s.venue, s.symbol), s.horizon_bars) for s in event.scores}

    def show_skill(self) -> None:
        """Brings the skill gauges up to date; called between bars, so that no forecast waits for it."""
        while self._stale_skill:
            instrument, horizon = self._stale_skill.pop()
            scoreboard = self._pipeline.scoreboard
            skill = scoreboard.skill(*instrument, horizon_bars=horizon)
            self._metrics.skill_scored(instrument, skill, horizon=horizon)
            self._metrics.calibrated(instrument, scoreboard.widths(instrument, horizon), horizon=horizon)

    def _symbol_state_changed(self, event: SymbolStateChanged) -> None:
        log.info("symbol_state", instrument=str(event.instrument), state=event.state.value, reason=event.reason)
        self._mailbox.symbol_status(event)
        self._metrics.show_state(event.instrument, event.state)
        if event.state is SymbolState.STALE or event.state is SymbolState.WARMING_UP:
            self._health.symbol_unreachable(event.instrument, event.reason)
        else:
            self._health.symbol_warm(event.instrument)


class _Turn:
    """A change of the model waiting for its place between two bars."""

    def __init__(self, change: Callable[[], Awaitable[ModelInfo | None]]) -> None:
        self.done: asyncio.Future[ModelInfo | None] = asyncio.get_running_loop().create_future()
        self._change = change

    async def perform(self) -> None:
        try:
            info = await self._change()
        except Exception as error:  # noqa: BLE001  # raised where between_bars waits
            if not self.done.cancelled():
                self.done.set_exception(error)
        else:
            if not self.done.cancelled():
                self.done.set_result(info)
