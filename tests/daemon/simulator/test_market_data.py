"""When bars are played, and where live trading starts."""

from __future__ import annotations

import pytest

from daemon.simulator.market_data import Timeline
from tests.daemon.simulator.bars import HOUR_US, START_US, small_market

FIVE_SECONDS_US = 5_000_000


def test_as_recorded_keeps_the_real_times() -> None:
    """Bar 2 of hourly data is played two hours after the first."""
    timeline = Timeline.as_recorded(small_market())
    assert timeline.open_us(2) == START_US + 2 * HOUR_US
    assert timeline.index_at(START_US + 2 * HOUR_US - 1) == 1


def test_retimed_bars_open_on_the_next_boundary() -> None:
    """The live bar opens at the first 5-second boundary from now on; history lies before it."""
    now_us = 1_800_000_001_234_567
    timeline = Timeline.retimed(interval_us=FIVE_SECONDS_US, live_index=4, live_from_us=now_us)
    assert timeline.open_us(4) == 1_800_000_005_000_000
    assert timeline.open_us(0) == timeline.open_us(4) - 4 * FIVE_SECONDS_US
    assert timeline.index_at(now_us) == 3


def test_a_timeline_off_the_grid_is_refused() -> None:
    """Intervals are aligned to the epoch everywhere."""
    with pytest.raises(ValueError, match="grid"):
        Timeline(START_US + 1, HOUR_US)


def test_live_days_are_counted_from_the_end() -> None:
    """Two of six hourly bars live leave four as history; all or nothing is refused."""
    data = small_market(bars=6)
    assert data.live_index(live_days=2 / 24) == 4
    for days in (0.0, 1.0):
        with pytest.raises(ValueError, match="at least one of each"):
            data.live_index(live_days=days)


def test_an_emptied_bar_is_flat_at_the_close_before() -> None:
    """Emptying one bar leaves the data it came from and the other bars alone."""
    data = small_market()
    emptied = data.with_empty_bar("BTCUSDT", 2)
    before, after = data.series["BTCUSDT"], emptied.series["BTCUSDT"]
    assert after.figures(2) == (before.close[1],) * 4 + (0,) * 5
    assert before.figures(2).trades > 0
    assert after.figures(3) == before.figures(3)
    assert emptied.series["ETHUSDT"] is data.series["ETHUSDT"]
