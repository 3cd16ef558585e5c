"""``forecastd simulate``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from daemon.simulator.command import simulate


def run_simulator(
    *,
    venue: str,
    data: Path | None,
    speed: float | None,
    interval: str | None,
    port: int,
    live_days: float,
    faults: Path | None,
) -> None:
    """Runs the exchange until its data ends or a signal comes."""
    asyncio.run(
        simulate(venue=venue, data=data, speed=speed, interval=interval, port=port, live_days=live_days, faults=faults)
    )
