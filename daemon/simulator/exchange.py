"""An exchange on loopback that implements a venue's protocol and replays real bars as trades on a shared clock."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from aiohttp import web

from daemon.clock import Clock
from daemon.simulator.dialects import DIALECTS
from daemon.simulator.faults.injector import Injector
from daemon.simulator.faults.log import FaultLog
from daemon.simulator.faults.malformed import malformed
from daemon.simulator.faults.plan import FaultPlan, Form
from daemon.simulator.faults.stream_faults import StreamFaults
from daemon.simulator.market import Market
from daemon.simulator.market_data import MarketData, Timeline
from daemon.simulator.player import Player
from daemon.simulator.rest import Failure, RestApi
from daemon.simulator.sockets import LARGEST_BACKLOG_BYTES, StreamServer
from daemon.simulator.tape import Tape
from daemon.simulator.truth import TradeIds, Truth, bar_trade_ids, truth


class Addresses(NamedTuple):
    """The addresses of the exchange, for a feed's ``ws_url`` and ``rest_url``."""

    ws_url: str
    rest_url: str


class SimulatedExchange:
    """Serves history by REST, and from ``live_from_us`` on sends each trade when the clock reaches its time.

    ``ended`` is set when the clock passes the end of the data. The methods from ``drop_connections`` on inject
    faults, for tests; ``log`` records them. Symbols are BASE-QUOTE or in Binance's
    spelling, e.g. ``BTCUSDT``.

    venue: the implemented protocol. faults: injected from ``start`` on. rest_limit: the request quota of a window
    instead of the venue's own. Raises ValueError for faults of symbols that are not simulated.
    """

    def __init__(
        self,
        data: MarketData,
        *,
        clock: Clock,
        venue: str = "binance",
        timeline: Timeline | None = None,
        live_from_us: int | None = None,
        faults: FaultPlan | None = None,
        rest_limit: float | None = None,
        largest_backlog_bytes: int = LARGEST_BACKLOG_BYTES,
    ) -> None:
        self.ended = asyncio.Event()
        self.tape = Tape(data, timeline or Timeline.as_recorded(data))
        self.log = FaultLog(venue, clock.market_us)
        self._live_from_us = live_from_us
        self._market = Market(self.tape, clock)
        self._dialect = DIALECTS[venue](self._market)
        if rest_limit is not None:
            self._dialect.quota.limit = rest_limit
        self._rest = RestApi(self._dialect, self._market)
        self._streams = StreamServer(self._dialect, largest_backlog_bytes=largest_backlog_bytes)
        plan = faults or FaultPlan()
        for fault in plan.faults:
            if fault.symbol is not None:
                self._known(fault.symbol)
        self._stream_faults = StreamFaults(self._streams.publish, self._market.silenced, random.Random(plan.seed))
        self._player = Player(self._market, self._stream_faults.passing, hold_us=self._dialect.hold_us)
        self._injector = Injector(plan, self)
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, *, ws_port: int = 0, rest_port: int = 0) -> Addresses:
        """Listens on loopback (port 0: any free one) and starts to play."""
        self._runner = web.AppRunner(self._rest.application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", rest_port).start()
        ws_url = await self._streams.start(ws_port)
        begin_us = self._market.now_us() if self._live_from_us is None else self._live_from_us
        self._market.begin_us = max(begin_us, self.tape.timeline.start_us)
        self._keep(asyncio.create_task(self._play(), name="simulated-exchange"))
        self._keep(asyncio.create_task(self._injector.run(), name="simulated-faults"))
        return Addresses(ws_url, f"http://127.0.0.1:{self._runner.addresses[0][1]}")

    async def stop(self) -> None:
        """Stops; raises the error that ended the player or the faults early."""
        self._stream_faults.stop()
        self._injector.stop()
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await self._streams.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for result in results:
            if isinstance(result, Exception):
                raise result

    def truth(self, symbol: str, open_us: int, interval_us: int) -> Truth:
        """The true bar, past or future: the same on every venue except for ids and the count of trades."""
        return truth(self.tape, self._known(symbol), open_us, interval_us, self._dialect.trade_ids)

    def trade_ids(self, symbol: str, open_us: int, interval_us: int) -> list[TradeIds]:
        """The trades of a bar as the venue numbers and counts them, oldest first."""
        return bar_trade_ids(self.tape, self._known(symbol), open_us, interval_us, self._dialect.trade_ids)

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._market.symbols

    @property
    def connections(self) -> int:
        """Open websockets."""
        return len(self._streams.clients)

    # Trades on the websocket; REST serves them unchanged

    def silence(self, symbol: str) -> None:
        """Withholds a symbol's trades from the websocket."""
        self._market.silenced.add(self._known(symbol))
        self.log.note("mute", self._known(symbol))

    def resume(self, symbol: str) -> None:
        self._market.silenced.discard(self._known(symbol))
        self.log.note("unmute", self._known(symbol))

    def skip(self, symbol: str, count: int) -> None:
        """Withholds the next ``count`` trades of a symbol: a gap that REST can repair."""
        self._stream_faults.drop(self._known(symbol), count)
        self.log.note("drop", self._known(symbol), count=count)

    def duplicate(self, symbol: str, count: int) -> None:
        """Sends the next ``count`` trades of a symbol twice."""
        self._stream_faults.duplicate(self._known(symbol), count)
        self.log.note("duplicate", self._known(symbol), count=count)

    def reorder(self, symbol: str, count: int, *, for_s: float = 1.0) -> None:
        """Sends the next ``count`` trades of a symbol in another order, when all have arrived or ``for_s`` is over."""
        self._stream_faults.reorder(self._known(symbol), count, for_s)
        self.log.note("reorder", self._known(symbol), count=count, for_s=for_s)

    def delay(self, symbol: str, count: int, *, for_s: float) -> None:
        """Delays each of the next ``count`` trades of a symbol by ``for_s``; later ones overtake them."""
        self._stream_faults.delay(self._known(symbol), count, for_s)
        self.log.note("delay", self._known(symbol), count=count, for_s=for_s)

    def batch(self, for_s: float) -> None:
        """Delays every trade for ``for_s`` and sends all at once, in order."""
        self._stream_faults.batch(for_s)
        self.log.note("batch", for_s=for_s)

    # Frames and connections

    def send_raw(self, text: str) -> None:
        """Sends any text to every websocket, e.g. a malformed frame."""
        self._streams.send_to_all(lambda _: (text,))
        self.log.note("raw", bytes=len(text))

    def send_malformed(self, form: Form) -> None:
        """Sends every websocket the last frame with trades, damaged."""
        text = malformed(form, self._streams.last_frame)
        self._streams.send_to_all(lambda _: (text,))
        self.log.note("malformed", form=form, bytes=len(text))

    def stall(self) -> None:
        """Makes every open websocket half-open: nothing more is sent, read or answered. New ones work."""
        self._streams.stall()
        self.log.note("stall", connections=self.connections)

    async def drop_connections(self, code: int = 1006) -> None:
        """Closes every websocket with ``code``; 1006 cuts the connection without a closing frame."""
        self.log.note("close", code=code, connections=self.connections)
        await self._streams.drop(set(self._streams.clients), code)

    def refuse_connections(self, refusing: bool = True) -> None:
        """Answers new websocket connections with HTTP 503 until this is called with False."""
        self._streams.refusing = refusing
        self.log.note("refuse" if refusing else "admit")

    def announce_shutdown(self, grace_s: float) -> None:
        """Announces the close as the venue does and closes every present websocket after ``grace_s`` wall seconds.

        A venue without an announcement closes without one.
        """
        self._streams.send_to_all(lambda session: session.shutdown_frames())
        self.log.note("shutdown", grace_s=grace_s, connections=self.connections)
        present = set(self._streams.clients)

        async def close_later() -> None:
            await asyncio.sleep(grace_s)
            await self._streams.drop(present & self._streams.clients, 1001)

        self._keep(asyncio.create_task(close_later(), name="simulated-shutdown"))

    # REST, the clock and the market

    def rest_failing(self, status: int | None, *, retry_after_s: int | None = None) -> None:
        """Answers every REST request with an HTTP status; None ends it."""
        self._rest.failure = None if status is None else Failure(status, retry_after_s)
        self.log.note("rest", status=status, retry_after_s=retry_after_s)

    def rest_rate_limited(self, limited: bool = True) -> None:
        """Answers every REST request with the venue's error for too many requests."""
        self._rest.failure = Failure(None) if limited else None
        self.log.note("complain" if limited else "rest", **({} if limited else {"status": None}))

    def set_skew(self, ms: int) -> None:
        """Sets the exchange's clock ahead of the machine's: trades, REST time and Date follow it."""
        self._market.skew_us = ms * 1000
        self.log.note("skew", ms=ms)

    def halt(self, symbol: str, *, bars: int = 1) -> range:
        """Stops trading of a symbol in the next ``bars`` bars that have not begun, and returns their open times."""
        first = self.tape.timeline.index_at(self._market.happened_us()) + 1
        halted = range(max(first, 0), min(first + bars, len(self.tape.data)))
        for index in halted:
            self.tape.empty(self._known(symbol), index)
        self._player.forget()
        opens = [self.tape.timeline.open_us(index) for index in halted]
        self.log.note("halt", self._known(symbol), open_us=opens)
        return halted

    def _known(self, symbol: str) -> str:
        native = symbol.replace("-", "")
        if native not in self.tape.data.series:
            raise ValueError(f"{symbol} is not simulated; there are {', '.join(self.tape.data.symbols)}")
        return native

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        """A failed task ends the exchange; ``stop`` raises its error."""
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)
        else:
            self.ended.set()

    async def _play(self) -> None:
        await self._player.play()
        self.ended.set()
