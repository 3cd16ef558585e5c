"""Metrics of the serving model and of its retraining."""

from __future__ import annotations

from daemon.serving.metrics.family import UNKNOWN, MetricFamily, seconds
from models.forecast import ModelInfo

RETRAIN_RESULTS = ("promoted", "rejected", "failed", "cancelled")


class ModelMetrics(MetricFamily):
    """The serving model, and the running and finished retrainings."""

    def model_loaded(self, model: ModelInfo, *, at_us: int) -> None:
        """Says which model serves from market time ``at_us`` on."""
        self.model.info({"id": model.id, "kind": model.kind})
        self.model_loaded_timestamp.set(seconds(at_us))
        trained_until = UNKNOWN if model.trained_until_us is None else seconds(model.trained_until_us)
        self.model_trained_until_timestamp.set(trained_until)

    def _define_model(self) -> None:
        self.model = self._info("model", "The model that serves.")
        self.model.info({"id": "", "kind": "none"})
        self.model_trained_until_timestamp = self._unknown(
            "model_trained_until_timestamp_seconds", "End of the serving model's training data."
        )
        self.model_loaded_timestamp = self._unknown(
            "model_loaded_timestamp_seconds", "Market time at which the serving model was loaded."
        )
        self.retrain_running = self._gauge("retrain_running", "1 while a retraining runs.")
        self.retrain_progress_ratio = self._gauge("retrain_progress_ratio", "Share of the running retraining done.")
        self.retrain_runs = self._counter("retrain_runs_total", "Retrainings ended, by result.", ("result",))
        for result in RETRAIN_RESULTS:
            self.retrain_runs.labels(result)
        self.retrain_last_success_timestamp = self._unknown(
            "retrain_last_success_timestamp_seconds", "Market time of the newest promoted retraining's end."
        )
        self.retrain_duration = self._unknown("retrain_duration_seconds", "Wall time of the newest retraining.")
