"""Addresses what the daemon has to say: each record gets its topic, payload, expiry and retention."""

from __future__ import annotations

from typing import Protocol

from daemon.clock import Clock
from daemon.events import SymbolStateChanged
from daemon.publishing import payloads
from daemon.publishing.outbox import OutboxMessage
from daemon.publishing.publisher import Publisher
from daemon.publishing.topics import Topics
from features.market import Bar, Instrument
from models.forecast import Forecast, ModelInfo

_EXPIRY_BARS = 2


class IssuedPayload(Protocol):
    """A stored forecast."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def valid_until_us(self) -> int: ...


class Mailbox:
    """Where the dispatcher drops messages; the publisher delivers them."""

    def __init__(self, publisher: Publisher, topics: Topics, clock: Clock) -> None:
        self.topics = topics
        self._publisher = publisher
        self._clock = clock

    def forecast(self, made: Forecast, payload: bytes, closed_s: float) -> None:
        """``closed_s``: the wall time at which the bar was declared closed, from which delivery is measured."""
        self._publisher.submit(
            OutboxMessage(
                topic=self.topics.forecast(Instrument(made.venue, made.symbol), made.interval_us),
                payload=payload,
                retain=True,
                expires_at_us=made.close_time_us + _EXPIRY_BARS * made.interval_us,
                schema=payloads.FORECAST_SCHEMA,
                model=made.model.id,
                submitted_s=closed_s,
                valid_until_us=payloads.valid_until_us(made),
            )
        )

    def stored_forecast(self, stored: IssuedPayload, *, expires_at_us: int) -> None:
        """A forecast issued before a restart, again, byte for byte."""
        self._publisher.submit(
            OutboxMessage(
                topic=stored.topic,
                payload=stored.payload,
                retain=True,
                expires_at_us=expires_at_us,
                schema=payloads.FORECAST_SCHEMA,
                model=payloads.model_id(stored.payload),
                submitted_s=self._clock.wall_s(),
                valid_until_us=stored.valid_until_us,
            )
        )

    def bar(self, bar: Bar) -> None:
        self._retained(self.topics.bar(bar.instrument, bar.interval_us), payloads.bar(bar), payloads.BAR_SCHEMA)

    def symbol_status(self, change: SymbolStateChanged) -> None:
        topic = self.topics.symbol_status(change.instrument)
        self._retained(topic, payloads.symbol_status(change), payloads.SYMBOL_STATUS_SCHEMA)

    def model(self, info: ModelInfo, payload: bytes) -> None:
        self._retained(self.topics.model, payload, payloads.MODEL_SCHEMA, model_id=info.id)

    def event(self, message: payloads.EventMessage) -> None:
        self._publisher.submit(
            OutboxMessage(
                topic=self.topics.event(message.kind),
                payload=payloads.encode(message),
                retain=False,
                expires_at_us=None,
                schema=payloads.EVENT_SCHEMA,
                model=None,
                submitted_s=self._clock.wall_s(),
            )
        )

    def status(self, payload: bytes) -> None:
        self._publisher.update_status(payload)

    def _retained(self, topic: str, payload: bytes, schema: str, *, model_id: str | None = None) -> None:
        self._publisher.submit(
            OutboxMessage(
                topic=topic,
                payload=payload,
                retain=True,
                expires_at_us=None,
                schema=schema,
                model=model_id,
                submitted_s=self._clock.wall_s(),
            )
        )
