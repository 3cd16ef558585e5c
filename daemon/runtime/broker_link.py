"""The publisher of one daemon, with its effects on metrics, health and log."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from daemon import __version__
from daemon.clock import Clock
from daemon.config import Config
from daemon.intervals import parse_interval
from daemon.publishing import payloads, wire
from daemon.publishing.connection import Connect
from daemon.publishing.message_builder import FORECAST_EXPIRY_BARS
from daemon.publishing.observer import PublisherObserver
from daemon.publishing.outbox import DropReason, OutboxMessage
from daemon.publishing.publisher import Publisher, PublisherState
from daemon.publishing.retry_policy import RetryPolicy
from daemon.publishing.settings import EmbeddedAddress, MqttSettings
from daemon.publishing.topics import Topics
from daemon.runtime.client_identity import mqtt_client_id
from daemon.runtime.retained_topics import RetainedTopics
from daemon.serving.confirmations import ForecastStep
from daemon.serving.health import Health, HealthCondition
from daemon.serving.metrics import Metrics
from features.market import Instrument

log = structlog.get_logger(__name__)

_CONNECTED = "connected"
_NAME = "instance name"
_SHARED = "another daemon publishes on this instance's topics; give each its own [instance] name, or stop the other"
_FEWEST_EVENTS = 1000
_PUBLISHING = "mqtt publishing"


class BrokerObserver(PublisherObserver):
    """Counts what the broker confirmed and refused, and reports faults and their end to health and log."""

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        retained: RetainedTopics,
        on_delivered: Callable[[OutboxMessage, float], None],
    ) -> None:
        self._metrics = metrics
        self._retained = retained
        self._health = health
        self._on_delivered = on_delivered
        self._reported = ""
        self._attempts = 0
        self._refused: dict[str, str] = {}

    def message_delivered(self, message: OutboxMessage, seconds: float) -> None:
        """``seconds``: wall time since the message was submitted, for a forecast since its bar closed."""
        self._metrics.mqtt_published.inc()
        if self._refused.pop(message.lane, None) is not None:
            log.info("mqtt_accepted_again", topic=message.topic)
            self._report_refused()
        if not message.payload:
            self._retained.cleared(message.topic)
            return
        if message.schema == wire.FORECAST_SCHEMA:
            venue_name, symbol, interval = message.topic.split("/")[-3:]
            self._confirm(Instrument(venue_name, symbol), message, parse_interval(interval))
            self._metrics.bar_to_publish.labels(venue_name).observe(seconds)
            self._metrics.bar_to_publish_last.labels(venue_name, symbol, "publish").set(seconds)
        self._on_delivered(message, seconds)

    def _confirm(self, instrument: Instrument, message: OutboxMessage, interval_us: int) -> None:
        if message.expires_at_us is not None:
            close_us = message.expires_at_us - FORECAST_EXPIRY_BARS * interval_us
            self._health.forecast_done(instrument, close_us, ForecastStep.CONFIRMED)

    def message_dropped(self, message: OutboxMessage, reason: DropReason, detail: str) -> None:
        """``detail``: what the broker said about a message that it does not accept."""
        self._metrics.mqtt_dropped.labels(reason.value).inc()
        match reason:
            case DropReason.EXPIRED:
                self._metrics.mqtt_expired.inc()
            case DropReason.OVERFLOW:
                log.warning(
                    "mqtt_outbox_overflow", topic=message.topic, reason="the outbox is full while the broker is away"
                )
            case DropReason.REFUSED | DropReason.TOO_LARGE:
                log.error("mqtt_message_refused", topic=message.topic, kind=reason.value, reason=detail)
                self._refused[message.lane] = f"{message.topic} is not published: {detail}"
                self._report_refused()
            case DropReason.SUPERSEDED:
                pass

    def _report_refused(self) -> None:
        if not self._refused:
            self._health.clear_fault(_PUBLISHING)
            return
        first, others = next(iter(self._refused.values())), len(self._refused) - 1
        self._health.fault(_PUBLISHING, f"{first} (and {others} topics more)" if others else first)

    def rival_seen(self, state: str) -> None:
        """Another daemon publishes in this instance's tree; with a final state it has stopped doing so."""
        if state in ("stopped", "offline"):
            self._health.clear_fault(_NAME)
            return
        log.error("instance_name_shared", state=state, reason=_SHARED)
        self._health.fault(_NAME, _SHARED)

    def state_changed(self, state: PublisherState) -> None:
        self._metrics.mqtt_connected.set(int(state.connected))
        if state.connected and self._reported != _CONNECTED:
            log.info("broker_connected", protocol=str(state.protocol))
            self._health.clear_fault("mqtt")
        if not state.connected and state.attempts > self._attempts:
            self._metrics.mqtt_connection_failures.labels(state.failure).inc()
        self._attempts = state.attempts
        if not state.connected and state.last_error and state.last_error != self._reported:
            log.warning("broker_lost", reason=state.last_error)
            self._health.fault("mqtt", state.last_error)
        self._reported = _CONNECTED if state.connected else state.last_error or ""


def make_publisher(
    config: Config,
    *,
    clock: Clock,
    topics: Topics,
    observer: BrokerObserver,
    retained_topics: int,
    embedded: EmbeddedAddress | None,
    connect: Connect,
) -> Publisher:
    """embedded: where the embedded broker listens; None where another broker is configured.

    retained_topics: how many the daemon publishes on or clears; the outbox holds them all. connect: opens connections.
    """
    section = config.mqtt
    settings = MqttSettings(
        url=section.url,
        protocol=section.protocol,
        username=section.username,
        password_file=_text(section.password_file),
        ca_file=_text(section.ca_file),
        cert_file=_text(section.cert_file),
        key_file=_text(section.key_file),
        client_id=mqtt_client_id(config.instance.state_dir, config.instance.name),
    )
    if embedded is not None:
        settings = settings.on_embedded_broker(embedded)
    return Publisher(
        settings,
        topics=topics,
        clock=clock,
        status=_status("starting", clock, reason=""),
        last_will=lambda: _status("offline", clock, reason="the connection to forecastd was lost"),
        observer=observer,
        retry_policy=outbox_bounds(retained_topics, len(config.instruments)),
        connect=connect,
    )


def outbox_bounds(retained_topics: int, instruments: int) -> RetryPolicy:
    """An outbox for the newest message of every topic, and for some events of each instrument."""
    return RetryPolicy(max_topics=retained_topics, max_events=max(_FEWEST_EVENTS, 4 * instruments))


def status_payload(condition: HealthCondition, *, state: str | None = None) -> bytes:
    """The daemon's condition as the retained status message; ``state`` replaces the condition's own."""
    return payloads.status(
        state or condition.state.value, since_us=condition.since_us, version=__version__, reason=condition.reason
    )


def _status(state: str, clock: Clock, *, reason: str) -> bytes:
    return payloads.status(state, since_us=clock.market_us(), version=__version__, reason=reason)


def _text(path: object) -> str:
    return "" if path is None else str(path)
