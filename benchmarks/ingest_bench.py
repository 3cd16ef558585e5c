"""What is left over a loopback websocket: the daemon's stream and pipeline beside bare websockets and msgspec.

The venue is another process that writes frames encoded beforehand, so that the reader is what is measured. Both
readers take turns; the ratio is the median over the turns.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from benchmarks.bar_bench import begun_pipeline, venue_feed
from benchmarks.frames import Frames, load_frames
from benchmarks.table import Row, ratio, row
from benchmarks.venue_process import venue_process
from daemon.clock import SystemClock
from daemon.exchanges.base import TradeRecord
from daemon.exchanges.binance import Binance
from daemon.ingest.stream import MarketStream
from daemon.runtime.venue_feed import VenueFeed

FRAMES = 100_000
ROUNDS = 8
CHUNK = 1_000


def run() -> list[Row]:
    """The rows of the benchmark table."""
    loaded = load_frames("binance", FRAMES)
    with venue_process("benchmarks.ingest_bench", "serve") as url:
        rounds = [(_timed(bare_rate, url, loaded), _timed(daemon_rate, url, loaded)) for _ in range(ROUNDS)]
    bare, daemon = zip(*rounds, strict=True)
    return [
        row("websockets and bare decode over loopback", statistics.median(bare), "frames/s"),
        row("websocket to bar over loopback", statistics.median(daemon), "frames/s"),
        row("websocket to bar over websockets and bare decode", ratio(daemon, bare), "ratio", 0.75, at_least=True),
    ]


async def bare_rate(url: str, loaded: Frames) -> float:
    """Frames a second of websockets and msgspec alone, in the settings that the daemon uses."""
    decode = msgspec.json.Decoder().decode
    async with connect(f"{url}/bare", compression=None, proxy=None, max_queue=1024) as socket:
        decode(await socket.recv(decode=False))
        started_s = time.perf_counter()
        for _ in range(len(loaded.frames) - 1):
            decode(await socket.recv(decode=False))
        return len(loaded.frames) / (time.perf_counter() - started_s)


async def daemon_rate(url: str, loaded: Frames) -> float:
    """Frames a second into open bars, from the first trade to the last."""
    clock, wire = SystemClock(), Binance(loaded.symbols)
    pipeline = begun_pipeline(wire, loaded)
    feed = venue_feed(wire, loaded.symbols, pipeline, clock)
    counted = _Counted(feed, len(loaded.frames))
    stream = MarketStream(wire, loaded.symbols, url, listener=counted, clock=clock)
    running = asyncio.create_task(stream.run())
    await counted.done.wait()
    await stream.close()
    await running
    taken = sum(series.trades for series in pipeline.instruments.values()) - len(loaded.symbols)
    assert taken == len(loaded.frames), f"{taken} trades of {len(loaded.frames)} frames reached a bar"
    return len(loaded.frames) / (counted.ended_s - counted.started_s)


class _Counted:
    """The feed with a stopwatch from the first trade to the last."""

    def __init__(self, feed: VenueFeed, expected: int) -> None:
        self.done = asyncio.Event()
        self.started_s = self.ended_s = 0.0
        self._take = feed.trades_received
        self._expected = self._left = expected
        self.frame_malformed, self.subscribed, self.refused = feed.frame_malformed, feed.subscribed, feed.refused
        self.connected, self.disconnected = feed.connected, feed.disconnected

    def trades_received(self, symbol: str, records: Sequence[TradeRecord]) -> None:
        self._take(symbol, records)
        if self._left == self._expected:
            self.started_s = time.perf_counter()
        self._left -= 1
        if not self._left:
            self.ended_s = time.perf_counter()
            self.done.set()


def _timed(measure: Callable[[str, Frames], Awaitable[float]], url: str, loaded: Frames) -> float:
    async def main() -> float:
        async with asyncio.timeout(120):
            return await measure(url, loaded)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


async def _serve() -> None:
    chunks = _chunks(load_frames("binance", FRAMES).frames)

    async def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        if socket.request.path == "/stream":
            await _subscribe(socket)
        for chunk in chunks:
            socket.transport.write(chunk)
            await socket.drain()
        await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"ws://127.0.0.1:{port}", flush=True)
        await server.wait_closed()


def _chunks(frames: Sequence[bytes]) -> list[bytes]:
    """Websocket frames, many to a write as a busy venue sends them."""
    return [
        b"".join(Frame(Opcode.TEXT, frame).serialize(mask=False) for frame in frames[start : start + CHUNK])
        for start in range(0, len(frames), CHUNK)
    ]


async def _subscribe(socket: ServerConnection) -> None:
    """Answers the subscription and the listing request of a market stream."""
    subscription = msgspec.json.decode(await socket.recv())
    await socket.send(msgspec.json.encode({"result": None, "id": subscription["id"]}).decode())
    question = msgspec.json.decode(await socket.recv())
    await socket.send(msgspec.json.encode({"result": subscription["params"], "id": question["id"]}).decode())


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    uvloop.run(_serve())
