"""Progress of each component of one daemon, read from the components themselves."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.forecasting.inference import LOADING_HISTORY
from daemon.forecasting.worker_thread import Activity
from daemon.pipeline.events import SymbolState
from daemon.runtime.forecast_rounds import CHANGING_MODEL
from daemon.runtime.wiring import Components
from daemon.serving.health_limits import HealthLimits
from daemon.serving.progress import ComponentWork, ProgressBounds
from daemon.store.progress import FaultKind

_CLOSING = (SymbolState.LIVE, SymbolState.HALTED)


class ComponentProgress:
    """Reads the progress of every component; ``read`` is to be called every second or so."""

    def __init__(self, components: Components, limits: HealthLimits) -> None:
        self._components = components
        self._limits = limits
        self._seen: dict[str, tuple[object, float]] = {}

    def read(self) -> list[ComponentWork]:
        """What every component does now."""
        now_s = self._components.clock.wall_s()
        return [
            *self._read_feeds(now_s),
            self._read_bars(now_s),
            *self._read_inference(),
            self._read_rounds(),
            self._read_store(),
            *self._read_publisher(now_s),
            self._read_retraining(now_s),
        ]

    # ---------------------------------------------------------------- components

    def _read_feeds(self, now_s: float) -> Iterator[ComponentWork]:
        """A feed that is not connected makes progress with each attempt, and none is due while it pauses."""
        for venue_name, feed in self._components.feeds.items():
            groups = feed.stream.states if feed.stream is not None else []
            waiting = any(not group.connected and group.next_try_s <= 0 for group in groups)
            evidence = tuple((group.connected, group.failures) for group in groups)
            yield ComponentWork(
                component="feeds",
                bounds=self._limits.feed,
                activity=f"connecting to {venue_name}",
                waiting_since_s=self._since(f"feed {venue_name}", evidence, now_s, idle=not waiting),
            )

    def _read_bars(self, now_s: float) -> ComponentWork:
        """A bar of a live instrument that is past its close waits for its proof at most for the documented wait."""
        market_us = self._components.clock.market_us()
        late = [
            (each.next_close_us, str(instrument))
            for instrument, each in self._components.pipeline.instruments.items()
            if each.warm and each.unlisted is None and each.state in _CLOSING and each.next_close_us < market_us
        ]
        if not late:
            return ComponentWork(component="bars", bounds=self._limits.bars)
        close_us, name = min(late)
        waited_s = (market_us - close_us) / 1e6 / self._components.clock.speed
        return ComponentWork(
            component="bars",
            bounds=self._limits.bars,
            activity=f"the bar of {name}",
            waiting_since_s=now_s - waited_s,
        )

    def _read_inference(self) -> Iterator[ComponentWork]:
        activities = self._components.inference.activities
        features = activities["features"]
        loading_history = features is not None and features.name == LOADING_HISTORY
        yield _progress("features", features, self._limits.history if loading_history else self._limits.round)
        yield _progress("inference", activities["device"], self._limits.device)
        yield _progress("inference", activities["loader"], self._limits.loading)

    def _read_rounds(self) -> ComponentWork:
        activity = self._components.rounds.activity
        changing = activity is not None and activity.name == CHANGING_MODEL
        return _progress("rounds", activity, self._limits.history if changing else self._limits.round)

    def _read_store(self) -> ComponentWork:
        progress = self._components.store.progress
        if progress.fault is not None and progress.fault.kind is FaultKind.DAMAGED:
            return ComponentWork(
                component="store",
                bounds=self._limits.damaged,
                activity="the damaged store",
                waiting_since_s=progress.fault.since_s,
            )
        bounds = self._limits.store
        if progress.fault is not None:  # a restart makes no room on the disk and ends no other program's lock
            bounds = ProgressBounds(bounds.degraded_s, None)
        return ComponentWork(component="store", bounds=bounds, activity="a call", waiting_since_s=progress.busy_since_s)

    def _read_publisher(self, now_s: float) -> Iterator[ComponentWork]:
        """Confirmations are the broker's, attempts to connect the publisher's own progress."""
        state, idle = self._components.publisher.state, self._components.publisher.depth == 0
        answered = (state.published, state.repeated, state.expired, state.superseded, state.overflowed)
        yield ComponentWork(
            component="publisher",
            bounds=self._limits.confirmations,
            activity="a message to the broker",
            waiting_since_s=self._since("confirmations", answered, now_s, idle=idle),
        )
        yield ComponentWork(
            component="publisher",
            bounds=self._limits.publisher,
            activity="the connection to the broker",
            waiting_since_s=self._since("publisher", state, now_s, idle=idle),
        )

    def _read_retraining(self, now_s: float) -> ComponentWork:
        evidence = self._components.retrainer.supervisor.status
        return ComponentWork(
            component="retraining",
            bounds=self._limits.training,
            activity="a training step",
            waiting_since_s=self._since("retraining", evidence, now_s, idle=not self._components.retrainer.running),
        )

    # ---------------------------------------------------------------- inside

    def _since(self, name: str, evidence: object, now_s: float, *, idle: bool) -> float | None:
        """Since when the evidence is what it is; None while the component is idle."""
        known = self._seen.get(name)
        if known is None or idle or known[0] != evidence:
            self._seen[name] = (evidence, now_s)
            return None if idle else now_s
        return known[1]


def _progress(component: str, activity: Activity | None, bounds: ProgressBounds) -> ComponentWork:
    if activity is None:
        return ComponentWork(component=component, bounds=bounds)
    return ComponentWork(component=component, bounds=bounds, activity=activity.name, waiting_since_s=activity.since_s)
