"""Metrics of the daemon's health: the state and progress of each component, and readiness."""

from __future__ import annotations

from daemon.serving.metrics.family import UNKNOWN, MetricFamily
from daemon.serving.progress import ComponentState, Judgement

COMPONENTS = ("feeds", "bars", "features", "inference", "rounds", "store", "publisher", "retraining")


class HealthMetrics(MetricFamily):
    """What ``/healthz`` and ``/readyz`` say, for alerts."""

    def _define_health(self) -> None:
        self.ready = self._gauge("ready", "1 while the last close of every live symbol is forecast and confirmed.")
        self.ready.set(0)
        self.component_state = self._gauge(
            "component_state", "0 healthy, 1 degraded, 2 unhealthy: only a restart helps.", ("component",)
        )
        self.component_last_progress_timestamp = self._gauge(
            "component_last_progress_timestamp_seconds",
            "Market time of the component's last progress; now while it has nothing to do.",
            ("component",),
        )
        for component in COMPONENTS:
            self.component_state.labels(component).set(0)
            self.component_last_progress_timestamp.labels(component).set(UNKNOWN)

    def component(self, judgement: Judgement, *, progressed_at_s: float) -> None:
        """Shows a component's state and the market time, in seconds, of its last progress."""
        state = list(ComponentState).index(judgement.state)
        self.component_state.labels(judgement.component).set(state)
        self.component_last_progress_timestamp.labels(judgement.component).set(progressed_at_s)
