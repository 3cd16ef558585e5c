"""A thousand symbols in one process at 20,000 trades a second: how much of one core the daemon's own process takes.

The venue is another process that sends Binance's frames, encoded beforehand, at a fixed rate over a loopback
websocket. What takes them are the daemon's parts, the ledger on disk included. The processor time is that of the
whole process, all its threads and the kernel's share.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time

import msgspec
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from benchmarks.running import running
from benchmarks.table import Row, row
from benchmarks.venue_process import venue_process
from daemon.logs import start_logging
from daemon.pipeline.answers import SequenceStart
from daemon.runtime.wiring import Components
from features.market import HOUR_US, Trade, interval_start

SYMBOLS = tuple(f"A{number:03}-USDT" for number in range(1000))
RATE = 20_000  # trades a second, of all symbols together
BURST = 40  # frames that the venue sends at one go, every 2 ms
WARM_UP_S = 5.0
MEASURED_S = 15.0
GOAL = 0.6
_SENT_S = WARM_UP_S + MEASURED_S + 5.0
_TIMEOUT_S = 60.0


def run() -> list[Row]:
    """The rows of the benchmark table."""
    start_logging(level="error")
    with venue_process("benchmarks.symbols_bench", "serve") as url:
        rate, share = uvloop.run(_measured(url))
    return [
        row("1,000 symbols: trades that reached a bar", rate, "trades/s"),
        row("1,000 symbols: processor time of the daemon over wall time", share, "ratio", GOAL),
    ]


async def _measured(url: str) -> tuple[float, float]:
    async with running("binance", SYMBOLS, ws_url=url, rest_url="http://127.0.0.1:9") as components:
        _seed(components)
        async with asyncio.timeout(_TIMEOUT_S):
            while _taken(components) < RATE:  # noqa: ASYNC110  # the pipeline knows no events of ours
                await asyncio.sleep(0.05)
        await asyncio.sleep(WARM_UP_S)
        before, started_s, cpu_s = _taken(components), time.perf_counter(), _cpu_s()
        await asyncio.sleep(MEASURED_S)
        taken, cpu_s, wall_s = _taken(components) - before, _cpu_s() - cpu_s, time.perf_counter() - started_s
        missing = sum(series.missing_trades for series in components.pipeline.instruments.values())
        assert not missing, f"{missing} trades are missing"
    assert taken > 0.98 * RATE * wall_s, f"only {taken / wall_s:.0f} trades a second came through"
    return taken / wall_s, cpu_s / wall_s


def _seed(components: Components) -> None:
    """Starts every sequence with trade 0; the stream continues with trade 1."""
    now_us, wall_s = components.clock.market_us(), components.clock.wall_s()
    for instrument in components.pipeline.instruments:
        first = Trade(0, now_us - 1_000_000, 100.0, 1.0, True)
        open_us = interval_start(first.time_us, HOUR_US)
        components.pipeline.start_sequence(
            instrument, SequenceStart([first], None), from_time_us=open_us, now_us=now_us, wall_s=wall_s
        )


def _taken(components: Components) -> int:
    return sum(series.trades for series in components.pipeline.instruments.values())


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# The venue, in a process of its own


async def _serve() -> None:
    bursts = _bursts()

    async def handle(socket: ServerConnection) -> None:
        await _subscribe(socket)
        started_s = time.perf_counter()
        for number, burst in enumerate(bursts):
            await asyncio.sleep(started_s + number * BURST / RATE - time.perf_counter())
            if socket.state is not State.OPEN:
                return
            socket.transport.write(burst)
            await socket.drain()
        await socket.wait_closed()

    async with serve(handle, "127.0.0.1", 0, compression=None) as server:
        print(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", flush=True)
        await server.wait_closed()


def _bursts() -> list[bytes]:
    """Websocket frames of one trade each, the symbols in turn."""
    begin_us = time.time_ns() // 1000
    bursts = []
    for start in range(0, int(_SENT_S * RATE), BURST):
        frames = (_frame(number, begin_us + number * 1_000_000 // RATE) for number in range(start, start + BURST))
        bursts.append(b"".join(Frame(Opcode.TEXT, frame).serialize(mask=False) for frame in frames))
    return bursts


def _frame(number: int, time_us: int) -> bytes:
    native = SYMBOLS[number % len(SYMBOLS)].replace("-", "")
    trade_id, time_ms = number // len(SYMBOLS) + 1, time_us // 1000
    trade = {
        "e": "aggTrade",
        "E": time_ms + 1,
        "s": native,
        "a": trade_id,
        "p": f"{100 + number % 7 / 100:.8f}",
        "q": f"{0.01 + number % 11 / 100:.8f}",
        "f": 2 * trade_id,
        "l": 2 * trade_id + number % 2,
        "T": time_ms,
        "m": number % 3 == 0,
        "M": True,
    }
    return msgspec.json.encode({"stream": f"{native.lower()}@aggTrade", "data": trade})


async def _subscribe(socket: ServerConnection) -> None:
    """Answers every request of the daemon up to the listing request."""
    subscribed: list[str] = []
    while True:
        request = msgspec.json.decode(await socket.recv())
        asked_for_list = request["method"] == "LIST_SUBSCRIPTIONS"
        subscribed += request.get("params", [])
        answer = {"result": subscribed if asked_for_list else None, "id": request["id"]}
        await socket.send(msgspec.json.encode(answer).decode())
        if asked_for_list:
            return


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    uvloop.run(_serve())
