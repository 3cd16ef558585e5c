"""Where the components of a daemon report to: MQTT messages, metrics and health, at the daemon's clock."""

from __future__ import annotations

from typing import NamedTuple

from daemon.clock import Clock
from daemon.publishing.message_builder import MessageBuilder
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics


class Reporting(NamedTuple):
    """Shared by the components that publish, count or report a state; all belong to the event loop."""

    messages: MessageBuilder
    metrics: Metrics
    health: Health
    clock: Clock
