"""Metrics of the store: its size and what is deleted from it."""

from __future__ import annotations

from daemon.serving.metrics.family import MetricFamily

PRUNED_RECORDS = ("bars", "forecasts", "scores")
PRUNED_REASONS = ("age", "size")
LOST_RECORDS = ("trades", "bars", "forecasts", "scores")
LOST_REASONS = ("backlog_full", "failed")


class StoreMetrics(MetricFamily):
    """The store's file and its rows."""

    def _define_store(self) -> None:
        self.store_size = self._unknown("store_size_bytes", "Bytes of the store's file that hold data.")
        self.store_size_limit = self._unknown("store_size_limit_bytes", "store.max_disk_mb in bytes.")
        self.store_pruned = self._counter(
            "store_pruned_total",
            "Rows deleted, by kind and by why: their age or the file's size.",
            ("record", "reason"),
        )
        self.store_lost = self._counter(
            "store_lost_total", "Records that could not be stored, by kind and reason.", ("record", "reason")
        )
        self.store_backlog = self._gauge(
            "store_backlog_bytes", "Estimated memory of the records that wait for the store.", ("record",)
        )
        self.store_backlog_capacity = self._gauge(
            "store_backlog_capacity_bytes", "What may wait; more is lost.", ("record",)
        )
        self.store_last_success_timestamp = self._unknown(
            "store_last_success_timestamp_seconds", "Market time at which a call of the store last succeeded."
        )
        for record in LOST_RECORDS:
            for reason in LOST_REASONS:
                self.store_lost.labels(record, reason)
        self.store_lost.labels("forecasts", "conflict")
        for record in PRUNED_RECORDS:
            for reason in PRUNED_REASONS:
                self.store_pruned.labels(record, reason)
