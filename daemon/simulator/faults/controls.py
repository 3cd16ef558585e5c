"""The faults that can be injected into a simulated exchange, one method each."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod

from daemon.simulator.dialects.base import Dialect
from daemon.simulator.faults.log import FaultLog
from daemon.simulator.faults.malformed import malformed
from daemon.simulator.faults.plan import Form
from daemon.simulator.faults.stream_faults import StreamFaults
from daemon.simulator.player import Player
from daemon.simulator.rest import Failure, RestApi
from daemon.simulator.sockets import StreamServer
from daemon.simulator.tape import Tape


class FaultControls(ABC):
    """A simulated exchange's faults; ``log`` records each of them.

    Symbols are BASE-QUOTE or in Binance's spelling; ValueError for one that is not simulated.
    """

    def __init__(self, dialect: Dialect, rest: RestApi, streams: StreamServer, *, log: FaultLog, seed: int) -> None:
        self.log = log
        self._market = dialect.market
        self._dialect = dialect
        self._rest = rest
        self._streams = streams
        self._stream_faults = StreamFaults(streams.publish, self._market.silenced, random.Random(seed))
        self._player = Player(self._market, self._stream_faults.passing, hold_us=dialect.hold_us)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def tape(self) -> Tape:
        return self._market.tape

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
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)
        else:
            self._task_failed()

    async def _end_tasks(self) -> list[Exception]:
        """Cancels the background tasks; the errors of those that failed."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return [result for result in results if isinstance(result, Exception)]

    @abstractmethod
    def _task_failed(self) -> None:
        """A background task has failed; ``_end_tasks`` returns its error."""
