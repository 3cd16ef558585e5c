"""Runs a recording through the replay, and a table of trades to replay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from daemon.exchanges import venue
from daemon.exchanges.base import traits
from daemon.recordings import read
from daemon.recordings.replay import Replay, ReplayResult
from features.market import Instrument

HOUR_US = 3_600_000_000
START = datetime(2024, 1, 1, 0, 10, tzinfo=UTC)


def replay(
    file: Path, *, venue_name: str = "binance", symbol: str | None = None, interval_us: int = HOUR_US
) -> ReplayResult:
    recording = read(file, venue_name=venue_name, symbol=symbol)
    instruments = [Instrument(venue_name, name) for name in recording.symbols]
    known = {venue_name: traits(venue(venue_name, None))}
    return Replay(instruments, interval_us=interval_us, traits=known).run(recording, venue_name)


def trades_table(count: int = 600, *, symbol: str = "BTCUSDT") -> pl.DataFrame:
    """Ten hours of a trade a minute, with the price going up and down."""
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "trade_id": range(100, 100 + count),
            "ts": [START + timedelta(minutes=i) for i in range(count)],
            "price": [100.0 + i % 17 / 10 for i in range(count)],
            "size": [0.1 + i % 5 / 100 for i in range(count)],
            "side": ["buy" if i % 3 else "sell" for i in range(count)],
        }
    )
