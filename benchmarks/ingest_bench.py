"""How much of bare decoding's speed is left after Binance's frames have become trades, alone and over a websocket.

Both sides of a ratio are measured in turn in one run, the best round of each counts. The websocket's server is
another process that writes frames encoded beforehand, so that the client is what is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from daemon.clock import SystemClock
from daemon.errors import DataFault
from daemon.exchanges.binance import Binance
from daemon.ingest.stream import MarketStream
from features.market import Trade

FRAMES = 300_000
ROUNDS = 3
DECODE_ROUNDS = 30  # short ones: on a busy machine some of them run undisturbed
CHUNK = 1_000
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")


def run() -> list[dict[str, Any]]:
    """The rows of the benchmark table: name, value, unit, guide."""
    untyped, decoded = _decode_rates()
    bare, streamed = _websocket_rates()
    return [
        _row("untyped msgspec decode", untyped, "frames/s", None),
        _row("frame to trade", decoded, "frames/s", None),
        _row("frame to trade, share of untyped decode", decoded / untyped, "ratio", 0.83),
        _row("websockets + untyped decode over loopback", bare, "frames/s", None),
        _row("market stream over loopback", streamed, "frames/s", None),
        _row("market stream, share of websockets + untyped decode", streamed / bare, "ratio", 0.75),
    ]


def _row(name: str, value: float, unit: str, guide: float | None) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "guide": guide}


def make_frames(count: int) -> list[bytes]:
    """Aggregate trades of three symbols as Binance spells them."""
    return [msgspec.json.encode(_frame(number)) for number in range(count)]


def _frame(number: int) -> dict[str, Any]:
    native, trade_id = SYMBOLS[number % 3].replace("-", ""), 665_076_760 + number // 3
    trade = {
        "e": "aggTrade",
        "E": 1_617_566_591_315 + number,
        "s": native,
        "a": trade_id,
        "p": f"{58_001.03 + number % 977 / 100:.8f}",
        "q": f"{0.000_1 + number % 1013 / 1000:.8f}",
        "f": trade_id,
        "l": trade_id + number % 2,
        "T": 1_617_566_591_314 + number,
        "m": number % 2 == 0,
        "M": True,
    }
    return {"stream": f"{native.lower()}@aggTrade", "data": trade}


# Decoding alone


def _decode_rates() -> tuple[float, float]:
    frames = make_frames(FRAMES // DECODE_ROUNDS)
    decoders = (msgspec.json.Decoder().decode, Binance(SYMBOLS).decode)
    rounds = [[_decode_rate(decode, frames) for decode in decoders] for _ in range(DECODE_ROUNDS)]
    untyped, typed = (max(rates) for rates in zip(*rounds, strict=True))
    return untyped, typed


def _decode_rate(decode: Callable[[bytes], object], frames: Sequence[bytes]) -> float:
    started_s = time.perf_counter()
    for frame in frames:
        decode(frame)
    return len(frames) / (time.perf_counter() - started_s)


# Over a websocket


class _Counter:
    """A listener that counts: the first trade starts the time, the last one stops it."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self.started_s = self.ended_s = 0.0
        self.done = asyncio.Event()

    def trades(self, symbol: str, trades: list[Trade], received_us: int) -> None:  # noqa: ARG002  # the port's names
        if not self.started_s:
            self.started_s = time.perf_counter()
        self.left -= 1
        if not self.left:
            self.ended_s = time.perf_counter()
            self.done.set()

    def malformed(self, frame: bytes, error: DataFault) -> None:
        raise AssertionError((frame, error))

    def subscribed(self, symbol: str) -> None: ...

    def refused(self, symbol: str, reason: str) -> None:
        raise AssertionError((symbol, reason))

    def connected(self, symbols: Sequence[str]) -> None: ...

    def disconnected(self, symbols: Sequence[str], reason: str, next_try_s: float) -> None: ...


def _websocket_rates() -> tuple[float, float]:
    with _server() as url:
        rounds = [(_timed(_bare_rate, url), _timed(_stream_rate, url)) for _ in range(ROUNDS)]
    bare, streamed = (max(rates) for rates in zip(*rounds, strict=True))
    return bare, streamed


def _timed(measure: Callable[[str], Awaitable[float]], url: str) -> float:
    async def main() -> float:
        async with asyncio.timeout(120):
            return await measure(url)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


async def _bare_rate(url: str) -> float:
    count = FRAMES // ROUNDS
    decode = msgspec.json.Decoder().decode
    async with connect(f"{url}/bare", compression=None, proxy=None) as socket:
        decode(await socket.recv(decode=False))
        started_s = time.perf_counter()
        for _ in range(count - 1):
            decode(await socket.recv(decode=False))
        return count / (time.perf_counter() - started_s)


async def _stream_rate(url: str) -> float:
    count = FRAMES // ROUNDS
    counter = _Counter(count)
    stream = MarketStream(Binance(SYMBOLS), SYMBOLS, url, listener=counter, clock=SystemClock())
    running = asyncio.create_task(stream.run())
    await counter.done.wait()
    await stream.close()
    await running
    return count / (counter.ended_s - counter.started_s)


@contextmanager
def _server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.ingest_bench", "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()


async def _serve() -> None:
    frames = make_frames(FRAMES // ROUNDS)
    chunks = [
        b"".join(Frame(Opcode.TEXT, frame).serialize(mask=False) for frame in frames[start : start + CHUNK])
        for start in range(0, len(frames), CHUNK)
    ]

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


async def _subscribe(socket: ServerConnection) -> None:
    """Answers the acknowledgement and the list that a market stream asks for."""
    subscription = msgspec.json.decode(await socket.recv())
    await socket.send(msgspec.json.encode({"result": None, "id": subscription["id"]}).decode())
    question = msgspec.json.decode(await socket.recv())
    await socket.send(msgspec.json.encode({"result": subscription["params"], "id": question["id"]}).decode())


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(_serve())
    else:
        for row in run():
            print(f"{row['name']:55s} {row['value']:14,.2f} {row['unit']}")
