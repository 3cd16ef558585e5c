"""Progress of the daemon's components, judged by how long work waits without any. No I/O.

A component is healthy while it has nothing to do or makes progress on what it has; time alone, an idle venue or a quiet
hour makes none unhealthy.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

_SHOWN_STEP_S = 30.0  # a reason is published, and must not change every second


class ComponentState(StrEnum):
    """DEGRADED: without progress for a while. UNHEALTHY: for so long that only a restart helps."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class ProgressBounds(msgspec.Struct, frozen=True):
    """Wall seconds without progress until a component is degraded, and until it is unhealthy.

    unhealthy_s: None where a restart cannot help, e.g. for a broker that does not answer.
    """

    degraded_s: float
    unhealthy_s: float | None


class ComponentWork(msgspec.Struct, frozen=True, kw_only=True):
    """What one component does at one moment.

    component: its name, e.g. "features". activity: what waits, for people, e.g. "a round"; "" while nothing does.
    waiting_since_s: wall time since which work waits without progress; None while nothing waits.
    """

    component: str
    bounds: ProgressBounds
    activity: str = ""
    waiting_since_s: float | None = None


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one component; ``reason`` is "" while it is healthy. waiting_s: 0 while nothing waits."""

    component: str
    state: ComponentState
    reason: str = ""
    waiting_s: float = 0.0


def judge(progress: ComponentWork, now_s: float) -> Judgement:
    """The state of a component at wall time ``now_s``."""
    if progress.waiting_since_s is None:
        return Judgement(component=progress.component, state=ComponentState.HEALTHY)
    waiting_s = max(now_s - progress.waiting_since_s, 0.0)
    bounds = progress.bounds
    if bounds.unhealthy_s is not None and waiting_s >= bounds.unhealthy_s:
        state = ComponentState.UNHEALTHY
    elif waiting_s >= bounds.degraded_s:
        state = ComponentState.DEGRADED
    else:
        return Judgement(component=progress.component, state=ComponentState.HEALTHY, waiting_s=waiting_s)
    step_s = max(bounds.degraded_s, _SHOWN_STEP_S)
    shown_s = max(step_s * (waiting_s // step_s), bounds.degraded_s)
    reason = f"{progress.activity or 'its work'} makes no progress for {shown_s:.0f} s"
    return Judgement(component=progress.component, state=state, reason=reason, waiting_s=waiting_s)


def judge_all(progress: Iterable[ComponentWork], now_s: float) -> list[Judgement]:
    """The state of each component: the worst of its entries, in the order of their first ones."""
    worst: dict[str, Judgement] = {}
    for each in progress:
        judged = judge(each, now_s)
        known = worst.get(judged.component)
        if known is None or _severity(judged) > _severity(known):
            worst[judged.component] = judged
    return list(worst.values())


def _severity(judgement: Judgement) -> tuple[int, float]:
    return list(ComponentState).index(judgement.state), judgement.waiting_s
