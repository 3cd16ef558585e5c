"""An exchange on loopback that speaks Binance's protocol and replays real bars as trades on a shared clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from typing import NamedTuple

import msgspec
from aiohttp import web

from daemon.clock import MICROSECONDS_PER_SECOND, Clock
from daemon.simulator.market_data import MarketData, Timeline
from daemon.simulator.rest import WEIGHT_PER_MINUTE, RestApi, worded
from daemon.simulator.streams import LARGEST_BACKLOG_BYTES, StreamServer
from daemon.simulator.tape import AggregateTrade, Tape

# Steps of wall time in which the sender walks: fine enough not to delay a bar's close, coarse enough to cost nothing.
_SHORTEST_STEP_S = 0.01
_LONGEST_STEP_S = 0.05


class Addresses(NamedTuple):
    """Where to reach the exchange: what a feed's ``ws_url`` and ``rest_url`` are set to."""

    ws_url: str
    rest_url: str


class SimulatedExchange:
    """Serves history by REST, and from ``live_from_us`` on sends each trade when the clock reaches its time.

    ``ended`` is set when the clock passes the end of the data. The methods from ``drop_connections`` on make the
    exchange misbehave, for tests and rehearsals; symbols are in Binance's spelling, e.g. ``BTCUSDT``.
    """

    def __init__(
        self,
        data: MarketData,
        *,
        clock: Clock,
        timeline: Timeline | None = None,
        live_from_us: int | None = None,
        weight_per_minute: int = WEIGHT_PER_MINUTE,
        largest_backlog_bytes: int = LARGEST_BACKLOG_BYTES,
    ) -> None:
        self.ended = asyncio.Event()
        self.tape = Tape(data, timeline or Timeline.as_recorded(data))
        self._clock = clock
        self._live_from_us = live_from_us
        self._rest = RestApi(self.tape, clock, weight_per_minute=weight_per_minute)
        self._streams = StreamServer(largest_backlog_bytes=largest_backlog_bytes)
        self._runner: web.AppRunner | None = None
        self._player: asyncio.Task[None] | None = None
        self._closings: set[asyncio.Task[None]] = set()
        self._muted: set[str] = set()
        self._withheld: Counter[str] = Counter()
        self._doubled: Counter[str] = Counter()

    async def start(self, *, ws_port: int = 0, rest_port: int = 0) -> Addresses:
        """Listens on loopback (port 0: any free one) and starts to play."""
        self._runner = web.AppRunner(self._rest.application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", rest_port).start()
        ws_url = await self._streams.start(ws_port)
        self._player = asyncio.create_task(self._play(), name="simulated-exchange")
        return Addresses(ws_url, f"http://127.0.0.1:{self._runner.addresses[0][1]}")

    async def stop(self) -> None:
        tasks = [*self._closings, *([self._player] if self._player else [])]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._player = None
        await self._streams.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def drop_connections(self, code: int = 1006) -> None:
        """Closes every websocket with ``code``; 1006 cuts the connection without a word."""
        await self._streams.drop(set(self._streams.clients), code)

    def refuse_connections(self, refusing: bool = True) -> None:
        """Answers new websocket connections with HTTP 503 until told otherwise."""
        self._streams.refusing = refusing

    def mute(self, symbol: str) -> None:
        """Withholds a symbol's trades from the websocket; REST goes on serving them."""
        self._muted.add(self._known(symbol))

    def unmute(self, symbol: str) -> None:
        self._muted.discard(symbol)

    def skip(self, symbol: str, count: int) -> None:
        """Withholds the next ``count`` trades of a symbol from the websocket: a gap that REST can repair."""
        self._withheld[self._known(symbol)] += count

    def duplicate(self, symbol: str, count: int) -> None:
        """Sends the next ``count`` trades of a symbol twice."""
        self._doubled[self._known(symbol)] += count

    def send_raw(self, text: str) -> None:
        """Sends any text to every websocket, e.g. a malformed frame."""
        self._streams.send_raw(text)

    def announce_shutdown(self, grace_s: float) -> None:
        """Says ``serverShutdown`` on every present websocket and closes those after ``grace_s`` wall seconds."""
        moment_ms = self._clock.market_us() // 1000
        self._streams.announce("!serverShutdown", f'{{"e":"serverShutdown","E":{moment_ms}}}')
        present = set(self._streams.clients)

        async def close_later() -> None:
            await asyncio.sleep(grace_s)
            await self._streams.drop(present & self._streams.clients, 1001)

        task = asyncio.create_task(close_later(), name="simulated-shutdown")
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)

    def rest_failing(self, status: int | None) -> None:
        """Answers every REST request with an HTTP status; None ends it."""
        self._rest.failing = status

    def stall(self) -> None:
        """Makes every present websocket half-open: nothing more is sent, read or ponged. New ones work."""
        self._streams.stall()

    def halt(self, symbol: str, *, bars: int = 1) -> range:
        """Lets nobody trade a symbol in the next ``bars`` bars that have not begun; which bars those are."""
        first = self.tape.timeline.index_at(self._clock.market_us()) + 1
        halted = range(max(first, 0), min(first + bars, len(self.tape.data)))
        for index in halted:
            self.tape.empty(self._known(symbol), index)
        return halted

    @property
    def connections(self) -> int:
        """Open websockets."""
        return len(self._streams.clients)

    def _known(self, symbol: str) -> str:
        if symbol not in self.tape.data.series:
            raise ValueError(f"{symbol} is not simulated; there are {', '.join(self.tape.data.symbols)}")
        return symbol

    async def _play(self) -> None:
        """Walks the clock bar by bar, sending what has come due."""
        timeline = self.tape.timeline
        begin_us = self._clock.market_us() if self._live_from_us is None else self._live_from_us
        begin_us = max(begin_us, timeline.start_us)
        for index in range(timeline.index_at(begin_us), len(self.tape.data)):
            await self._until(timeline.open_us(index))
            await self._play_bar(index, begin_us // 1000)
        await self._until(self.tape.end_us)
        self.ended.set()

    async def _play_bar(self, index: int, begin_ms: int) -> None:
        coming = deque(self._merged(index, begin_ms))
        while coming:
            await self._until(coming[0][1].time_ms * 1000)
            now_ms = self._clock.market_us() // 1000
            while coming and coming[0][1].time_ms <= now_ms:
                self._send(*coming.popleft())
            # A jump of the clock makes whole bars due at once: let the sockets drain between them.
            await asyncio.sleep(0)

    def _merged(self, index: int, begin_ms: int) -> list[tuple[str, AggregateTrade]]:
        """All symbols' trades of one bar in the order of their times."""
        merged = [(symbol, trade) for symbol in self.tape.data.symbols for trade in self.tape.bar(symbol, index)]
        merged.sort(key=lambda entry: entry[1].time_ms)
        return [entry for entry in merged if entry[1].time_ms >= begin_ms]

    async def _until(self, market_us: int) -> None:
        while (ahead_us := market_us - self._clock.market_us()) > 0:
            ahead_s = ahead_us / MICROSECONDS_PER_SECOND / self._clock.speed
            await asyncio.sleep(min(max(ahead_s, _SHORTEST_STEP_S), _LONGEST_STEP_S))

    def _send(self, symbol: str, trade: AggregateTrade) -> None:
        if symbol in self._muted:
            return
        if self._withheld[symbol] > 0:
            self._withheld[symbol] -= 1
            return
        copies = 2 if self._doubled[symbol] > 0 else 1
        self._doubled[symbol] -= copies - 1
        record = worded(self.tape.data.series[symbol], trade)
        event = {"e": "aggTrade", "E": trade.time_ms, "s": symbol, **record}
        payload = msgspec.json.encode(event).decode()
        for _ in range(copies):
            self._streams.publish(f"{symbol.lower()}@aggTrade", payload)
