"""A market for whole-daemon tests: hourly bars made from invented trades, most of them history."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

from daemon.cli.commands.demo_tally import differences
from daemon.simulator.market_data import MarketData
from features.market import Bar, Completeness
from tests.daemon.simulator.bars import HOUR_US, small_market

HISTORY_BARS = 120
LIVE_BARS = 400  # eight minutes at the speed of the tests, which may have to wait for their machine
SYMBOLS = ("BTC-USDT", "ETH-USDT")


@cache
def market(*, history_bars: int = HISTORY_BARS, trades: int = 60) -> MarketData:
    """``history_bars`` of the past and LIVE_BARS to be played; the same every time."""
    return small_market(bars=history_bars + LIVE_BARS, trades=trades)


def recent_market(*, history_bars: int) -> MarketData:
    """The same with its last bar a day ago, for commands that go by the system's clock."""
    data = market(history_bars=history_bars)
    start_us = (time.time_ns() // 1000 // HOUR_US - len(data) - 24) * HOUR_US
    return replace(data, start_us=start_us)


def live_from_us(data: MarketData) -> int:
    return data.open_us(len(data) - LIVE_BARS)


def is_real(bar: Bar, data: MarketData) -> bool:
    """Whether a bar is proven, or explicitly empty, and equal to what the market made in that hour."""
    if bar.completeness is Completeness.EMPTY:
        index = (bar.open_time_us - data.start_us) // data.interval_us
        return bar.volume == 0 and data.series[bar.symbol.replace("-", "")].trades[index] == 0
    return bar.completeness is Completeness.PROVEN and differences(bar, data) == ""


__all__ = ["HISTORY_BARS", "HOUR_US", "LIVE_BARS", "SYMBOLS", "is_real", "live_from_us", "market", "recent_market"]
