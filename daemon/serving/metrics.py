"""Every metric of forecastd, in one place and on a registry of its own.

Base units, timestamps instead of ages, and every series of a configured instrument exists before its first event:
counters at 0, gauges at NaN while nothing is known (a zero would claim a value). ``docs/metrics.md`` lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from daemon.forecasting.records import Skill
from daemon.pipeline.events import SymbolState
from daemon.timestamps import MICROSECONDS_PER_SECOND
from features.market import Completeness, Instrument
from models.forecast import ModelInfo

UNKNOWN = math.nan

SOURCES = ("model", "baseline")
STAGES = ("wait_for_proof", "features", "inference", "publish")
AUDIT_RESULTS = ("equal", "differs", "unavailable")
RETRAIN_RESULTS = ("promoted", "rejected", "failed", "cancelled")

# Receipt minus event: a healthy feed lies between 5 and 500 ms; above 10 s the feed is behind.
FEED_DELAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
# Bar declared closed to PUBACK: the objective is 40 ms, the deadline of inference 2 s.
PUBLISH_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0)
INFERENCE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1.0, 2.0)


class Metrics:
    """All metrics as attributes; ``metrics.trades.labels(*instrument).inc(3)`` is how they are used."""

    def __init__(self, *, version: str, market_us: Callable[[], int]) -> None:
        # The `_created` twin of every counter and histogram doubles the series and serves nobody here.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it unannotated
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._info("build", "Version of the running forecastd.").info({"version": version})
        self._gauge(
            "clock_timestamp_seconds", "Market time now; subtract timestamps from it to get ages."
        ).set_function(lambda: market_us() / MICROSECONDS_PER_SECOND)
        self._define_feed()
        self._define_bars()
        self._define_forecasts()
        self._define_mqtt()
        self._define_model()
        self._define_skill()
        self._define_gpu()
        self._define_queues()

    def prepare(
        self,
        instruments: Iterable[Instrument],
        *,
        horizons: Sequence[int],
        baselines: Sequence[str],
        skill_window: str,
    ) -> None:
        """Creates the series of newly configured instruments, so that they exist before their first event.

        ``skill_window`` is the ``window`` of the ``Skill`` that will be shown.
        """
        for instrument in instruments:
            self._prepare_feed(instrument)
            self._prepare_bars_and_forecasts(instrument)
            for horizon in horizons:
                self._prepare_skill(instrument, horizon, baselines, skill_window)

    def forget(self, instrument: Instrument) -> None:
        """Removes the series of an instrument that is no longer configured."""
        labels = instrument._asdict()
        for metric in self._per_instrument:
            metric.remove_by_labels(labels)

    def model_loaded(self, model: ModelInfo, *, at_us: int) -> None:
        """Says which model serves from market time ``at_us`` on."""
        self.model.info({"id": model.id, "kind": model.kind})
        self.model_loaded_timestamp.set(seconds(at_us))
        trained_until = UNKNOWN if model.trained_until_us is None else seconds(model.trained_until_us)
        self.model_trained_until_timestamp.set(trained_until)

    def skill_scored(self, instrument: Instrument, skill: Skill, *, horizon: int) -> None:
        """Shows one horizon's live skill; what is not known yet stays NaN."""
        key = (*instrument, str(horizon))
        self._show_pinball((*key, "har", skill.window), skill.pinball_vs_har, skill.pinball_vs_har_se)
        random_walk = (*key, "random_walk", skill.window)
        self._show_pinball(random_walk, skill.pinball_vs_random_walk, skill.pinball_vs_random_walk_se)
        self.skill_rmse_ratio.labels(*random_walk).set(_known(skill.rmse_vs_random_walk))
        self.skill_rmse_ratio_standard_error.labels(*random_walk).set(_known(skill.rmse_vs_random_walk_se))
        self.skill_coverage_ratio.labels(*key, "0.8", skill.window).set(_known(skill.coverage_80))
        self.skill_coverage_ratio.labels(*key, "0.95", skill.window).set(_known(skill.coverage_95))
        self.skill_scored_forecasts.labels(*key, skill.window).set(skill.scored)
        self.skill_raw_coverage_ratio.labels(*key, "0.8", skill.window).set(_known(skill.raw_coverage_80))
        self.skill_raw_coverage_ratio.labels(*key, "0.95", skill.window).set(_known(skill.raw_coverage_95))
        self.skill_crps.labels(*key, skill.window).set(_from_basis_points(skill.crps_bp))
        self.skill_raw_crps.labels(*key, skill.window).set(_from_basis_points(skill.raw_crps_bp))
        self.skill_crps_over_raw_ratio.labels(*key, skill.window).set(_known(skill.crps_vs_raw))
        self.skill_crps_over_raw_ratio_standard_error.labels(*key, skill.window).set(_known(skill.crps_vs_raw_se))

    def calibrated(self, instrument: Instrument, widths: Mapping[float, float], *, horizon: int) -> None:
        """Shows by how much each central interval, named by its coverage, is widened now."""
        for coverage, width in widths.items():
            self.calibration_width_ratio.labels(*instrument, str(horizon), f"{coverage:g}").set(width)

    def show_state(self, instrument: Instrument, state: SymbolState) -> None:
        """Shows which of its states a symbol is in."""
        for each in SymbolState:
            self.symbol_state.labels(*instrument, each.value).set(int(each is state))

    def watch_queue(self, name: str, depth: Callable[[], int], *, capacity: int) -> None:
        """Shows a bounded queue; ``depth`` is asked at every scrape, on the event loop."""
        self.queue_depth.labels(name).set_function(depth)
        self.queue_capacity.labels(name).set(capacity)

    def _define_feed(self) -> None:
        of_symbol = ("venue", "symbol")
        self.trades = self._counter("trades_total", "Trades accepted into the sequence.", of_symbol)
        self.trades_duplicate = self._counter("trades_duplicate_total", "Trades dropped as already seen.", of_symbol)
        self.frames_malformed = self._counter("frames_malformed_total", "Frames that could not be read.", ("venue",))
        self.feed_connected = self._gauge("feed_connected", "1 while the symbol's stream is acknowledged.", of_symbol)
        self.symbol_state = self._gauge(
            "symbol_state", "1 for the state that the symbol is in, 0 for the others.", (*of_symbol, "state")
        )
        self.feed_reconnects = self._counter("feed_reconnects_total", "Connections lost and made again.", of_symbol)
        self.feed_last_trade_timestamp = self._gauge(
            "feed_last_trade_timestamp_seconds", "Event time of the newest trade.", of_symbol
        )
        self.feed_delay = self._histogram(
            "feed_delay_seconds", "Receipt minus event time of a trade.", ("venue",), FEED_DELAY_BUCKETS
        )
        self.clock_skew = self._gauge("clock_skew_seconds", "The venue's clock minus this machine's.", ("venue",))
        self.trade_gaps = self._counter("trade_gaps_total", "Gaps found in the trade ids.", of_symbol)
        self.trade_gaps_repaired = self._counter("trade_gaps_repaired_total", "Gaps filled through REST.", of_symbol)
        self.trades_malformed = self._counter(
            "trades_malformed_total", "Trades left out for a time that cannot be.", of_symbol
        )
        self.trades_missing = self._gauge("trades_missing", "Trade ids known to be missing now.", of_symbol)

    def _define_bars(self) -> None:
        of_symbol = ("venue", "symbol")
        self.bars = self._counter("bars_total", "Bars closed, by verdict.", (*of_symbol, "completeness"))
        self.bar_last_close_timestamp = self._gauge(
            "bar_last_close_timestamp_seconds", "Close time of the newest closed bar.", of_symbol
        )
        self.bar_revisions = self._counter("bar_revisions_total", "Revisions of bars already closed.", of_symbol)
        self.bar_audits = self._counter(
            "bar_audits_total", "Bars compared with the venue's own candle, by outcome.", (*of_symbol, "result")
        )

    def _define_forecasts(self) -> None:
        of_symbol = ("venue", "symbol")
        self.forecasts = self._counter("forecasts_total", "Forecasts issued, by source.", (*of_symbol, "source"))
        self.forecast_last_timestamp = self._gauge(
            "forecast_last_timestamp_seconds", "Market time of the newest forecast's issue.", of_symbol
        )
        self.bar_to_publish = self._histogram(
            "bar_to_publish_seconds", "From the bar declared closed to PUBACK.", ("venue",), PUBLISH_BUCKETS
        )
        self.bar_to_publish_last = self._gauge(
            "bar_to_publish_last_seconds", "Stages of the newest forecast's way.", (*of_symbol, "stage")
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

    def _define_skill(self) -> None:
        beside = ("venue", "symbol", "horizon", "baseline", "window")
        self.skill_pinball_ratio = self._gauge(
            "skill_pinball_ratio", "Pinball loss over the baseline's, below 1 is better.", beside
        )
        self.skill_pinball_ratio_standard_error = self._gauge(
            "skill_pinball_ratio_standard_error", "Standard error of skill_pinball_ratio.", beside
        )
        self.skill_rmse_ratio = self._gauge(
            "skill_rmse_ratio", "Root mean squared error over the baseline's, below 1 is better.", beside
        )
        self.skill_rmse_ratio_standard_error = self._gauge(
            "skill_rmse_ratio_standard_error", "Standard error of skill_rmse_ratio.", beside
        )
        self.skill_coverage_ratio = self._gauge(
            "skill_coverage_ratio",
            "Share of truths inside the central interval of this level.",
            ("venue", "symbol", "horizon", "level", "window"),
        )
        self.skill_scored_forecasts = self._gauge(
            "skill_scored_forecasts", "Forecasts behind the skill figures.", ("venue", "symbol", "horizon", "window")
        )
        self._define_calibration()

    def _define_calibration(self) -> None:
        of_horizon = ("venue", "symbol", "horizon")
        of_window = (*of_horizon, "window")
        self.skill_raw_coverage_ratio = self._gauge(
            "skill_raw_coverage_ratio",
            "Share of truths inside the interval as it was before calibration.",
            (*of_horizon, "level", "window"),
        )
        self.skill_crps = self._gauge("skill_crps", "Mean CRPS of the published forecasts, in log return.", of_window)
        self.skill_raw_crps = self._gauge(
            "skill_raw_crps", "Mean CRPS of the same before calibration, in log return.", of_window
        )
        self.skill_crps_over_raw_ratio = self._gauge(
            "skill_crps_over_raw_ratio", "CRPS over that before calibration, below 1 it pays.", of_window
        )
        self.skill_crps_over_raw_ratio_standard_error = self._gauge(
            "skill_crps_over_raw_ratio_standard_error", "Standard error of skill_crps_over_raw_ratio.", of_window
        )
        self.calibration_width_ratio = self._gauge(
            "calibration_width_ratio", "Width of the published interval over the raw one.", (*of_horizon, "level")
        )

    def _define_gpu(self) -> None:
        self.gpu = self._gauge("gpu_info", "The GPU's identity, always 1.", ("uuid", "name"))
        self.gpu_utilization_ratio = self._gauge("gpu_utilization_ratio", "Share of time with a kernel.", ("uuid",))
        self.gpu_memory_used_bytes = self._gauge("gpu_memory_used_bytes", "GPU memory in use.", ("uuid",))
        self.gpu_memory_total_bytes = self._gauge("gpu_memory_total_bytes", "GPU memory installed.", ("uuid",))
        self.gpu_temperature_celsius = self._gauge("gpu_temperature_celsius", "Temperature of the chip.", ("uuid",))
        self.gpu_power_watts = self._gauge("gpu_power_watts", "Power drawn by the board.", ("uuid",))
        self.gpu_last_collect_timestamp = self._gauge(
            "gpu_last_collect_timestamp_seconds", "System time of the newest NVML answer.", ("uuid",)
        )

    def _define_queues(self) -> None:
        self.queue_depth = self._gauge("queue_depth", "Entries waiting in the queue.", ("queue",))
        self.queue_capacity = self._gauge("queue_capacity", "Entries the queue can hold.", ("queue",))

    @property
    def _per_instrument(self) -> tuple[Counter | Gauge, ...]:
        return (
            self.trades,
            self.trades_duplicate,
            self.trades_malformed,
            self.symbol_state,
            self.feed_connected,
            self.feed_reconnects,
            self.feed_last_trade_timestamp,
            self.trade_gaps,
            self.trade_gaps_repaired,
            self.trades_missing,
            self.bars,
            self.bar_last_close_timestamp,
            self.bar_revisions,
            self.bar_audits,
            self.forecasts,
            self.forecast_last_timestamp,
            self.bar_to_publish_last,
            self.skill_pinball_ratio,
            self.skill_pinball_ratio_standard_error,
            self.skill_rmse_ratio,
            self.skill_rmse_ratio_standard_error,
            self.skill_coverage_ratio,
            self.skill_scored_forecasts,
            self.skill_raw_coverage_ratio,
            self.skill_crps,
            self.skill_raw_crps,
            self.skill_crps_over_raw_ratio,
            self.skill_crps_over_raw_ratio_standard_error,
            self.calibration_width_ratio,
        )

    def _prepare_feed(self, instrument: Instrument) -> None:
        for counter in (
            self.trades,
            self.trades_duplicate,
            self.trades_malformed,
            self.feed_reconnects,
            self.trade_gaps,
            self.trade_gaps_repaired,
            self.bar_revisions,
        ):
            counter.labels(*instrument)
        self.feed_connected.labels(*instrument).set(0)
        self.show_state(instrument, SymbolState.WARMING_UP)
        self.trades_missing.labels(*instrument).set(0)
        self.frames_malformed.labels(instrument.venue)
        self.clock_skew.labels(instrument.venue).set(UNKNOWN)
        for histogram in (self.feed_delay, self.bar_to_publish, self.inference):
            histogram.labels(instrument.venue)

    def _prepare_bars_and_forecasts(self, instrument: Instrument) -> None:
        for gauge in (self.feed_last_trade_timestamp, self.bar_last_close_timestamp, self.forecast_last_timestamp):
            gauge.labels(*instrument).set(UNKNOWN)
        for completeness in Completeness:
            self.bars.labels(*instrument, completeness.value)
        for result in AUDIT_RESULTS:
            self.bar_audits.labels(*instrument, result)
        for source in SOURCES:
            self.forecasts.labels(*instrument, source)
        for stage in STAGES:
            self.bar_to_publish_last.labels(*instrument, stage).set(UNKNOWN)

    def _prepare_skill(self, instrument: Instrument, horizon: int, baselines: Sequence[str], window: str) -> None:
        key = (*instrument, str(horizon))
        for baseline in baselines:
            self.skill_pinball_ratio.labels(*key, baseline, window).set(UNKNOWN)
            self.skill_pinball_ratio_standard_error.labels(*key, baseline, window).set(UNKNOWN)
        # The squared error of every baseline whose median is zero is the random walk's.
        self.skill_rmse_ratio.labels(*key, "random_walk", window).set(UNKNOWN)
        self.skill_rmse_ratio_standard_error.labels(*key, "random_walk", window).set(UNKNOWN)
        for level in ("0.8", "0.95"):
            self.skill_coverage_ratio.labels(*key, level, window).set(UNKNOWN)
            self.skill_raw_coverage_ratio.labels(*key, level, window).set(UNKNOWN)
            self.calibration_width_ratio.labels(*key, level).set(UNKNOWN)
        for gauge in (
            self.skill_crps,
            self.skill_raw_crps,
            self.skill_crps_over_raw_ratio,
            self.skill_crps_over_raw_ratio_standard_error,
        ):
            gauge.labels(*key, window).set(UNKNOWN)
        self.skill_scored_forecasts.labels(*key, window).set(0)

    def _show_pinball(self, labels: tuple[str, ...], ratio: float | None, standard_error: float | None) -> None:
        self.skill_pinball_ratio.labels(*labels).set(_known(ratio))
        self.skill_pinball_ratio_standard_error.labels(*labels).set(_known(standard_error))

    def _counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, documentation, labels, namespace="forecastd", registry=self.registry)

    def _gauge(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, documentation, labels, namespace="forecastd", registry=self.registry)

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


def _known(value: float | None) -> float:
    return UNKNOWN if value is None else value


def _from_basis_points(value: float | None) -> float:
    return UNKNOWN if value is None else value / 1e4
