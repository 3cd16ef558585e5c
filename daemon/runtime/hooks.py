"""Callbacks for the demo's terminal view and for tests, and what a simulation replaces."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from daemon.forecasting.records import IssuedForecast
from daemon.publishing.outbox import OutboxMessage
from daemon.runtime.ports import Ports
from daemon.serving.health_limits import HealthLimits
from features.market import Bar
from models.specification import Progress


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """Each callback is called when its event has been handled.

    on_delivered: a message that the broker confirmed, with the wall seconds since its bar closed.
    training_budget_s: wall time of one training at most; None for no limit.
    health_limits: how long a component may make no progress. ports: the edges that a simulation replaces.
    """

    on_bar: Callable[[Bar], None] = lambda _bar: None
    on_forecast: Callable[[IssuedForecast, bytes], None] = lambda _issued, _payload: None
    on_progress: Callable[[Progress], None] = lambda _progress: None
    on_delivered: Callable[[OutboxMessage, float], None] = lambda _message, _seconds: None
    training_budget_s: float | None = None
    health_limits: HealthLimits = HealthLimits()
    ports: Ports = Ports()
