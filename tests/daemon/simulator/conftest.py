"""Fixtures: a small exchange on loopback whose time stands still until a test sets it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from daemon.clock import ManualClock
from daemon.simulator.dialects import DIALECTS
from daemon.simulator.exchange import SimulatedExchange
from tests.daemon.simulator.bars import small_market
from tests.daemon.simulator.running_exchange import LIVE_US, Venue
from tests.daemon.simulator.venue_client import VenueClient


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    clock = ManualClock(LIVE_US)
    exchange = SimulatedExchange(small_market(bars=6, trades=40), clock=clock)
    running = Venue(exchange, clock, await exchange.start())
    yield running
    await running.close()


@pytest.fixture(params=list(DIALECTS))
async def feed(request: pytest.FixtureRequest) -> AsyncIterator[VenueClient]:
    """A client of each venue."""
    clock = ManualClock(LIVE_US)
    exchange = SimulatedExchange(small_market(bars=6, trades=40), clock=clock, venue=request.param)
    running = Venue(exchange, clock, await exchange.start())
    yield VenueClient(request.param, running)
    await running.close()
