"""Metrics of issued forecasts, their latency, and their delivery through MQTT."""

from __future__ import annotations

from daemon.serving.metrics.family import OF_SYMBOL, UNKNOWN, MetricFamily
from features.market import Instrument

SOURCES = ("model", "baseline")
DROP_REASONS = ("expired", "superseded", "overflow", "refused", "too_large")
UNSTORED_REASONS = ("waiting", "backlog_full", "failed")
STAGES = ("wait_for_proof", "features", "inference", "publish")

# Bar declared closed to PUBACK: the objective is 40 ms, the deadline of inference 2 s.
PUBLISH_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0)
INFERENCE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1.0, 2.0)


class ForecastMetrics(MetricFamily):
    """Issued forecasts of each instrument, and the MQTT connection that publishes them."""

    def _define_forecasts(self) -> None:
        self.forecasts = self._counter("forecasts_total", "Forecasts issued, by source.", (*OF_SYMBOL, "source"))
        self.forecasts_unstored = self._counter(
            "forecasts_unstored_total", "Forecasts published although not stored, by reason.", (*OF_SYMBOL, "reason")
        )
        self.forecasts_withheld = self._counter(
            "forecasts_withheld_total", "Bar closes without a forecast because no trade of the bar is known.", OF_SYMBOL
        )
        self.forecast_last_timestamp = self._gauge(
            "forecast_last_timestamp_seconds", "Market time of the newest forecast's issue.", OF_SYMBOL
        )
        self.bar_to_publish = self._histogram(
            "bar_to_publish_seconds", "From the bar declared closed to PUBACK.", ("venue",), PUBLISH_BUCKETS
        )
        self.bar_to_publish_last = self._gauge(
            "bar_to_publish_last_seconds", "Duration of each stage of the newest forecast.", (*OF_SYMBOL, "stage")
        )
        self.inference = self._histogram(
            "inference_seconds", "One batch through the model.", ("venue",), INFERENCE_BUCKETS
        )

    def _define_mqtt(self) -> None:
        self.mqtt_connected = self._gauge("mqtt_connected", "1 while the broker has accepted the connection.")
        self.mqtt_connected.set(0)
        self.mqtt_published = self._counter("mqtt_published_total", "Messages the broker has confirmed.")
        self.mqtt_outbox_depth = self._gauge("mqtt_outbox_depth", "Messages waiting for the broker.")
        self.mqtt_outbox_depth.set(0)
        self.mqtt_expired = self._counter("mqtt_expired_total", "Messages dropped past valid_until.")
        self.mqtt_dropped = self._counter(
            "mqtt_dropped_total", "Messages that were not delivered, by reason.", ("reason",)
        )
        for reason in DROP_REASONS:
            self.mqtt_dropped.labels(reason)
        self.mqtt_connection_failures = self._counter(
            "mqtt_connection_failures_total", "Connections to the broker refused or lost, by reason.", ("reason",)
        )
        for reason in ("lost", "closed", "session_taken_over", "not_authorized", "packet_too_large"):
            self.mqtt_connection_failures.labels(reason)

    def _prepare_forecasts(self, instrument: Instrument) -> None:
        self.forecast_last_timestamp.labels(*instrument).set(UNKNOWN)
        for source in SOURCES:
            self.forecasts.labels(*instrument, source)
        self.forecasts_withheld.labels(*instrument)
        for reason in UNSTORED_REASONS:
            self.forecasts_unstored.labels(*instrument, reason)
        for stage in STAGES:
            self.bar_to_publish_last.labels(*instrument, stage).set(UNKNOWN)
        for histogram in (self.bar_to_publish, self.inference):
            histogram.labels(instrument.venue)
