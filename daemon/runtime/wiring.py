"""The parts of one daemon and how they are joined. Nothing runs here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from daemon import __version__
from daemon.clock import Clock
from daemon.config import Config
from daemon.errors import ConfigError
from daemon.exchanges import venue
from daemon.exchanges.base import traits
from daemon.forecasting.calibration import Calibration
from daemon.forecasting.engine import ForecastEngine
from daemon.forecasting.inference import Inference
from daemon.forecasting.records import IssuedForecast
from daemon.forecasting.scoreboard import Scoreboard
from daemon.forecasting.target_history import BASELINES
from daemon.ingest.rest_client import RestClient
from daemon.ingest.stream import MarketStream
from daemon.pipeline.events import BarReconciled
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import Timeouts
from daemon.publishing import payloads
from daemon.publishing.message_builder import MessageBuilder
from daemon.publishing.outbox import DropReason, OutboxMessage
from daemon.publishing.publisher import Publisher, PublisherState
from daemon.publishing.settings import MqttSettings
from daemon.publishing.topics import Topics
from daemon.retraining.controller import Trainer
from daemon.runtime.dispatcher import Dispatcher
from daemon.runtime.history_loader import History
from daemon.runtime.reconciler import Auditing
from daemon.runtime.venue_feed import VenueFeed
from daemon.serving.health import Condition, Health
from daemon.serving.metrics import Metrics
from daemon.store.ledger import LEDGER_NAME, Ledger
from daemon.store.thread import StoreThread
from features.market import Bar, Trade
from models.artifacts.registry import Registry
from models.specification import Progress

log = structlog.get_logger(__name__)

_CONNECTED = "connected"


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """Who else wants to hear: the demo's terminal view, and tests.

    training_budget_s: wall time that one training may take; None for as long as it needs.
    """

    on_bar: Callable[[Bar], None] = lambda _bar: None
    on_forecast: Callable[[IssuedForecast, bytes], None] = lambda _issued, _payload: None
    on_progress: Callable[[Progress], None] = lambda _progress: None
    on_delivered: Callable[[OutboxMessage, float], None] = lambda _message, _seconds: None
    training_budget_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Everything that runs, built and joined."""

    config: Config
    clock: Clock
    metrics: Metrics
    health: Health
    ledger: Ledger
    store: StoreThread
    pipeline: Pipeline
    inference: Inference
    publisher: Publisher
    mailbox: MessageBuilder
    feeds: dict[str, VenueFeed]
    dispatcher: Dispatcher
    auditing: Auditing | None
    history: History
    trainer: Trainer


def patience_for(config: Config, clock: Clock) -> Timeouts:
    """The waits of a bar close, turned from wall seconds into market time.

    The wait for proof ends at a tenth of the bar's wall length, 30 s at most; the grace leaves half of that wait
    to the venue's answer.
    """
    bar_wall_s = config.bars.interval_us / 1e6 / clock.speed
    wait_s = min(30.0, bar_wall_s / 10)
    grace_s = min(config.bars.grace_s, wait_s / 2)
    scale = clock.speed * 1e6
    return Timeouts(
        grace_us=int(grace_s * scale),
        proof_wait_us=int(wait_s * scale),
        undelivered_age_us=int(5 * scale),
        clock_margin_us=int(scale),
        max_ahead_us=int(60 * scale),
    )


def build(config: Config, *, clock: Clock, hooks: Hooks, broker_port: int | None) -> Components:
    """Builds every part. ``broker_port``: where the embedded broker listens, None where another one is configured."""
    metrics = Metrics(version=__version__, market_us=clock.market_us)
    topics = Topics(config.mqtt.base_topic, config.instance.name)
    health = Health(clock, config.instruments, on_change=lambda condition: mailbox.status(status_payload(condition)))
    publisher = _publisher(
        config,
        clock=clock,
        topics=topics,
        metrics=metrics,
        broker_port=broker_port,
        on_delivered=hooks.on_delivered,
        health_fault=lambda reason: health.fault("mqtt", reason) if reason else health.clear_fault("mqtt"),
    )
    mailbox = MessageBuilder(publisher, topics, clock)

    def store_troubled(reason: str | None) -> None:
        # Called from the store's thread: Health is plain bookkeeping, but publishing belongs to the loop.
        loop.call_soon_threadsafe(lambda: health.fault("store", reason) if reason else health.clear_fault("store"))

    loop = asyncio.get_running_loop()
    store = StoreThread(on_blocked=store_troubled)
    ledger = Ledger(_prepared(config.instance.state_dir) / LEDGER_NAME)
    pipeline = _pipeline(config, clock)
    inference = Inference(_engine(config), device=config.model.device)
    feeds: dict[str, VenueFeed] = {}
    rests: dict[str, RestClient] = {}
    auditing = _auditing(
        config,
        clock,
        rests,
        on_audited=lambda audit: dispatcher.bar_audited(audit),  # noqa: PLW0108  # it is made below
        on_remade=pipeline.rebuild,
        on_contradicted=pipeline.replace_with_candle,
    )
    dispatcher = Dispatcher(
        pipeline=pipeline,
        feeds=feeds,
        ledger=ledger,
        store=store,
        inference=inference,
        mailbox=mailbox,
        metrics=metrics,
        health=health,
        clock=clock,
        inference_deadline_s=min(2.0, config.bars.interval_us / 1e6 / clock.speed / 4),
        auditing=auditing,
        on_forecast=hooks.on_forecast,
        on_bar=hooks.on_bar,
    )
    feeds |= _feeds(config, clock=clock, pipeline=pipeline, metrics=metrics, wake=dispatcher.wake)
    rests |= {name: feed.rest for name, feed in feeds.items()}
    history = History(
        rests,
        ledger=ledger,
        store=store,
        interval_us=config.bars.interval_us,
        history_us=config.retrain.history.microseconds,
    )
    trainer = Trainer(
        config=config,
        registry=Registry(config.instance.state_dir / "models"),
        run_dir=config.instance.state_dir / "retraining",
        dispatcher=dispatcher,
        inference=inference,
        history=history,
        mailbox=mailbox,
        metrics=metrics,
        health=health,
        clock=clock,
        ledger=ledger,
        store=store,
        on_progress=hooks.on_progress,
        time_budget_s=hooks.training_budget_s,
    )
    metrics.prepare(
        config.instruments,
        horizons=config.model.horizons,
        baselines=BASELINES,
        skill_window=pipeline.scoreboard.window,
    )
    metrics.watch_queue("store", lambda: store.depth, capacity=store.capacity)
    metrics.watch_queue("rounds", lambda: dispatcher.rounds_depth, capacity=dispatcher.rounds_capacity)
    metrics.watch_queue("outbox", lambda: publisher.depth, capacity=publisher.capacity)
    metrics.mqtt_outbox_depth.set_function(lambda: publisher.depth)
    return Components(
        config=config,
        clock=clock,
        metrics=metrics,
        health=health,
        ledger=ledger,
        store=store,
        pipeline=pipeline,
        inference=inference,
        publisher=publisher,
        mailbox=mailbox,
        feeds=feeds,
        dispatcher=dispatcher,
        auditing=auditing,
        history=history,
        trainer=trainer,
    )


def status_payload(condition: Condition, *, state: str | None = None) -> bytes:
    """The daemon's condition as the retained status message; ``state`` overrides it for "stopped" and "offline"."""
    return payloads.status(
        state or condition.state.value, since_us=condition.since_us, version=__version__, reason=condition.reason
    )


def _pipeline(config: Config, clock: Clock) -> Pipeline:
    return Pipeline(
        config.instruments,
        interval_us=config.bars.interval_us,
        traits={feed.venue: traits(venue(feed.venue, [])) for feed in config.feeds},
        timeouts=patience_for(config, clock),
        scoreboard=Scoreboard(
            interval_us=config.bars.interval_us,
            levels=config.model.quantiles,
            calibration=_calibration(config) if config.model.conformal else None,
        ),
    )


def _calibration(config: Config) -> Calibration:
    return Calibration(
        interval_us=config.bars.interval_us, horizons=config.model.horizons, levels=config.model.quantiles
    )


def _engine(config: Config) -> ForecastEngine:
    return ForecastEngine(
        config.instruments,
        interval_us=config.bars.interval_us,
        kind=config.model.kind,
        horizons=config.model.horizons,
        levels=config.model.quantiles,
        window=config.features.window,
    )


def _auditing(
    config: Config,
    clock: Clock,
    rests: Mapping[str, RestClient],
    *,
    on_audited: Callable[[BarReconciled], None],
    on_remade: Callable[[Bar, list[Trade]], None],
    on_contradicted: Callable[[Bar], None],
) -> Auditing | None:
    if not config.bars.audit:
        return None
    bar_wall_s = config.bars.interval_us / 1e6 / clock.speed
    return Auditing(
        rests,
        clock=clock,
        bar_wall_s=bar_wall_s,
        on_audited=on_audited,
        on_remade=on_remade,
        on_contradicted=on_contradicted,
    )


def _feeds(
    config: Config, *, clock: Clock, pipeline: Pipeline, metrics: Metrics, wake: Callable[[], None]
) -> Mapping[str, VenueFeed]:
    feeds: dict[str, VenueFeed] = {}
    for section in config.feeds:
        symbols = [each.symbol for each in config.instruments if each.venue == section.venue]
        if not symbols:
            continue
        wire = venue(section.venue, symbols)
        rest = RestClient(wire, section.rest_url, clock=clock)
        feed = VenueFeed(wire, symbols, pipeline=pipeline, rest=rest, clock=clock, metrics=metrics, wake=wake)
        feed.stream = MarketStream(wire, symbols, section.ws_url, listener=feed, clock=clock)
        feeds[section.venue] = feed
    return feeds


def _publisher(
    config: Config,
    *,
    clock: Clock,
    topics: Topics,
    metrics: Metrics,
    broker_port: int | None,
    on_delivered: Callable[[OutboxMessage, float], None],
    health_fault: Callable[[str], None],
) -> Publisher:
    section = config.mqtt
    settings = MqttSettings(
        url=section.url,
        protocol=section.protocol,
        username=section.username,
        password_file=_text(section.password_file),
        ca_file=_text(section.ca_file),
        cert_file=_text(section.cert_file),
        key_file=_text(section.key_file),
    )
    if broker_port is not None:
        settings = settings.on_embedded_broker(broker_port)

    def delivered(message: OutboxMessage, seconds: float) -> None:
        metrics.mqtt_published.inc()
        if message.schema == payloads.FORECAST_SCHEMA:
            venue_name, symbol = message.topic.split("/")[-3:-1]
            metrics.bar_to_publish.labels(venue_name).observe(seconds)
            metrics.bar_to_publish_last.labels(venue_name, symbol, "publish").set(seconds)
        on_delivered(message, seconds)

    def dropped(_message: OutboxMessage, reason: DropReason) -> None:
        if reason is DropReason.EXPIRED:
            metrics.mqtt_expired.inc()

    told = ""

    def state_changed(state: PublisherState) -> None:
        nonlocal told
        metrics.mqtt_connected.set(int(state.connected))
        if state.connected and told != _CONNECTED:
            log.info("broker_connected", protocol=str(state.protocol))
            health_fault("")
        elif not state.connected and state.last_error and state.last_error != told:
            log.warning("broker_lost", reason=state.last_error)
            health_fault(state.last_error)
        told = _CONNECTED if state.connected else state.last_error or ""

    starting = payloads.status("starting", since_us=clock.market_us(), version=__version__, reason="")
    return Publisher(
        settings,
        topics=topics,
        clock=clock,
        status=starting,
        last_will=lambda: payloads.status(
            "offline", since_us=clock.market_us(), version=__version__, reason="the connection to forecastd was lost"
        ),
        on_delivered=delivered,
        on_dropped=dropped,
        on_state=state_changed,
    )


def _prepared(state_dir: Path) -> Path:
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            [f"[instance] state_dir {state_dir}: {error.strerror}; make it writable or choose another"]
        ) from error
    return state_dir


def _text(path: object) -> str:
    return "" if path is None else str(path)
