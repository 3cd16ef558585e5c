"""Health and readiness of the daemon, derived from the evidence that its components and instruments report.

Pure bookkeeping over a clock: the app reports events; the HTTP server, sd_notify and the MQTT status topic read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from daemon.clock import Clock
from daemon.serving.confirmations import Confirmations, ForecastStep
from daemon.serving.progress import ComponentState, Judgement
from features.market import Instrument

READY_TIMEOUT_S = 90.0
CONFIRMED_WITHIN_S = 60.0
_WARMING_UP = "warming up"
# Components without which no forecast is issued, stored and published; a baseline replaces inference.
_NEEDED = frozenset({"bars", "features", "rounds", "store", "publisher"})


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

    A fault, or a component without progress, makes the daemon degraded; a component that only a restart repairs makes
    it unhealthy. A lost venue or broker never does: a restart does not repair it.

    ready_timeout_s: wall seconds after which READY=1 no longer waits for instruments that are warming up.
    confirmed_within_s: wall seconds from a bar's close until its forecast must be confirmed by the broker.
    """

    def __init__(
        self,
        clock: Clock,
        instruments: Iterable[Instrument],
        *,
        ready_timeout_s: float = READY_TIMEOUT_S,
        confirmed_within_s: float = CONFIRMED_WITHIN_S,
        on_change: Callable[[HealthCondition], None] | None = None,
    ) -> None:
        self._clock = clock
        self._ready_timeout_s = ready_timeout_s
        self._confirmed_within_s = confirmed_within_s
        self._on_change = on_change
        self._started_s = clock.wall_s()
        self._components_up: dict[str, bool] = {"store": False, "control socket": False, "http": False}
        self._instruments = set(instruments)
        self._waiting_for: dict[Instrument, str] = dict.fromkeys(self._instruments, _WARMING_UP)
        self._unreachable: dict[Instrument, str] = {}
        self._live: set[Instrument] = set()
        self._history_loaded = False
        self._faults: dict[str, str] = {}
        self._confirmations = Confirmations()
        self.components: Sequence[Judgement] = ()
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

    def symbol_live(self, instrument: Instrument) -> None:
        """The venue serves the instrument; it is warm from then on, or once the recent history is loaded."""
        self._live.add(instrument)
        self._unreachable.pop(instrument, None)
        if self._history_loaded:
            self._waiting_for.pop(instrument, None)
        else:
            self._waiting_for.setdefault(instrument, _WARMING_UP)
        self._update()

    def history_loaded(self) -> None:
        """The feature buffer is filled from the recent history, as far as the venues and the store have it."""
        self._history_loaded = True
        for instrument in self._live:
            self._waiting_for.pop(instrument, None)
        self._update()

    def symbol_unreachable(self, instrument: Instrument, reason: str) -> None:
        """The venue does not serve the instrument now; the other instruments are unaffected."""
        self._live.discard(instrument)
        self._waiting_for.pop(instrument, None)
        self._unreachable[instrument] = reason
        self._update()

    def fault(self, component: str, reason: str) -> None:
        """``component``, e.g. "mqtt" or "model", is impaired until ``clear_fault``."""
        self._faults[component] = reason
        self._update()

    def clear_fault(self, component: str) -> None:
        self._faults.pop(component, None)
        self._update()

    def observe(self, components: Sequence[Judgement]) -> None:
        """Takes the judgement of every component; to be called every second or so."""
        self.components = components
        self._update()

    def bar_closed(self, instrument: Instrument, close_us: int) -> None:
        """A bar closed, and its forecast is due."""
        self._confirmations.closed(instrument, close_us, self._clock.wall_s())

    def forecast_done(self, instrument: Instrument, close_us: int, step: ForecastStep) -> None:
        """The forecast of the close was made, stored or confirmed by the broker."""
        self._confirmations.done(instrument, close_us, step)

    def fatal_reason(self) -> str | None:
        """Why the daemon must be restarted, with the component's name; None while it is healthy."""
        reasons = [_line(each) for each in self.components if each.state is ComponentState.UNHEALTHY]
        return "; ".join(reasons) or None

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
        """Why ``/readyz`` fails; empty while the last close of every live symbol is forecast, stored and confirmed.

        A shard without instruments is ready: no forecast is due.
        """
        problems = [f"{component} is not up" for component, up in self._components_up.items() if not up]
        problems += [f"{instrument} {reason}" for instrument, reason in self._waiting_for.items()]
        problems += [
            _line(each)
            for each in self.components
            if each.state is ComponentState.UNHEALTHY or (each.reason and each.component in _NEEDED)
        ]
        if self._instruments and not self._confirmations.any_complete:
            problems.append("no forecast yet")
        elif self._unreachable and self._unreachable.keys() == self._instruments:
            problems.append("no symbol is live")
        return problems + self._unconfirmed()

    def _unconfirmed(self) -> list[str]:
        overdue = self._confirmations.overdue(self._clock.wall_s(), self._confirmed_within_s)
        return [f"{instrument}: {reason}" for instrument, reason in overdue.items() if self._is_live(instrument)]

    def _is_live(self, instrument: Instrument) -> bool:
        return instrument not in self._unreachable and instrument not in self._waiting_for

    def _reasons(self) -> list[str]:
        reasons = [f"{component} is not up" for component, up in self._components_up.items() if not up]
        reasons += [f"{instrument} unreachable: {reason}" for instrument, reason in self._unreachable.items()]
        reasons += [f"{instrument} {reason}" for instrument, reason in self._waiting_for.items()]
        reasons += [f"{component}: {reason}" for component, reason in self._faults.items()]
        reasons += [_line(each) for each in self.components if each.reason]
        return reasons + self._unconfirmed()

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


def _line(judgement: Judgement) -> str:
    return f"{judgement.component}: {judgement.reason}"
