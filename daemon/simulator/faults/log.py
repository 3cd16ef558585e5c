"""The log of injected faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec


class Injected(msgspec.Struct, frozen=True):
    """One fault as it was injected.

    time_us: the exchange's market time; wall_s: wall seconds since it was made. symbol: in Binance's spelling, None
    for all. details: its parameters.
    """

    time_us: int
    wall_s: float
    kind: str
    venue: str
    symbol: str | None
    details: Mapping[str, object]


class FaultLog:
    """Every fault, oldest first; ``on_fault`` is called with each."""

    def __init__(self, venue: str, market_us: Callable[[], int]) -> None:
        self.entries: list[Injected] = []
        self.on_fault: Callable[[Injected], None] | None = None
        self._venue = venue
        self._market_us = market_us
        self._began_s = time.monotonic()

    def note(self, kind: str, symbol: str | None = None, **details: object) -> None:
        since_s = round(time.monotonic() - self._began_s, 3)
        entry = Injected(self._market_us(), since_s, kind, self._venue, symbol, details)
        self.entries.append(entry)
        if self.on_fault is not None:
            self.on_fault(entry)
