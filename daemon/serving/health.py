"""Health and readiness of the daemon, derived from the reported states of its components and instruments.

Pure bookkeeping over a clock: the app reports events; the HTTP server, sd_notify and the MQTT status topic read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from daemon.clock import Clock
from features.market import Instrument

READY_TIMEOUT_S = 90.0


class ServiceState(StrEnum):
    """The daemon's state as a whole. STOPPED and OFFLINE belong to the MQTT topic alone."""

    STARTING = "starting"
    ONLINE = "online"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class HealthCondition:
    """``state`` holds since market time ``since_us``; ``reason`` is empty while online."""

    state: ServiceState
    reason: str
    since_us: int


class Health:
    """Derives ``condition``, ``readiness_problems`` and ``may_report_ready`` from the reported states.

    A component that fails after the start makes the daemon degraded, not unhealthy: a restart does not repair a venue.
    ready_timeout_s: wall seconds after which READY=1 no longer waits for instruments that are warming up.
    """

    def __init__(
        self,
        clock: Clock,
        instruments: Iterable[Instrument],
        *,
        ready_timeout_s: float = READY_TIMEOUT_S,
        on_change: Callable[[HealthCondition], None] | None = None,
    ) -> None:
        self._clock = clock
        self._ready_timeout_s = ready_timeout_s
        self._on_change = on_change
        self._started_s = clock.wall_s()
        self._components_up: dict[str, bool] = {"store": False, "control socket": False, "http": False}
        self._waiting_for: dict[Instrument, str] = dict.fromkeys(instruments, "warming up")
        self._unreachable: dict[Instrument, str] = {}
        self._faults: dict[str, str] = {}
        self._fatal_reason: str | None = None
        self._first_forecast = False
        self._ready_reported = False
        self._condition = HealthCondition(ServiceState.STARTING, "starting", clock.market_us())

    @property
    def condition(self) -> HealthCondition:
        """The state now, with the reasons joined by semicolons."""
        return self._condition

    def component_up(self, component: str, *, up: bool = True) -> None:
        """``component`` is "store", "control socket" or "http"."""
        if component not in self._components_up:
            raise ValueError(f"component was {component!r}, must be one of {', '.join(self._components_up)}")
        self._components_up[component] = up
        self._update()

    def symbol_warm(self, instrument: Instrument) -> None:
        """The instrument's feature buffer is filled and its feed is live."""
        self._waiting_for.pop(instrument, None)
        self._unreachable.pop(instrument, None)
        self._update()

    def symbol_unreachable(self, instrument: Instrument, reason: str) -> None:
        """The venue does not serve the instrument now; the other instruments are unaffected."""
        self._waiting_for.pop(instrument, None)
        self._unreachable[instrument] = reason
        self._update()

    def symbol_warming(self, instrument: Instrument, reason: str = "warming up") -> None:
        """The instrument is new, or reachable again, and not warm yet."""
        self._unreachable.pop(instrument, None)
        self._waiting_for[instrument] = reason
        self._update()

    def symbol_removed(self, instrument: Instrument) -> None:
        """The instrument is no longer configured."""
        self._waiting_for.pop(instrument, None)
        self._unreachable.pop(instrument, None)
        self._update()

    def fault(self, component: str, reason: str) -> None:
        """``component``, e.g. "mqtt" or "model", is impaired until ``clear_fault``."""
        self._faults[component] = reason
        self._update()

    def clear_fault(self, component: str) -> None:
        self._faults.pop(component, None)
        self._update()

    def give_up(self, reason: str) -> None:
        """Reports a fault that only a restart repairs: the watchdog's ping stops and ``/healthz`` fails."""
        self._fatal_reason = reason

    def fatal_reason(self) -> str | None:
        """Why the daemon must be restarted, None while it is healthy."""
        return self._fatal_reason

    def forecast_issued(self) -> None:
        self._first_forecast = True

    def may_report_ready(self) -> bool:
        """Whether READY=1 is due: all components up, and each symbol warm or unreachable or the timeout over."""
        if not all(self._components_up.values()):
            return False
        waited_s = self._clock.wall_s() - self._started_s
        return not self._waiting_for or waited_s >= self._ready_timeout_s

    def ready_reported(self) -> None:
        """READY=1 was sent: from now on the daemon is online or degraded."""
        self._ready_reported = True
        self._update()

    def readiness_problems(self) -> list[str]:
        """Why ``/readyz`` fails; empty while the daemon forecasts."""
        problems = [f"{component} is not up" for component, up in self._components_up.items() if not up]
        problems += [f"{instrument} {reason}" for instrument, reason in self._waiting_for.items()]
        if not self._first_forecast:
            problems.append("no forecast yet")
        return problems

    def _reasons(self) -> list[str]:
        reasons = [f"{component} is not up" for component, up in self._components_up.items() if not up]
        reasons += [f"{instrument} unreachable: {reason}" for instrument, reason in self._unreachable.items()]
        reasons += [f"{instrument} {reason}" for instrument, reason in self._waiting_for.items()]
        reasons += [f"{component}: {reason}" for component, reason in self._faults.items()]
        return reasons

    def _update(self) -> None:
        reasons = self._reasons()
        if not self._ready_reported:
            state = ServiceState.STARTING
        else:
            state = ServiceState.DEGRADED if reasons else ServiceState.ONLINE
        reason = "; ".join(reasons)
        if (state, reason) == (self._condition.state, self._condition.reason):
            return
        same_state = state is self._condition.state
        since_us = self._condition.since_us if same_state else self._clock.market_us()
        self._condition = HealthCondition(state, reason, since_us)
        if self._on_change is not None:
            self._on_change(self._condition)
