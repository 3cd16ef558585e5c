"""The faults of a soak: how often each kind happens, and what the daemon promises under it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from daemon.simulator.faults.plan import Kind


class ScheduledFault(NamedTuple):
    """per_hour: random faults of the kind an hour and venue. expectation: the bars, where the venue's ids allow proof.

    active: whether the default soak has the kind; others only by name (``--faults``).
    """

    per_hour: float
    expectation: str
    active: bool = True


# The exchanges' clocks do not jump (``skew``): the daemon's clock is wrong at its start.
SCHEDULE: Mapping[Kind, ScheduledFault] = MappingProxyType(
    {
        "drop": ScheduledFault(90.0, "REST repairs the gap; the bar is proven"),
        "duplicate": ScheduledFault(60.0, "the second trade is dropped; the bar is proven"),
        "reorder": ScheduledFault(60.0, "gaps close when the trades come or by REST; the bar is proven"),
        "delay": ScheduledFault(60.0, "late trades make a revision; the bar is proven"),
        "batch": ScheduledFault(40.0, "trades in order but late; the bar is proven"),
        "mute": ScheduledFault(20.0, "the symbol is stale, REST has its trades; the bar is proven"),
        "stall": ScheduledFault(12.0, "the connection is replaced, REST repairs; the bar is proven"),
        "close": ScheduledFault(30.0, "the connection is replaced, REST repairs; the bar is proven"),
        "refuse": ScheduledFault(12.0, "connected again afterwards, REST repairs; the bar is proven"),
        "rest": ScheduledFault(20.0, "asked again after Retry-After; a revision proves the bar"),
        "complain": ScheduledFault(12.0, "asked again later; a revision proves the bar"),
        "malformed": ScheduledFault(60.0, "the frame is counted, no trade is lost; the bar is proven"),
        "shutdown": ScheduledFault(12.0, "a new connection replaces the old one before it closes; the bar is proven"),
        "halt": ScheduledFault(20.0, "the bar is empty"),
        "server_time": ScheduledFault(12.0, "the time is not believed: no bar from the future, none missing"),
        "huge_id": ScheduledFault(20.0, "the trade is not believed; REST proves the bar"),
        "late": ScheduledFault(20.0, "a late answer proves nothing for a later request; a revision proves the bar"),
        "cross": ScheduledFault(20.0, "an answer to another request gives trades at most; no false proof"),
        "throttle": ScheduledFault(12.0, "asked again after Retry-After; the bar is counted once"),
        "huge_candle": ScheduledFault(12.0, "the candle is skipped and counted; the bar stays as its trades made it"),
        "delist": ScheduledFault(6.0, "the symbol is degraded and asked for again; the others go on"),
        "listing": ScheduledFault(12.0, "a start runs what is listed and asks for the rest again"),
        "region": ScheduledFault(6.0, "the venue is degraded and asked again; the others go on"),
    }
)


def rates(names: str = "", factor: float = 1.0) -> dict[Kind, float]:
    """Faults an hour by kind, times ``factor``; ``names``: kinds separated by commas, without them the active ones.

    Raises ValueError for an unknown kind.
    """
    wanted = [name for name in names.split(",") if name]
    if unknown := [name for name in wanted if name not in SCHEDULE]:
        raise ValueError(f"no such faults: {', '.join(unknown)}; there are {', '.join(SCHEDULE)}")
    chosen = {kind: each for kind, each in SCHEDULE.items() if (kind in wanted if wanted else each.active)}
    return {kind: each.per_hour * factor for kind, each in chosen.items()}
