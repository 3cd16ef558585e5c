"""Metrics of the store: its size and what is deleted from it."""

from __future__ import annotations

from daemon.serving.metrics.family import MetricFamily

PRUNED_RECORDS = ("bars", "forecasts", "scores")
PRUNED_REASONS = ("age", "size")


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
        for record in PRUNED_RECORDS:
            for reason in PRUNED_REASONS:
                self.store_pruned.labels(record, reason)
