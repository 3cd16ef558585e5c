"""From a gap of 10,000 trades to the last of them fetched by REST, at every venue whose ids reveal gaps.

The venue is another process that answers at once, so that what is measured is the daemon: the pipeline that asks,
the pace that keeps within the venue's limits, the pages read and joined. Beside it what the limits themselves allow:
the pages that the venue needs for so many trades, at the rate that it documents.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import uvloop

from benchmarks.rest_venue import STEP_US, served
from benchmarks.running import running
from benchmarks.table import Row, row
from daemon.logs import start_logging
from daemon.pipeline.answers import SequenceStart
from features.market import HOUR_US, Instrument, Trade, interval_start

MISSING = 10_000
GOAL = 1.5
GUIDE_S = 3.0  # where a venue allows so much that only round trips remain
_TIMEOUT_S = 60.0
_LOOK_S = 0.005


class Limit(NamedTuple):
    """What a venue documents: trades in a page, and pages a second; None where more are allowed than can be read."""

    page: int
    pages_per_s: float | None


LIMITS = {
    "binance": Limit(1000, None),  # 6,000 of weight a minute, a page weighs 4
    "coinbase": Limit(1000, 10),
    "kraken": Limit(1000, 1),
    "okx": Limit(100, 10),  # 20 in 2 seconds
}


def run() -> list[Row]:
    """The rows of the benchmark table."""
    start_logging(level="error")
    newest_id = MISSING + 2
    begin_us = time.time_ns() // 1000 - (newest_id + 20) * STEP_US
    with served(begin_us, newest_id) as url:
        return [figure for name in LIMITS for figure in _rows(name, uvloop.run(_repaired_s(name, url, begin_us)))]


def _rows(name: str, taken_s: float) -> list[Row]:
    page, pages_per_s = LIMITS[name]
    if pages_per_s is None:
        return [row(f"{name}: gap of 10,000 trades repaired", taken_s, "s", GUIDE_S)]
    allowed_s = MISSING / page / pages_per_s
    return [
        row(f"{name}: gap of 10,000 trades repaired", taken_s, "s"),
        row(f"{name}: gap of 10,000 trades, what its limits allow", allowed_s, "s"),
        row(f"{name}: gap repaired over what the limits allow", taken_s / allowed_s, "ratio", GOAL),
    ]


async def _repaired_s(name: str, url: str, begin_us: int) -> float:
    """Wall seconds from the trade that opens the gap until no trade is missing."""
    symbol = "BTC-USDT" if name in {"binance", "okx"} else "BTC-USD"
    before, beyond = (_trade(number, begin_us) for number in (1, MISSING + 2))
    async with running(name, [symbol], rest_url=url) as components:
        instrument = Instrument(name, symbol)
        now_us, wall_s = components.clock.market_us(), components.clock.wall_s()
        open_us = interval_start(before.time_us, HOUR_US)
        components.pipeline.start_sequence(
            instrument, SequenceStart([before], None), from_time_us=open_us, now_us=now_us, wall_s=wall_s
        )
        series = components.pipeline.instruments[instrument]
        started_s = time.perf_counter()
        components.pipeline.trades_received(instrument, [beyond], now_us, wall_s)
        components.dispatcher.wake()
        assert series.missing_trades == MISSING
        async with asyncio.timeout(_TIMEOUT_S):
            while series.missing_trades:  # noqa: ASYNC110  # the pipeline knows no events of ours
                await asyncio.sleep(_LOOK_S)
        taken_s = time.perf_counter() - started_s
        assert series.trades == MISSING + 2, f"{series.trades} trades of {MISSING + 2} reached a bar"
        return taken_s


def _trade(number: int, begin_us: int) -> Trade:
    return Trade(number, begin_us + number * STEP_US, 98_000.5, 0.0125, False)
