"""Times in which a venue did not serve a symbol: bars may be missing or unproven then, but never wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from daemon.simulator.faults.log import Injected

# The daemon looks for a symbol or venue again after 15 s, then 30 s, and resumes with the next bar.
RESUMED_WITHIN_S = 60.0


class Unserved(NamedTuple):
    """From the start of the fault until the daemon must have resumed, in market time."""

    from_us: int
    until_us: int

    def overlaps(self, from_us: int, until_us: int) -> bool:
        return self.from_us < until_us and from_us < self.until_us


def unserved(entries: Iterable[Injected], symbol: str, *, speed: float, end_us: int) -> list[Unserved]:
    """The times in which the exchange had delisted ``symbol`` or refused the region, from its log.

    symbol: in Binance's spelling. speed: market seconds a wall second. end_us: of a fault that did not end.
    """
    margin_us = round(RESUMED_WITHIN_S * 1e6 * speed)
    found: list[Unserved] = []
    began_us: dict[str, int] = {}
    for entry in entries:
        if entry.kind in {"delist", "relist"}:
            if entry.symbol != symbol:
                continue
            begins = entry.kind == "delist"
        elif entry.kind == "region":
            begins = entry.details["status"] is not None
        else:
            continue
        kind = "region" if entry.kind == "region" else "delist"
        if begins:
            began_us.setdefault(kind, entry.time_us)
        elif kind in began_us:
            found.append(Unserved(began_us.pop(kind), entry.time_us + margin_us))
    return found + [Unserved(since_us, end_us) for since_us in began_us.values()]
