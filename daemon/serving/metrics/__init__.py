"""Every metric of forecastd, by family, on a registry of its own.

Base units, timestamps instead of ages, and every series of a configured instrument exists before its first event:
counters at 0, gauges at NaN while nothing is known (a zero would claim a value). ``docs/metrics.md`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import disable_created_metrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from daemon.serving.metrics.bars import BarMetrics
from daemon.serving.metrics.family import seconds
from daemon.serving.metrics.feed import FeedMetrics
from daemon.serving.metrics.forecasts import STAGES, ForecastMetrics
from daemon.serving.metrics.gpu import GpuMetrics
from daemon.serving.metrics.health import HealthMetrics
from daemon.serving.metrics.model import ModelMetrics
from daemon.serving.metrics.skill import SkillMetrics
from daemon.serving.metrics.store import StoreMetrics
from daemon.timestamps import MICROSECONDS_PER_SECOND
from features.market import Instrument

__all__ = ["STAGES", "Metrics", "seconds"]


class Metrics(
    FeedMetrics, BarMetrics, ForecastMetrics, ModelMetrics, SkillMetrics, GpuMetrics, StoreMetrics, HealthMetrics
):
    """All metrics as attributes, e.g. ``metrics.trades.labels(*instrument).inc(3)``."""

    def __init__(self, *, version: str, market_us: Callable[[], int]) -> None:
        super().__init__()
        # Without this every counter and histogram has a `_created` series too, which doubles their number.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it unannotated
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
        self._define_store()
        self._define_health()
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
            self._prepare_bars(instrument)
            self._prepare_forecasts(instrument)
            for horizon in horizons:
                self._prepare_skill(instrument, horizon, baselines, skill_window)

    def forget(self, instrument: Instrument) -> None:
        """Removes the series of an instrument that is no longer configured."""
        labels = instrument._asdict()
        for metric in self._per_instrument:
            metric.remove_by_labels(labels)

    def watch_queue(self, name: str, depth: Callable[[], int], *, capacity: int) -> None:
        """Shows a bounded queue; ``depth`` is asked at every scrape, on the event loop."""
        self.queue_depth.labels(name).set_function(depth)
        self.queue_capacity.labels(name).set(capacity)

    def _define_queues(self) -> None:
        self.queue_depth = self._gauge("queue_depth", "Entries waiting in the queue.", ("queue",))
        self.queue_capacity = self._gauge("queue_capacity", "Entries the queue can hold.", ("queue",))
