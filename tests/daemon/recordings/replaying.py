"""Runs a recording through the replay."""

from __future__ import annotations

from pathlib import Path

from daemon.exchanges import venue
from daemon.exchanges.base import traits
from daemon.recordings import read
from daemon.recordings.replay import Replay, ReplayResult
from features.market import Instrument

HOUR_US = 3_600_000_000


def replay(
    file: Path, *, venue_name: str = "binance", symbol: str | None = None, interval_us: int = HOUR_US
) -> ReplayResult:
    recording = read(file, venue_name=venue_name, symbol=symbol)
    instruments = [Instrument(venue_name, name) for name in recording.symbols]
    known = {venue_name: traits(venue(venue_name, None))}
    return Replay(instruments, interval_us=interval_us, traits=known).run(recording, venue_name)
