"""The queue of rounds: rounds of one close that wait are one, and those that are out of date only feed the features."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.pipeline.events import RoundClosed
from features.market import HOUR_US
from tests.daemon.forecasting.forecast_builders import START_US, bar
from tests.daemon.pipeline.builders import ETH
from tests.daemon.publishing.harness import eventually
from tests.daemon.runtime.dispatching import DispatcherSetup, dispatcher_setup


def closed(hour: int, *symbols: str) -> RoundClosed:
    return RoundClosed(START_US + hour * HOUR_US, tuple(bar(hour, 100.0, symbol=symbol) for symbol in symbols))


async def performed(at: DispatcherSetup, *rounds: RoundClosed) -> list[str]:
    """What inference was asked for when these rounds waited behind one of hour 1 that took long."""
    at.inference.go_on.clear()
    at.clock.set(START_US + HOUR_US + 1)
    at.rounds.submit(closed(1, "BTC-USDT"))
    await asyncio.sleep(0.01)
    for each in rounds:
        at.rounds.submit(each)
    at.clock.set(rounds[-1].close_time_us + 1)
    at.inference.go_on.set()
    await eventually(lambda: at.rounds.activity is None and not at.rounds.depth)
    return at.inference.asked[1:]


async def test_rounds_of_one_close_that_wait_are_one(tmp_path: Path) -> None:
    """Each computes the features of all instruments; the bars of all are forecast."""
    async with dispatcher_setup(tmp_path) as at:
        asked = await performed(at, closed(2, "BTC-USDT"), closed(2, ETH.symbol), closed(3, "BTC-USDT"))
    assert asked == ["round 2", "round 3"]
    assert at.inference.bars[1:] == [2, 1]


async def test_rounds_that_are_out_of_date_are_not_forecast(tmp_path: Path) -> None:
    """After a stall their bars reach the features in one call, and the round that is valid comes at once."""
    async with dispatcher_setup(tmp_path) as at:
        with capture_logs() as logs:
            asked = await performed(at, *(closed(hour, "BTC-USDT", ETH.symbol) for hour in range(2, 8)))
    assert asked == ["revision of 2, 2, 3, 3, 4, 4, 5, 5", "round 6", "round 7"]
    assert [entry["event"] for entry in logs].count("round_too_old") >= 4


@pytest.mark.parametrize("hours", [range(2, 60)])
async def test_nothing_is_kept_of_rounds_that_are_done(tmp_path: Path, hours: range) -> None:
    """Forecast, out of date or dropped: the pipeline waits for no forecast afterwards."""
    async with dispatcher_setup(tmp_path) as at:
        at.inference.go_on.clear()
        at.close_hours(1, *hours)
        assert at.pipeline.forecasts_waiting == 1 + len(hours)
        at.inference.go_on.set()
        await eventually(lambda: at.pipeline.forecasts_waiting == 0)
