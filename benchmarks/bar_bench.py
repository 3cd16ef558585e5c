"""How much of bare decoding's speed is left after Binance's frames have become bars, without any I/O.

The frames go the daemon's way: decoded by the venue, handed to ``VenueFeed.trades`` as a connection does it, through
the pipeline into open bars. Both sides of the ratio take short turns on the same frames, so that both meet the same
machine; the ratio is the median over the turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import msgspec

from benchmarks.frames import load_frames
from benchmarks.table import Row, ratio, row
from daemon.clock import SystemClock
from daemon.events import BarClosed
from daemon.exchanges.base import TradesMessage
from daemon.exchanges.binance import Binance
from daemon.feeding import VenueFeed
from daemon.forecasting.scoreboard import Scoreboard
from daemon.ingest.backfill import RestClient
from daemon.liveness import Patience
from daemon.pipeline import Pipeline
from daemon.serving.metrics import Metrics
from features.market import HOUR_US, Instrument, interval_start
from models.specification import DEFAULT_LEVELS

FRAMES = 300_000
TURN = 5_000  # frames: a turn takes a few milliseconds, so that some turns run undisturbed on a busy machine


def run() -> list[Row]:
    """The rows of the benchmark table."""
    loaded = load_frames(FRAMES)
    way = DaemonsWay(loaded.symbols, loaded.frames)
    ways = (each(msgspec.json.Decoder().decode), each(way.decode), way.take_all)
    bare, decoded, barred = _rates(ways, loaded.frames, way.flush)
    taken = way.trades - len(loaded.symbols)
    assert taken == len(loaded.frames), f"{taken} trades of {len(loaded.frames)} frames reached a bar"
    return [
        row(f"bare msgspec decode of {loaded.source} frames", statistics.median(bare), "frames/s"),
        row("frame to trade", statistics.median(decoded), "frames/s"),
        row("frame to bar", statistics.median(barred), "frames/s", 300_000, at_least=True),
        row("frame to trade over bare decode", ratio(decoded, bare), "ratio"),
        row("frame to bar over bare decode", ratio(barred, bare), "ratio", 0.60, at_least=True),
        row("bars closed on the way", way.bars, "bars"),
    ]


class DaemonsWay:
    """What one connection does with a frame, without the connection."""

    def __init__(self, symbols: Sequence[str], frames: Sequence[bytes]) -> None:
        self.bars = 0
        clock = SystemClock()
        wire = Binance(symbols)
        self.pipeline = seeded_pipeline(wire, symbols, frames)
        self._feed = venue_feed(wire, symbols, self.pipeline, clock)
        self.decode = wire.decode
        self.take_all = self._taker()

    @property
    def trades(self) -> int:
        return sum(series.trades for series in self.pipeline.series.values())

    def flush(self) -> None:
        """What the daemon does once a second, and at a bar's close, off this path."""
        self.pipeline.unsaved_trades()
        self.bars += sum(isinstance(event, BarClosed) for event in self.pipeline.events())

    def _taker(self) -> Callable[[Sequence[bytes]], None]:
        decode, trades = self.decode, self._feed.trades

        def take_all(frames: Sequence[bytes]) -> None:
            # As in Connection._read.
            for frame in frames:
                message = decode(frame)
                if type(message) is TradesMessage:
                    trades(message.symbol, message.trades)

        return take_all


def each(decode: Callable[[bytes], object]) -> Callable[[Sequence[bytes]], None]:
    """One frame after another, and nothing done with the answers."""

    def decode_all(frames: Sequence[bytes]) -> None:
        for frame in frames:
            decode(frame)

    return decode_all


def seeded_pipeline(wire: Binance, symbols: Sequence[str], frames: Sequence[bytes]) -> Pipeline:
    """A pipeline whose sequences begin one trade before the first frame of each symbol."""
    pipeline = Pipeline(
        [Instrument(wire.name, symbol) for symbol in symbols],
        interval_us=HOUR_US,
        decimals=8,
        patience=Patience(grace_us=2_000_000, proof_wait_us=30_000_000),
        scoreboard=Scoreboard(interval_us=HOUR_US, levels=DEFAULT_LEVELS),
    )
    unseen = set(symbols)
    for frame in frames:
        message = wire.decode(frame)
        if isinstance(message, TradesMessage) and message.symbol in unseen:
            unseen.remove(message.symbol)
            first = message.trades[0]
            before = msgspec.structs.replace(first, trade_id=first.trade_id - 1)
            pipeline.seeded(
                Instrument(wire.name, message.symbol),
                [before],
                None,
                from_time_us=interval_start(first.time_us, HOUR_US),
                now_us=first.time_us,
                wall_s=0.0,
            )
        if not unseen:
            break
    return pipeline


def venue_feed(wire: Binance, symbols: Sequence[str], pipeline: Pipeline, clock: SystemClock) -> VenueFeed:
    """The feed as the daemon builds it, with nobody to wake."""
    return VenueFeed(
        wire.name,
        symbols,
        pipeline=pipeline,
        rest=RestClient(wire, "http://127.0.0.1", clock=clock),
        clock=clock,
        metrics=Metrics(version="bench", market_us=clock.market_us),
        wake=lambda: None,
    )


def _rates(
    ways: Sequence[Callable[[Sequence[bytes]], None]], frames: Sequence[bytes], flush: Callable[[], None]
) -> list[list[float]]:
    """Frames a second of each way, turn by turn; the order changes so that no way is always the first."""
    rates: list[list[float]] = [[] for _ in ways]
    for number, start in enumerate(range(0, len(frames), TURN)):
        turn = frames[start : start + TURN]
        for way, measured in list(zip(ways, rates, strict=True))[:: 1 if number % 2 else -1]:
            measured.append(_rate(way, turn))
        flush()
    return rates


def _rate(way: Callable[[Sequence[bytes]], None], frames: Sequence[bytes]) -> float:
    started_s = time.perf_counter()
    way(frames)
    return len(frames) / (time.perf_counter() - started_s)
