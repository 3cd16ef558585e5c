"""Watches the progress of every component, and ends a daemon that only a restart can help."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import structlog

from daemon.clock import Clock
from daemon.errors import EXIT_INTERNAL, ForecastdError
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from daemon.serving.progress import ComponentState, ComponentWork, Judgement, judge_all

log = structlog.get_logger(__name__)

CHECK_S = 0.5
_STALL_S = 5.0  # a check that comes so late shows that the whole process stood still, not its components
_KEPT_STALLS = 16


class ComponentHung(ForecastdError):
    """A component hangs for good; the service manager starts the daemon again."""

    exit_code = EXIT_INTERNAL


class HealthWatch:
    """Judges the components twice a second and shows the result in health, metrics and log.

    read: the progress of every component now. end_s: wall seconds from unhealthy to the end of the daemon; a service
    manager's watchdog acts earlier. on_end: called before ComponentHung is raised, because the end itself may hang.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[ComponentWork]],
        *,
        health: Health,
        metrics: Metrics,
        clock: Clock,
        end_s: float,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._end_s = end_s
        self._on_end = on_end
        self._states: dict[str, ComponentState] = {}
        self._stalls: deque[tuple[float, float]] = deque(maxlen=_KEPT_STALLS)
        self._checked_s = clock.wall_s()
        self._unhealthy_since_s: float | None = None

    async def run(self) -> None:
        """Checks without end. Raises ComponentHung."""
        self._checked_s = self._clock.wall_s()
        while True:
            self.check()
            await asyncio.sleep(CHECK_S)

    def check(self) -> None:
        """One check. Raises ComponentHung where a component has been unhealthy for ``end_s``."""
        now_s = self._clock.wall_s()
        if now_s - self._checked_s > _STALL_S:
            self._stalls.append((now_s, now_s - self._checked_s))
            self._unhealthy_since_s = None
        self._checked_s = now_s
        judgements = judge_all((self._without_stalls(each) for each in self._read()), now_s)
        self._health.observe(judgements)
        self._show(judgements)
        self._end_if_hopeless(now_s)

    def _without_stalls(self, progress: ComponentWork) -> ComponentWork:
        """The progress as if the process had never been stopped, e.g. by a debugger or a suspended machine."""
        since_s = progress.waiting_since_s
        if since_s is None or not self._stalls:
            return progress
        stalled_s = sum(length_s for ended_s, length_s in self._stalls if since_s < ended_s)
        return msgspec.structs.replace(progress, waiting_since_s=since_s + stalled_s)

    def _show(self, judgements: Sequence[Judgement]) -> None:
        market_s = self._clock.market_us() / 1e6
        for each in judgements:
            self._metrics.component(each, progressed_at_s=market_s - each.waiting_s * self._clock.speed)
            known = self._states.get(each.component, ComponentState.HEALTHY)
            if each.state is known:
                continue
            self._states[each.component] = each.state
            if each.state is ComponentState.HEALTHY:
                log.info("component_progresses", component=each.component)
            elif each.state is ComponentState.DEGRADED:
                log.warning("component_stalled", component=each.component, reason=each.reason)
            else:
                log.error("component_hung", component=each.component, reason=each.reason)
        self._metrics.ready.set(int(not self._health.readiness_problems()))

    def _end_if_hopeless(self, now_s: float) -> None:
        reason = self._health.fatal_reason()
        if reason is None:
            self._unhealthy_since_s = None
            return
        if self._unhealthy_since_s is None:
            self._unhealthy_since_s = now_s
        if now_s - self._unhealthy_since_s >= self._end_s:
            self._on_end()
            raise ComponentHung(f"{reason}; the daemon ends so that it can be started again")
