"""The publisher of one daemon, with its effects on metrics, health and log."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from daemon import __version__
from daemon.clock import Clock
from daemon.config import Config
from daemon.publishing import payloads, wire
from daemon.publishing.outbox import DropReason, OutboxMessage
from daemon.publishing.publisher import Publisher, PublisherState
from daemon.publishing.settings import EmbeddedAddress, MqttSettings
from daemon.publishing.topics import Topics
from daemon.serving.health import Health, HealthCondition
from daemon.serving.metrics import Metrics

log = structlog.get_logger(__name__)

_CONNECTED = "connected"


class BrokerObserver:
    """Counts what the broker confirmed, and reports a lost and a restored connection once each."""

    def __init__(self, metrics: Metrics, health: Health, on_delivered: Callable[[OutboxMessage, float], None]) -> None:
        self._metrics = metrics
        self._health = health
        self._on_delivered = on_delivered
        self._reported = ""

    def delivered(self, message: OutboxMessage, seconds: float) -> None:
        """``seconds``: wall time since the message was submitted, for a forecast since its bar closed."""
        self._metrics.mqtt_published.inc()
        if message.schema == wire.FORECAST_SCHEMA:
            venue_name, symbol = message.topic.split("/")[-3:-1]
            self._metrics.bar_to_publish.labels(venue_name).observe(seconds)
            self._metrics.bar_to_publish_last.labels(venue_name, symbol, "publish").set(seconds)
        self._on_delivered(message, seconds)

    def dropped(self, _message: OutboxMessage, reason: DropReason) -> None:
        if reason is DropReason.EXPIRED:
            self._metrics.mqtt_expired.inc()

    def state_changed(self, state: PublisherState) -> None:
        self._metrics.mqtt_connected.set(int(state.connected))
        if state.connected and self._reported != _CONNECTED:
            log.info("broker_connected", protocol=str(state.protocol))
            self._health.clear_fault("mqtt")
        elif not state.connected and state.last_error and state.last_error != self._reported:
            log.warning("broker_lost", reason=state.last_error)
            self._health.fault("mqtt", state.last_error)
        self._reported = _CONNECTED if state.connected else state.last_error or ""


def make_publisher(
    config: Config, *, clock: Clock, topics: Topics, observer: BrokerObserver, embedded: EmbeddedAddress | None
) -> Publisher:
    """embedded: where the embedded broker listens; None where another broker is configured."""
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
    if embedded is not None:
        settings = settings.on_embedded_broker(embedded)
    return Publisher(
        settings,
        topics=topics,
        clock=clock,
        status=_status("starting", clock, reason=""),
        last_will=lambda: _status("offline", clock, reason="the connection to forecastd was lost"),
        on_delivered=observer.delivered,
        on_dropped=observer.dropped,
        on_state=observer.state_changed,
    )


def status_payload(condition: HealthCondition, *, state: str | None = None) -> bytes:
    """The daemon's condition as the retained status message; ``state`` replaces the condition's own."""
    return payloads.status(
        state or condition.state.value, since_us=condition.since_us, version=__version__, reason=condition.reason
    )


def _status(state: str, clock: Clock, *, reason: str) -> bytes:
    return payloads.status(state, since_us=clock.market_us(), version=__version__, reason=reason)


def _text(path: object) -> str:
    return "" if path is None else str(path)
