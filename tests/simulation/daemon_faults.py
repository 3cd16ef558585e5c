"""What goes wrong around one simulated daemon: its venues, network, disk, device, broker, clock and its own life."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from daemon.simulator.faults.plan import Kind
from tests.soak.schedule import SCHEDULE

_CALM = 0.5  # share of worlds in which a fault of a kind does not happen at all
_VENUE_FACTOR = 3.0  # times the rates of a soak, at most


@dataclass(frozen=True, kw_only=True)
class DaemonFaults:
    """``*_per_hour`` are mean numbers an hour of simulated time; ``venue`` those of the exchange's own faults."""

    kills_per_hour: float = field(default=0.0, metadata={"most": 20.0})
    power_cut_share: float = field(default=0.0, metadata={"most": 0.7})
    wrong_start_share: float = field(default=0.0, metadata={"most": 0.5})
    cuts_per_hour: float = field(default=0.0, metadata={"most": 40.0})
    freezes_per_hour: float = field(default=0.0, metadata={"most": 40.0})
    refusals_per_hour: float = field(default=0.0, metadata={"most": 20.0})
    disk_stalls_per_hour: float = field(default=0.0, metadata={"most": 40.0})
    disk_full_per_hour: float = field(default=0.0, metadata={"most": 20.0})
    failed_writes_per_hour: float = field(default=0.0, metadata={"most": 40.0})
    slow_disk_s: float = field(default=0.0, metadata={"most": 1.0})
    device_hangs_per_hour: float = field(default=0.0, metadata={"most": 20.0})
    broker_restarts_per_hour: float = field(default=0.0, metadata={"most": 20.0})
    broker_hangs_per_hour: float = field(default=0.0, metadata={"most": 40.0})
    broker_denials_per_hour: float = field(default=0.0, metadata={"most": 20.0})
    broker_lost_chance: float = field(default=0.0, metadata={"most": 0.01})
    venue: Mapping[Kind, float] = field(default_factory=dict)


def draw_daemon_faults(rng: random.Random, *, without: frozenset[str] = frozenset()) -> DaemonFaults:
    """The faults of one world; those named in ``without`` are off, and the draws of the others stay the same."""
    drawn = {each.name: _draw(rng, each.metadata["most"]) for each in fields(DaemonFaults) if each.metadata}
    venue = {kind: _draw(rng, _VENUE_FACTOR * fault.per_hour) for kind, fault in SCHEDULE.items()}
    return DaemonFaults(
        **{name: 0.0 if name in without else value for name, value in drawn.items()},
        venue={kind: rate for kind, rate in venue.items() if kind not in without},
    )


def fault_names() -> list[str]:
    """Every name that ``without`` knows."""
    return [each.name for each in fields(DaemonFaults) if each.metadata] + list(SCHEDULE)


def _draw(rng: random.Random, most: float) -> float:
    calm, share = rng.random() < _CALM, rng.random() ** 2
    return 0.0 if calm else most * share
