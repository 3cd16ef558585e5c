"""A daemon whose venue lies about the time, or whose own clock is wrong: true bars, none from the future."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from daemon.clock import ScaledClock
from daemon.market_time.estimator import TOLERANCE_S
from features.market import HOUR_US
from tests.e2e import rig
from tests.e2e.rig import Daemon, Exchange
from tests.soak.clock import SharedClock

pytestmark = pytest.mark.slow

HOUR_MS = HOUR_US // 1000
LIE_HOURS = 10


@asynccontextmanager
async def daemon_on_own_clock(folder: Path, venue: Exchange, *, wrong_hours: int = 0) -> AsyncIterator[Daemon]:
    """A daemon whose clock can be corrected, ``wrong_hours`` off at its start."""
    clock = SharedClock(
        start_us=venue.clock._start_us,
        origin_s=venue.clock._started_s,
        speed=venue.clock.speed,
        wrong_us=wrong_hours * HOUR_US,
    )
    made = Daemon(
        rig.configured(folder, venue.addresses),
        Exchange(venue.simulated, cast("ScaledClock", clock), venue.addresses),
        {"RUNTIME_DIRECTORY": str(folder)},
    )
    async with rig.running(made):
        yield made


async def closes_without_looking_ahead(daemon: Daemon, venue: Exchange, bars: int) -> None:
    """Waits for more bars and forecasts; none may be of an interval that has not ended."""
    margin_us = TOLERANCE_S * venue.clock.speed * 1e6
    wanted, forecasts = daemon.closed + bars, len(daemon.forecasts) + bars

    def reached() -> bool:
        latest_us = venue.clock.market_us() + margin_us
        assert max((bar.close_time_us for bar in daemon.bars), default=0) <= latest_us
        assert max((each.forecast.close_time_us for each in daemon.forecasts), default=0) <= latest_us
        return daemon.closed >= wanted and len(daemon.forecasts) >= forecasts

    await daemon.until(reached)


@pytest.mark.parametrize("lie_hours", [LIE_HOURS, -LIE_HOURS])
async def test_a_venue_that_lies_about_the_time(tmp_path: Path, lie_hours: int) -> None:
    """Its time endpoint is hours wrong before, during and after a restart, and right in the end."""
    async with rig.exchange() as venue:
        venue.simulated.set_server_time_offset(lie_hours * HOUR_MS)
        async with daemon_on_own_clock(tmp_path, venue) as daemon:
            await closes_without_looking_ahead(daemon, venue, 9)
            (clock,) = daemon.app.status().venue_clocks
            assert not clock.trusted
            assert "clock of binance: its clock is" in daemon.app.components.health.condition.reason
            await daemon.every_bar_becomes_real()
        async with daemon_on_own_clock(tmp_path, venue) as daemon:
            await closes_without_looking_ahead(daemon, venue, 6)
            venue.simulated.set_server_time_offset(0)
            await daemon.until(lambda: daemon.app.status().venue_clocks[0].trusted)
            await closes_without_looking_ahead(daemon, venue, 6)
            await daemon.every_bar_becomes_real()


@pytest.mark.parametrize("wrong_hours", [LIE_HOURS, -LIE_HOURS])
async def test_a_machine_whose_clock_is_wrong(tmp_path: Path, wrong_hours: int) -> None:
    """The venue's time and its newest trade agree against it: market time is right from the start, twice."""
    async with rig.exchange() as venue:
        async with daemon_on_own_clock(tmp_path, venue) as daemon:
            await closes_without_looking_ahead(daemon, venue, 6)
        async with daemon_on_own_clock(tmp_path, venue, wrong_hours=wrong_hours) as daemon:
            await closes_without_looking_ahead(daemon, venue, 6)
            assert daemon.app.status().venue_clocks[0].trusted
            await daemon.every_bar_becomes_real()
