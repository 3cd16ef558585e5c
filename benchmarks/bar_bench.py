"""Frames per second through the pipeline as a share of bare decoding, for each venue, without any I/O.

The frames take the daemon's path: read by the venue, passed to ``VenueFeed.trades`` as a connection does, through the
pipeline into open bars. Both sides of the ratio take short turns on the same frames, so that both see the same machine
load; the ratio is the median over the turns.

A frame is done when its trades are checked, in sequence, and buffered for their bar. The daemon's work once a second on
all buffered trades (decoding the venue's records, accounting and aggregation) is reported separately, and as a second
ratio.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from benchmarks.frames import Frames, load_frames
from benchmarks.table import Row, ratio, row
from daemon.clock import Clock, ManualClock
from daemon.exchanges import VENUE_NAMES, Venue, venue
from daemon.exchanges.base import Ids, TradesBatch, TradesMessage, traits
from daemon.forecasting.scoreboard import Scoreboard
from daemon.ingest.rest_client import RestClient
from daemon.pipeline.answers import SequenceStart
from daemon.pipeline.events import BarClosed
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import Timeouts
from daemon.runtime.timekeeper import Timekeeper
from daemon.runtime.venue_feed import VenueFeed
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from features.market import HOUR_US, Instrument
from models.specification import DEFAULT_LEVELS

FRAMES = 100_000  # of each venue
TURN = 2_500  # frames: a turn takes a few milliseconds, so that some turns run undisturbed on a busy machine
GOAL = 0.5


def run() -> list[Row]:
    """The rows of the benchmark table."""
    return [figure for name in VENUE_NAMES for figure in _of_venue(name)]


def _of_venue(name: str) -> list[Row]:
    loaded = load_frames(name, FRAMES)
    way = DaemonsWay(loaded)
    bare, barred, summed = _rates(loaded, way)
    assert way.trades == loaded.trades, f"{way.trades} trades of {loaded.trades} in {name}'s frames reached a bar"
    assert way.bars, f"no bar of {name} closed"
    return [
        row(f"{name}: bare msgspec decode", statistics.median(bare), "frames/s"),
        row(
            f"{name}: frame of {loaded.trades / len(loaded.frames):.3g} trades to bar",
            statistics.median(barred),
            "frames/s",
        ),
        row(f"{name}: frame to bar over bare decode", ratio(barred, bare), "ratio", GOAL, at_least=True),
        row(f"{name}: trades and sums made of it, once a second, a trade", 1e6 * way.flushed_s / loaded.trades, "us"),
        row(f"{name}: frame to bar, trades and sums made, over bare decode", ratio(summed, bare), "ratio"),
    ]


class DaemonsWay:
    """The daemon's path of a frame, without the connection."""

    def __init__(self, loaded: Frames) -> None:
        self.bars = 0
        self.trades = 0
        self.flushed_s = 0.0
        self.clock = ManualClock(loaded.begin_us)
        wire = venue(loaded.venue, loaded.symbols)
        self.pipeline = begun_pipeline(wire, loaded)
        self._seeds = self._taken
        self._feed = venue_feed(wire, loaded.symbols, self.pipeline, self.clock)
        self.take_all = self._taker(wire)

    @property
    def _taken(self) -> int:
        return sum(series.trades for series in self.pipeline.instruments.values())

    def flush(self) -> float:
        """What the daemon does once a second, and at a bar's close, off this path; how many seconds it took."""
        started_s = time.perf_counter()
        self.pipeline.unsaved_trades()
        flushed_s = time.perf_counter() - started_s
        self.flushed_s += flushed_s
        self.trades = self._taken - self._seeds
        self.bars += sum(isinstance(event, BarClosed) for event in self.pipeline.events())
        return flushed_s

    def _taker(self, wire: Venue) -> Callable[[Sequence[bytes]], None]:
        read, trades = wire.read, self._feed.trades_received

        def take_all(frames: Sequence[bytes]) -> None:
            # As in Connection._read.
            for frame in frames:
                parsed = read(frame)
                if type(parsed) is TradesMessage:
                    trades(parsed.symbol, parsed.trades)
                elif type(parsed) is TradesBatch:
                    for part in parsed.messages:
                        trades(part.symbol, part.trades)

        return take_all


def each(decode: Callable[[bytes], object]) -> Callable[[Sequence[bytes]], None]:
    """One frame after another, and nothing done with the answers."""

    def decode_all(frames: Sequence[bytes]) -> None:
        for frame in frames:
            decode(frame)

    return decode_all


def begun_pipeline(wire: Venue, loaded: Frames) -> Pipeline:
    """A pipeline whose sequences begin just before the first frame of each symbol."""
    pipeline = Pipeline(
        [Instrument(wire.name, symbol) for symbol in loaded.symbols],
        interval_us=HOUR_US,
        traits={wire.name: traits(wire)},
        timeouts=Timeouts(grace_us=2_000_000, proof_wait_us=30_000_000),
        scoreboard=Scoreboard(interval_us=HOUR_US, levels=DEFAULT_LEVELS),
    )
    if wire.ids is Ids.CONTIGUOUS:
        _seed(pipeline, wire, loaded)
    else:
        for instrument in pipeline.instruments:
            pipeline.subscribed(instrument, loaded.begin_us)
        pipeline.time_advanced(loaded.begin_us, 0.0)
    return pipeline


def _seed(pipeline: Pipeline, wire: Venue, loaded: Frames) -> None:
    """Starts each sequence at the trade before its symbol's first."""
    unseen = set(loaded.symbols)
    for frame in loaded.frames:
        message = wire.decode(frame)
        for part in message.messages if isinstance(message, TradesBatch) else [message]:
            if not isinstance(part, TradesMessage) or part.symbol not in unseen:
                continue
            unseen.remove(part.symbol)
            first = part.trades[0]
            before = msgspec.structs.replace(first, trade_id=first.trade_id - first.span)
            pipeline.start_sequence(
                Instrument(wire.name, part.symbol),
                SequenceStart([before], None),
                from_time_us=loaded.begin_us,
                now_us=first.time_us,
                wall_s=0.0,
            )
        if not unseen:
            return


def venue_feed(wire: Venue, symbols: Sequence[str], pipeline: Pipeline, clock: Clock) -> VenueFeed:
    """The feed as the daemon builds it, without a dispatcher to wake."""
    metrics = Metrics(version="bench", market_us=clock.market_us)
    instruments = [Instrument(wire.name, symbol) for symbol in symbols]
    health = Health(clock, instruments)
    return VenueFeed(
        wire,
        symbols,
        pipeline=pipeline,
        rest=RestClient(wire, "http://127.0.0.1", clock=clock),
        clock=clock,
        timekeeper=Timekeeper([wire.name], clock=clock, pipeline=pipeline, metrics=metrics, health=health),
        metrics=metrics,
        wake=lambda: None,
    )


class _Rates(NamedTuple):
    """Frames a second, turn by turn. summed: of the daemon's way together with what it does later."""

    bare: list[float]
    barred: list[float]
    summed: list[float]


def _rates(loaded: Frames, way: DaemonsWay) -> _Rates:
    """The order changes so that none is always the first."""
    rates = _Rates([], [], [])
    ways = [(each(msgspec.json.Decoder().decode), rates.bare), (way.take_all, rates.barred)]
    for start in range(0, len(loaded.frames), TURN):
        turn = loaded.frames[start : start + TURN]
        way.clock.set(loaded.times_us[start + len(turn) - 1])
        for take, measured in ways:
            measured.append(_rate(take, turn))
        rates.summed.append(len(turn) / (len(turn) / rates.barred[-1] + way.flush()))
        ways.reverse()
    return rates


def _rate(way: Callable[[Sequence[bytes]], None], frames: Sequence[bytes]) -> float:
    started_s = time.perf_counter()
    way(frames)
    return len(frames) / (time.perf_counter() - started_s)
