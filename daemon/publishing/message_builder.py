"""Builds MQTT messages from the daemon's records: topic, payload, expiry and retain flag of each."""

from __future__ import annotations

from typing import Protocol

from daemon.clock import Clock
from daemon.pipeline.events import SymbolStateChanged
from daemon.publishing import payloads, wire
from daemon.publishing.outbox import OutboxMessage
from daemon.publishing.publisher import Publisher
from daemon.publishing.topics import Topics
from features.market import Bar, Instrument
from models.forecast import Forecast, ModelInfo

FORECAST_EXPIRY_BARS = 2


class IssuedPayload(Protocol):
    """A stored forecast, as published before."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def valid_until_us(self) -> int: ...


class MessageBuilder:
    """Builds messages and submits them to the publisher; no method waits."""

    def __init__(self, publisher: Publisher, topics: Topics, clock: Clock) -> None:
        self.topics = topics
        self._publisher = publisher
        self._clock = clock
        self._newest_open_us: dict[Instrument, int] = {}

    def forecast(self, forecast: Forecast, payload: bytes, closed_s: float) -> None:
        """Publishes a new forecast. ``closed_s``: wall time of its bar's close, from which delivery is measured."""
        self._publisher.submit(
            OutboxMessage(
                topic=self.topics.forecast(Instrument(forecast.venue, forecast.symbol), forecast.interval_us),
                payload=payload,
                retain=True,
                expires_at_us=forecast.close_time_us + FORECAST_EXPIRY_BARS * forecast.interval_us,
                schema=wire.FORECAST_SCHEMA,
                model=forecast.model.id,
                submitted_s=closed_s,
                valid_until_us=payloads.valid_until_us(forecast),
            )
        )

    def stored_forecast(self, stored: IssuedPayload, *, expires_at_us: int) -> None:
        """Publishes a forecast issued before a restart again, byte for byte."""
        self._publisher.submit(
            OutboxMessage(
                topic=stored.topic,
                payload=stored.payload,
                retain=True,
                expires_at_us=expires_at_us,
                schema=wire.FORECAST_SCHEMA,
                model=payloads.model_id(stored.payload),
                submitted_s=self._clock.wall_s(),
                valid_until_us=stored.valid_until_us,
            )
        )

    def bar(self, bar: Bar) -> None:
        """Publishes a bar or a revision of it; retained only if no newer bar of the instrument was published."""
        newest_us = self._newest_open_us.get(bar.instrument, bar.open_time_us)
        self._newest_open_us[bar.instrument] = max(newest_us, bar.open_time_us)
        topic = self.topics.bar(bar.instrument, bar.interval_us)
        self._submit(topic, payloads.bar(bar), wire.BAR_SCHEMA, retain=bar.open_time_us >= newest_us)

    def symbol_status(self, change: SymbolStateChanged) -> None:
        topic = self.topics.symbol_status(change.instrument)
        self._submit(topic, payloads.symbol_status(change), wire.SYMBOL_STATUS_SCHEMA)

    def model(self, info: ModelInfo, payload: bytes) -> None:
        self._submit(self.topics.model, payload, wire.MODEL_SCHEMA, model_id=info.id)

    def clear(self, topic: str) -> None:
        """Removes the retained message of a topic of earlier configurations."""
        self._submit(topic, b"", "")

    def event(self, message: wire.EventMessage) -> None:
        topic = self.topics.event(message.kind)
        self._submit(topic, payloads.encode(message), wire.EVENT_SCHEMA, retain=False)

    def status(self, payload: bytes) -> None:
        self._publisher.update_status(payload)

    def _submit(
        self, topic: str, payload: bytes, schema: str, *, retain: bool = True, model_id: str | None = None
    ) -> None:
        self._publisher.submit(
            OutboxMessage(
                topic=topic,
                payload=payload,
                retain=retain,
                expires_at_us=None,
                schema=schema,
                model=model_id,
                submitted_s=self._clock.wall_s(),
            )
        )
