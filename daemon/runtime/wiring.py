"""Builds the components of one daemon and connects them. Nothing runs here."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from daemon import __version__
from daemon.clock import Clock
from daemon.config import Config
from daemon.exchanges import venue
from daemon.exchanges.base import traits
from daemon.forecasting.calibration import Calibration
from daemon.forecasting.engine import ForecastEngine
from daemon.forecasting.inference import Inference
from daemon.forecasting.scoreboard import Scoreboard
from daemon.forecasting.target_history import BASELINES
from daemon.ingest.rest_client import RestClient
from daemon.ingest.stream import MarketStream
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import Timeouts, timeouts_for_bars
from daemon.publishing.message_builder import MessageBuilder
from daemon.publishing.publisher import Publisher
from daemon.publishing.settings import EmbeddedAddress
from daemon.publishing.topics import Topics
from daemon.runtime.broker_link import BrokerObserver, make_publisher, status_payload
from daemon.runtime.dispatcher import Dispatcher
from daemon.runtime.forecast_delivery import ForecastDelivery
from daemon.runtime.forecast_rounds import ForecastRounds
from daemon.runtime.history_loader import HistoryLoader
from daemon.runtime.hooks import Hooks
from daemon.runtime.promotion import ModelPromoter
from daemon.runtime.reconciler import Reconciler
from daemon.runtime.reporting import Reporting
from daemon.runtime.retained_topics import RetainedTopics, configured_topics, topics_beside
from daemon.runtime.retrain_job import RetrainJob
from daemon.runtime.retrainer import Retrainer
from daemon.runtime.run_reporter import RunReporter
from daemon.runtime.store_losses import StoreLosses
from daemon.runtime.store_writer import StoreWriter
from daemon.runtime.timekeeper import Timekeeper
from daemon.runtime.venue_feed import VenueFeed
from daemon.serving.health import Health
from daemon.serving.health_limits import confirmed_within_s
from daemon.serving.metrics import Metrics
from daemon.store.backlog import CAPACITY_BYTES
from daemon.store.ledger import Ledger
from daemon.store.progress import StoreFault
from daemon.store.thread import StoreThread
from models.artifacts.registry import Registry
from models.specification import NETWORK_KINDS

_MAX_INFERENCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Everything that runs in one daemon. ``reconciler`` is None where bars are not compared with candles."""

    clock: Clock
    metrics: Metrics
    health: Health
    ledger: Ledger
    store: StoreThread
    pipeline: Pipeline
    inference: Inference
    publisher: Publisher
    messages: MessageBuilder
    reporting: Reporting
    retained: RetainedTopics
    feeds: Mapping[str, VenueFeed]
    timekeeper: Timekeeper
    rounds: ForecastRounds
    dispatcher: Dispatcher
    reconciler: Reconciler | None
    history: HistoryLoader
    promoter: ModelPromoter
    retrainer: Retrainer
    retrain_job: RetrainJob


def build(
    config: Config, *, ledger: Ledger, clock: Clock, hooks: Hooks, embedded: EmbeddedAddress | None
) -> Components:
    """Builds all components, inside a running event loop; ``ledger`` is theirs from then on.

    embedded: where the embedded broker listens; None where another broker is configured.
    """
    core = _Core(config, ledger=ledger, clock=clock, hooks=hooks, embedded=embedded)
    flow = _Flow(config, core, hooks)
    history = HistoryLoader(
        flow.rests,
        ledger=core.ledger,
        store=core.store,
        interval_us=config.bars.interval_us,
        history_us=config.retrain.history.microseconds,
    )
    promoter, retrainer = _retraining(config, core, rounds=flow.rounds, history=history, hooks=hooks)
    _prepare_metrics(config, core, flow.rounds)
    return Components(
        clock=clock,
        metrics=core.metrics,
        health=core.health,
        ledger=core.ledger,
        store=core.store,
        pipeline=core.pipeline,
        inference=core.inference,
        publisher=core.publisher,
        messages=core.messages,
        reporting=core.reporting,
        retained=core.retained,
        feeds=flow.feeds,
        timekeeper=core.timekeeper,
        rounds=flow.rounds,
        dispatcher=flow.dispatcher,
        reconciler=flow.reconciler,
        history=history,
        promoter=promoter,
        retrainer=retrainer,
        retrain_job=RetrainJob(retrainer, clock),
    )


def timeouts_for(config: Config, clock: Clock) -> Timeouts:
    """The waits of a bar close at this clock's speed."""
    return timeouts_for_bars(config.bars.interval_us, grace_s=config.bars.grace_s, speed=clock.speed)


class _Core:
    """The components that depend on the configuration alone, or on one another."""

    def __init__(
        self, config: Config, *, ledger: Ledger, clock: Clock, hooks: Hooks, embedded: EmbeddedAddress | None
    ) -> None:
        self.clock = clock
        self.metrics = Metrics(version=__version__, market_us=clock.market_us)
        self.health = Health(
            clock,
            config.instruments,
            confirmed_within_s=confirmed_within_s(config.bars.interval_us / 1e6 / clock.speed),
            on_change=lambda condition: self.messages.status(status_payload(condition)),
        )
        topics = Topics(config.mqtt.base_topic, config.instance.name)
        self.retained = RetainedTopics(
            config.instance.state_dir,
            configured_topics(topics, config),
            unrecorded=lambda: topics_beside(each.topic for each in ledger.latest_forecasts()),
        )
        self.publisher = make_publisher(
            config,
            clock=clock,
            topics=topics,
            observer=BrokerObserver(self.metrics, self.health, self.retained, hooks.on_delivered),
            retained_topics=len(self.retained),
            embedded=embedded,
            connect=hooks.ports.connect_broker,
        )
        self.messages = MessageBuilder(self.publisher, topics, clock)
        self.reporting = Reporting(self.messages, self.metrics, self.health, clock)
        self._loop = asyncio.get_running_loop()
        self.store = hooks.ports.store_thread(on_fault=self._store_fault, wall_s=clock.wall_s)
        self.ledger = ledger
        self.pipeline = _pipeline(config, clock)
        self.timekeeper = Timekeeper(
            {each.venue for each in config.instruments},
            clock=clock,
            pipeline=self.pipeline,
            metrics=self.metrics,
            health=self.health,
        )
        self.inference = Inference(
            _engine(config),
            device=config.model.device,
            wall_s=clock.wall_s,
            worker_thread=hooks.ports.worker_thread,
        )

    def _store_fault(self, fault: StoreFault | None) -> None:
        """Called from the store's thread, while health is published from the event loop."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(
            lambda: self.health.fault("store", fault.reason) if fault else self.health.clear_fault("store")
        )


class _Flow:
    """The components that pass trades, bars and forecasts to one another, which therefore know one another."""

    def __init__(self, config: Config, core: _Core, hooks: Hooks) -> None:
        self.feeds: dict[str, VenueFeed] = {}
        self.rests: dict[str, RestClient] = {}
        self.rounds = ForecastRounds(
            pipeline=core.pipeline,
            inference=core.inference,
            metrics=core.metrics,
            health=core.health,
            clock=core.clock,
            deadline_s=min(_MAX_INFERENCE_S, config.bars.interval_us / 1e6 / core.clock.speed / 4),
            on_forecasts=lambda: self.dispatcher.drain(),  # noqa: PLW0108  # the dispatcher is built below
        )
        self.reconciler = self._reconciler(config, core)
        losses = StoreLosses(core.reporting)
        self.dispatcher = Dispatcher(
            pipeline=core.pipeline,
            feeds=self.feeds,
            writer=StoreWriter(core.ledger, core.store, losses, interval_us=config.bars.interval_us),
            rounds=self.rounds,
            delivery=ForecastDelivery(
                core.ledger,
                core.store,
                losses,
                scoreboard=core.pipeline.scoreboard,
                reporting=core.reporting,
                on_published=hooks.on_forecast,
            ),
            reporting=core.reporting,
            reconciler=self.reconciler,
            on_bar=hooks.on_bar,
        )
        self.feeds |= _feeds(config, core, wake=self.dispatcher.wake)
        self.rests |= {name: feed.rest for name, feed in self.feeds.items()}

    def _reconciler(self, config: Config, core: _Core) -> Reconciler | None:
        if not config.bars.audit:
            return None
        return Reconciler(
            self.rests,
            clock=core.clock,
            bar_wall_s=config.bars.interval_us / 1e6 / core.clock.speed,
            on_reconciled=lambda event: self.dispatcher.bar_reconciled(event),  # noqa: PLW0108  # built later
            on_rebuilt=core.pipeline.rebuild,
            on_contradicted=core.pipeline.replace_with_candle,
        )


def _pipeline(config: Config, clock: Clock) -> Pipeline:
    calibration = Calibration(
        interval_us=config.bars.interval_us, horizons=config.model.horizons, levels=config.model.quantiles
    )
    return Pipeline(
        config.instruments,
        interval_us=config.bars.interval_us,
        traits={feed.venue: traits(venue(feed.venue, [])) for feed in config.feeds},
        timeouts=timeouts_for(config, clock),
        scoreboard=Scoreboard(
            interval_us=config.bars.interval_us,
            levels=config.model.quantiles,
            calibration=calibration if config.model.conformal else None,
        ),
        wait_for_leaders=config.model.kind in NETWORK_KINDS,
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


def _feeds(config: Config, core: _Core, *, wake: Callable[[], None]) -> Mapping[str, VenueFeed]:
    clock = core.clock
    feeds: dict[str, VenueFeed] = {}
    for section in config.feeds:
        symbols = [each.symbol for each in config.instruments if each.venue == section.venue]
        if not symbols:
            continue
        wire = venue(section.venue, symbols)
        rest = RestClient(wire, section.rest_url, clock=clock)
        feed = VenueFeed(
            wire,
            symbols,
            pipeline=core.pipeline,
            rest=rest,
            clock=clock,
            timekeeper=core.timekeeper,
            metrics=core.metrics,
            wake=wake,
        )
        feed.stream = MarketStream(wire, symbols, section.ws_url, listener=feed, clock=clock)
        feeds[section.venue] = feed
    return feeds


def _retraining(
    config: Config, core: _Core, *, rounds: ForecastRounds, history: HistoryLoader, hooks: Hooks
) -> tuple[ModelPromoter, Retrainer]:
    promoter = ModelPromoter(
        Registry(config.instance.state_dir / "models"),
        instruments=config.instruments,
        rounds=rounds,
        inference=core.inference,
        history=history,
        reporting=core.reporting,
    )
    reporter = RunReporter(
        messages=core.messages,
        metrics=core.metrics,
        clock=core.clock,
        ledger=core.ledger,
        store=core.store,
        on_progress=hooks.on_progress,
    )
    retrainer = Retrainer(
        config,
        promoter=promoter,
        history=history,
        reporter=reporter,
        clock=core.clock,
        time_budget_s=hooks.training_budget_s,
    )
    return promoter, retrainer


def _prepare_metrics(config: Config, core: _Core, rounds: ForecastRounds) -> None:
    metrics, store, publisher = core.metrics, core.store, core.publisher
    metrics.prepare(
        config.instruments,
        horizons=config.model.horizons,
        baselines=BASELINES,
        skill_window=core.pipeline.scoreboard.window,
    )
    metrics.watch_queue("store", lambda: store.depth, capacity=store.capacity)
    metrics.watch_queue("rounds", lambda: rounds.depth, capacity=rounds.capacity)
    metrics.watch_queue("outbox", lambda: publisher.depth, capacity=publisher.capacity)
    for record, capacity_bytes in CAPACITY_BYTES.items():
        metrics.store_backlog_capacity.labels(record.value).set(capacity_bytes)
        metrics.store_backlog.labels(record.value).set_function(partial(store.backlog_bytes, record))
    metrics.store_last_success_timestamp.set_function(partial(_last_success_s, store, core.clock))
    metrics.mqtt_outbox_depth.set_function(lambda: publisher.depth)


def _last_success_s(store: StoreThread, clock: Clock) -> float:
    """The market time in seconds at which a call of the store last succeeded; NaN before the first."""
    last_s = store.progress.last_success_s
    return math.nan if last_s is None else clock.market_us() / 1e6 - (clock.wall_s() - last_s) * clock.speed
