"""The faults that can be injected into a simulated exchange, one method each."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod

from daemon.simulator.dialects.base import Dialect, SentTrade
from daemon.simulator.faults.log import FaultLog
from daemon.simulator.faults.malformed import malformed, with_id
from daemon.simulator.faults.plan import HUGE_ID, HUGE_UNITS, Form, Listing
from daemon.simulator.faults.rest_faults import Failure
from daemon.simulator.faults.stream_faults import StreamFaults
from daemon.simulator.player import Player
from daemon.simulator.rest import RestApi
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

    def send_huge_id(self, symbol: str, trade_id: int = HUGE_ID) -> None:
        """Sends a valid trade that does not exist, at the last price and the present time, with this id.

        Nothing is sent on a venue whose ids are no numbers.
        """
        known, field = self._known(symbol), self._dialect.id_field
        last = self._market.tape.latest(known, 1, self._market.happened_us())
        frames = 0
        if field is not None and last:
            trade = last[0]._replace(time_ms=self._market.now_us() // 1000)
            sent = SentTrade(known, trade, with_id(self._dialect.record(known, trade), field, trade_id))
            self._streams.send_to_all(lambda session: session.frames([sent]) if known in session.symbols else ())
            frames = sum(known in client.session.symbols for client in self._streams.clients)
        self.log.note("huge_id", known, trade_id=trade_id, frames=frames)

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

    def refuse_region(self, status: int | None) -> None:
        """Refuses every request and websocket as for a client in a region that the venue does not serve; None ends it.

        Open websockets are cut. Raises ValueError for a status other than 403 and 451.
        """
        if status not in {None, 403, 451}:
            raise ValueError(f"a region is refused with 403 or 451, not with {status}")
        self._rest.faults.region_status = self._streams.region_status = status
        self.log.note("region", status=status)
        if status is not None:
            self._streams.cut()

    # REST

    def rest_failing(self, status: int | None, *, retry_after_s: int | None = None) -> None:
        """Answers every REST request with an HTTP status; None ends it."""
        self._rest.faults.failure = None if status is None else Failure(status, retry_after_s)
        self.log.note("rest", status=status, retry_after_s=retry_after_s)

    def rest_rate_limited(self, limited: bool = True) -> None:
        """Answers every REST request with the venue's error for too many requests."""
        self._rest.faults.failure = Failure(None) if limited else None
        self.log.note("complain" if limited else "rest", **({} if limited else {"status": None}))

    def refuse_requests(
        self, count: int, *, symbol: str | None = None, status: int = 429, retry_after_s: int | None = None
    ) -> None:
        """Answers the next ``count`` REST requests with an HTTP status; a symbol limits it to requests for this one."""
        known = self._known_or_all(symbol)
        self._rest.faults.refuse(count, known, Failure(status, retry_after_s))
        self.log.note("throttle", known, count=count, status=status, retry_after_s=retry_after_s)

    def delay_answers(self, count: int, *, for_s: float, symbol: str | None = None) -> None:
        """Sends the next ``count`` REST answers ``for_s`` wall seconds late, with what was true at the request."""
        known = self._known_or_all(symbol)
        self._rest.faults.delay(count, known, for_s)
        self.log.note("late", known, count=count, for_s=for_s)

    def cross_answers(self, count: int, *, for_s: float, symbol: str | None = None) -> None:
        """Exchanges the next ``count`` REST answers, each with the answer to the next request of the same path.

        symbol: of both requests; None exchanges the answers of different symbols, too, which a client may be unable
        to notice. An answer is sent unchanged if no such request comes within ``for_s`` wall seconds.
        """
        known = self._known_or_all(symbol)
        self._rest.faults.cross(count, known, for_s)
        self.log.note("cross", known, count=count, for_s=for_s)

    def set_server_time_offset(self, ms: int) -> None:
        """Sets the time that REST reports, and its Date, ahead of the exchange's clock; nothing else changes."""
        self._market.server_time_offset_us = ms * 1000
        self.log.note("server_time", ms=ms)

    # The clock, the symbols and the market

    def set_skew(self, ms: int) -> None:
        """Sets the exchange's clock ahead of the machine's: trades, REST time and Date follow it."""
        self._market.skew_us = ms * 1000
        self.log.note("skew", ms=ms)

    def delist(self, symbol: str) -> None:
        """Removes a symbol: from the symbol list and every subscription; REST and websocket refuse it as unknown."""
        known = self._known(symbol)
        self._market.delisted.add(known)
        self._streams.unsubscribe(known)
        self.log.note("delist", known)

    def relist(self, symbol: str) -> None:
        """Ends ``delist``; REST then has the trades since."""
        self._market.delisted.discard(self._known(symbol))
        self.log.note("relist", self._known(symbol))

    def set_listing(self, listing: Listing | None, symbol: str | None = None) -> None:
        """Changes the symbol list, while trading goes on; None ends it.

        listing: ``empty`` lists no symbol, ``partial`` lacks ``symbol``, ``cut`` ends in the middle of its JSON. Raises
        ValueError for ``partial`` without a symbol.
        """
        known = self._known_or_all(symbol)
        if listing == "partial" and known is None:
            raise ValueError("a partial symbol list needs the symbol that it lacks")
        lacking = {"empty": set(self.symbols), "partial": {known} if known else set()}
        self._market.unlisted = lacking.get(listing or "", set())
        self._rest.faults.cut_listing = listing == "cut"
        self.log.note("listing", known, listing=listing)

    def enlarge_candle(self, symbol: str, units: int = HUGE_UNITS) -> None:
        """Serves the last closed bar's candle with a volume of ``units`` of the base currency.

        So are the candles of other intervals that cover the middle of that bar.
        """
        known, timeline = self._known(symbol), self.tape.timeline
        index = timeline.index_at(self._market.happened_us()) - 1
        self._market.candles.enlarged[known] = timeline.open_us(index) + timeline.interval_us // 2, units
        self.log.note("huge_candle", known, units=units, open_us=timeline.open_us(index))

    def restore_candle(self, symbol: str) -> None:
        self._market.candles.enlarged.pop(self._known(symbol), None)
        self.log.note("restore_candle", self._known(symbol))

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

    def _known_or_all(self, symbol: str | None) -> str | None:
        return None if symbol is None else self._known(symbol)

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
