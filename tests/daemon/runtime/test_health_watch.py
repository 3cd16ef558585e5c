"""Tests of the watch over the components: what it reports, when it ends the daemon, and what is no fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from daemon.clock import ManualClock
from daemon.runtime.health_watch import CHECK_S, ComponentHung, HealthWatch
from daemon.serving.health import Health, ServiceState
from daemon.serving.metrics import Metrics
from daemon.serving.progress import ComponentWork, ProgressBounds

BOUNDS = ProgressBounds(30.0, 180.0)


class Watched:
    """A watch over one component, "features", whose work waits since ``since_s``."""

    def __init__(self, *, bounds: ProgressBounds = BOUNDS, end_s: float = 60.0) -> None:
        self.clock = ManualClock()
        self.since_s: float | None = None
        self.bounds = bounds
        self.metrics = Metrics(version="0.1.0", market_us=self.clock.market_us)
        self.health = Health(self.clock, [])
        for component in ("store", "control socket", "http"):
            self.health.component_up(component)
        self.health.ready_reported()
        self.watch = HealthWatch(self.read, health=self.health, metrics=self.metrics, clock=self.clock, end_s=end_s)

    def read(self) -> list[ComponentWork]:
        return [
            ComponentWork(component="features", bounds=self.bounds, activity="a round", waiting_since_s=self.since_s)
        ]

    def wait(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> float:
        """Checks twice a second for so long, or until the condition holds; returns the seconds that passed."""
        checks = int(seconds / CHECK_S)
        for check in range(1, checks + 1):
            self.clock.set(self.clock.now_us + int(CHECK_S * 1e6))
            self.watch.check()
            if until():
                return check * CHECK_S
        return seconds

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"forecastd_{name}", labels)


def test_a_hung_component_degrades_then_ends_the_daemon() -> None:
    """At its bounds, and at the end with its name and exit code 70."""
    watched = Watched()
    watched.since_s = watched.clock.wall_s()
    with capture_logs() as logs:
        assert watched.wait(60, until=lambda: watched.health.condition.state is ServiceState.DEGRADED) == 30.0
        assert watched.metric("component_state", component="features") == 1.0
        assert watched.health.fatal_reason() is None
        assert watched.wait(300, until=lambda: watched.health.fatal_reason() is not None) == 150.0
        assert watched.metric("component_state", component="features") == 2.0
        with pytest.raises(ComponentHung, match="features: a round makes no progress for 240 s") as ended:
            watched.wait(300)
    assert ended.value.exit_code == 70
    assert watched.clock.wall_s() - watched.since_s == 240.0
    assert [entry["event"] for entry in logs] == ["component_stalled", "component_hung"]


def test_progress_ends_a_stall() -> None:
    """The daemon is online again, and the log says so."""
    watched = Watched()
    watched.since_s = watched.clock.wall_s()
    watched.wait(60)
    assert watched.health.condition.state == "degraded"
    watched.since_s = None
    with capture_logs() as logs:
        watched.wait(1)
    assert watched.health.condition.state == "online"
    assert watched.metric("component_state", component="features") == 0.0
    assert [entry["event"] for entry in logs] == ["component_progresses"]


def test_a_component_that_recovers_in_time_does_not_end_the_daemon() -> None:
    """Each fault starts the time to the end again."""
    watched = Watched()
    for _ in range(5):
        watched.since_s = watched.clock.wall_s()
        watched.wait(230)
        assert watched.health.fatal_reason() is not None
        watched.since_s = None
        watched.wait(1)
        assert watched.health.fatal_reason() is None


def test_an_idle_day_is_no_fault() -> None:
    """No venue trades, nothing is stored, nothing is published."""
    watched = Watched()
    watched.wait(3_600)
    assert watched.health.condition.state is ServiceState.ONLINE
    assert watched.metric("component_last_progress_timestamp_seconds", component="features") == pytest.approx(3_600)


@pytest.mark.parametrize("stopped_s", [6, 600, 86_400])
def test_a_process_that_was_stopped_is_not_hung(stopped_s: int) -> None:
    """After a debugger or a suspended machine, only the time that the process ran counts."""
    watched = Watched()
    watched.since_s = watched.clock.wall_s()
    watched.wait(20)
    watched.clock.set(watched.clock.now_us + stopped_s * 1_000_000)
    assert watched.wait(60, until=lambda: watched.health.condition.state is ServiceState.DEGRADED) == pytest.approx(
        10.0, abs=2 * CHECK_S
    )


def test_work_of_outsiders_never_ends_the_daemon() -> None:
    """Without a bound for unhealthy a component stays degraded, as for a broker that does not answer."""
    watched = Watched(bounds=ProgressBounds(30.0, None))
    watched.since_s = watched.clock.wall_s()
    watched.wait(7_200)
    assert watched.health.condition.state is ServiceState.DEGRADED
    assert watched.health.fatal_reason() is None
