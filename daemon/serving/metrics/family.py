"""Base class of the metric families: creates metrics in one registry and knows which belong to an instrument."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from daemon.timestamps import MICROSECONDS_PER_SECOND

UNKNOWN = math.nan
OF_SYMBOL = ("venue", "symbol")


class MetricFamily:
    """Creates metrics under the namespace ``forecastd``; subclasses keep them as attributes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._per_instrument: list[Counter | Gauge] = []

    def _counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        counter = Counter(name, documentation, labels, namespace="forecastd", registry=self.registry)
        if set(OF_SYMBOL) <= set(labels):
            self._per_instrument.append(counter)
        return counter

    def _gauge(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
        gauge = Gauge(name, documentation, labels, namespace="forecastd", registry=self.registry)
        if set(OF_SYMBOL) <= set(labels):
            self._per_instrument.append(gauge)
        return gauge

    def _unknown(self, name: str, documentation: str) -> Gauge:
        gauge = self._gauge(name, documentation)
        gauge.set(UNKNOWN)
        return gauge

    def _histogram(self, name: str, documentation: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(name, documentation, labels, namespace="forecastd", registry=self.registry, buckets=buckets)

    def _info(self, name: str, documentation: str) -> Info:
        return Info(name, documentation, namespace="forecastd", registry=self.registry)


def seconds(time_us: int) -> float:
    """Microseconds as the seconds that Prometheus counts in."""
    return time_us / MICROSECONDS_PER_SECOND


def known_or_nan(value: float | None) -> float:
    """``value`` as a gauge shows it: NaN where it is unknown."""
    return UNKNOWN if value is None else value
