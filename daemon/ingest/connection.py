"""One websocket to a venue: opened, subscribed, verified symbol by symbol, and read until it ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Sequence
from itertools import count

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from daemon.clock import Clock
from daemon.errors import ConfigError, DataFault, ForecastdError, Retryable, Unreachable
from daemon.exchanges.base import Acknowledged, ClosingSoon, Heartbeat, Listed, Message, Refused, TradesMessage, Venue
from daemon.ingest.listener import StreamListener, StreamSettings
from daemon.ingest.refusals import is_loopback, refusal


class Connection:
    """One websocket and its symbols.

    ``on_change`` is called when the connection ended or asks to be replaced: see ``ended``, ``replace_reason``.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        ws_url: str,
        *,
        listener: StreamListener,
        clock: Clock,
        settings: StreamSettings,
        lifetime_s: float,
        on_change: Callable[[Connection], None],
    ) -> None:
        self.symbols = tuple(symbols)
        self.ended: str | None = None
        self.fault: BaseException | None = None
        self.replace_reason: str | None = None
        self._verified_at_s: float | None = None
        self._venue = venue
        self._url = venue.stream_url(ws_url)
        self._listener = listener
        self._clock = clock
        self._settings = settings
        self._lifetime_s = lifetime_s
        self._on_change = on_change
        self._request_ids = count(1)
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._unlisted: tuple[str, ...] = ()
        self._frames = 0
        self._next_request_s = clock.wall_s()
        self._tasks: list[asyncio.Task[None]] = []
        self._socket: ClientConnection | None = None

    @property
    def must_be_replaced(self) -> bool:
        return self.ended is not None or self.replace_reason is not None

    def served_s(self) -> float:
        """Wall seconds since the venue listed the subscriptions."""
        return 0.0 if self._verified_at_s is None else self._clock.wall_s() - self._verified_at_s

    def raise_fault(self) -> None:
        """Raises the defect, ours or the listener's, that ended the connection, if one did."""
        if self.fault is not None:
            raise self.fault

    async def open(self) -> None:
        """Returns when the venue has acknowledged and listed at least one symbol; trades flow before that already.

        Raises Retryable, RateLimited, RegionRefused, ConfigError for an impossible address, or OSError.
        """
        self._socket = await self._handshake()
        self._start(self._read(self._socket), "read")
        await self._verify()
        self._verified_at_s = self._clock.wall_s()
        self._start(self._watch(), "watch")
        self._start(self._age(), "age")

    async def close(self) -> None:
        """Ends the connection and everything that belongs to it."""
        self.ended = self.ended or "closed here"
        try:
            if self._socket is not None:
                await self._socket.close()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def request_replacement(self, reason: str) -> None:
        """Asks to be replaced by another connection; goes on working until then."""
        if not self.must_be_replaced:
            self.replace_reason = reason
            self._on_change(self)

    # Opening

    async def _handshake(self) -> ClientConnection:
        settings = self._settings
        try:
            return await connect(
                self._url,
                compression=None,
                proxy=None if is_loopback(self._url) else True,
                open_timeout=settings.open_timeout_s,
                ping_interval=settings.ping_interval_s,
                ping_timeout=settings.ping_timeout_s,
                close_timeout=settings.close_timeout_s,
                max_size=2**20,  # a list of 1,024 subscriptions takes 20 kB
                max_queue=1024,  # frames read from the socket at one go; above it the socket waits, nothing is dropped
            )
        except InvalidStatus as error:
            raise self._refusal(error) from error
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(f"{self._url} shows a certificate that nobody vouches for: {error}") from error
        except InvalidURI as error:
            raise ConfigError([f"ws_url was {self._url!r}; write ws://host:port or wss://host:port"]) from error
        except InvalidHandshake as error:
            raise Retryable(f"{self._url} did not open a websocket: {error}") from error

    def _refusal(self, error: InvalidStatus) -> ForecastdError:
        status, retry_after = error.response.status_code, error.response.headers.get("Retry-After")
        refused = refusal(self._venue.name, status, retry_after, key="ws_url")
        return refused or Retryable(f"{self._url} answered the handshake with HTTP {status}")

    # Subscribing

    async def _verify(self) -> None:
        await self._subscribe(self.symbols)
        await self._compare_with_list()
        if set(self._unlisted) == set(self.symbols):
            raise Retryable(f"{self._venue.name} listed none of {', '.join(self.symbols)}")

    async def _subscribe(self, symbols: Sequence[str]) -> None:
        for start in range(0, len(symbols), self._settings.symbols_per_request):
            await self._subscribe_together(symbols[start : start + self._settings.symbols_per_request])

    async def _subscribe_together(self, symbols: Sequence[str]) -> None:
        """One wrong symbol spoils its whole request, so a refused request is halved until it stands alone."""
        request_id = next(self._request_ids)
        answer = await self._ask(self._venue.subscribe(symbols, request_id), request_id)
        if not isinstance(answer, Refused):
            return
        if len(symbols) == 1:
            self._listener.refused(symbols[0], answer.reason)
            return
        middle = len(symbols) // 2
        await self._subscribe_together(symbols[:middle])
        await self._subscribe_together(symbols[middle:])

    async def _compare_with_list(self) -> None:
        request_id = next(self._request_ids)
        answer = await self._ask(self._venue.list_subscriptions(request_id), request_id)
        if not isinstance(answer, Listed):
            raise Retryable(f"{self._venue.name} would not list the subscriptions: {answer}")
        before = self._unlisted if self._verified_at_s is not None else self.symbols
        self._unlisted = tuple(symbol for symbol in self.symbols if symbol not in answer.symbols)
        for symbol in before:
            if symbol not in self._unlisted:
                self._listener.subscribed(symbol)
        for symbol in self._unlisted:
            self._listener.refused(symbol, "acknowledged but not listed")

    async def _ask(self, request: str, request_id: int) -> Message:
        """Sends one request and returns its answer; one at a time, no faster than the venue allows."""
        assert self._socket is not None
        await asyncio.sleep(self._next_request_s - self._clock.wall_s())
        # Half of what the venue allows: pings and pongs count too, and the network bunches messages up.
        self._next_request_s = self._clock.wall_s() + 2 / self._venue.limits.messages_per_second
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = answer
        try:
            async with asyncio.timeout(self._settings.answer_timeout_s):
                if self.ended is None:
                    await self._socket.send(request)
                return await answer
        except TimeoutError as error:
            waited_s = self._settings.answer_timeout_s
            raise Retryable(f"{self._venue.name} left a request unanswered for {waited_s:g} s") from error
        except ConnectionClosed as error:
            raise Retryable(f"connection ended while subscribing: {closing_words(error)}") from error
        finally:
            del self._answers[request_id]

    # Reading

    async def _read(self, socket: ClientConnection) -> None:
        # Binding the names once is worth a tenth of the loop's speed.
        receive, decode = socket.recv, self._venue.decode
        trades, malformed = self._listener.trades, self._listener.malformed
        while True:
            frame = await receive(decode=False)
            self._frames += 1
            try:
                message = decode(frame)
            except DataFault as error:
                malformed(frame, error)
                continue
            if type(message) is TradesMessage:
                trades(message.symbol, message.trades)
            else:
                self._take(message)

    def _take(self, message: Message) -> None:
        if isinstance(message, ClosingSoon):
            self.request_replacement(message.reason)
        elif isinstance(message, Acknowledged | Listed):
            self._resolve(message.request_id, message)
        elif isinstance(message, Refused):
            # An error may come without an id; requests go one at a time, so it belongs to the one that waits.
            self._resolve(next(iter(self._answers), 0) if message.request_id is None else message.request_id, message)
        else:
            assert isinstance(message, Heartbeat)

    def _resolve(self, request_id: int, message: Message) -> None:
        answer = self._answers.get(request_id)
        if answer is not None and not answer.done():
            answer.set_result(message)

    # Watching and ending

    async def _watch(self) -> None:
        """Asks again for symbols that are not listed, and asks anything at all once the socket has gone quiet."""
        while True:
            frames = self._frames
            await asyncio.sleep(self._settings.resubscribe_s if self._unlisted else self._settings.quiet_s)
            if self._unlisted:
                await self._subscribe(self._unlisted)
                await self._compare_with_list()
            elif frames == self._frames:
                await self._compare_with_list()

    async def _age(self) -> None:
        await asyncio.sleep(self._lifetime_s)
        self.request_replacement(f"planned: it is {self._lifetime_s:g} s old")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"{self._venue.name}-{name}-{self.symbols[0]}")
        task.add_done_callback(self._finish)
        self._tasks.append(task)

    def _finish(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return  # the connection has reached its age
        if isinstance(error, ConnectionClosed):
            self._end(closing_words(error))
        elif isinstance(error, Retryable):
            self._end(str(error))
        else:
            self.fault = error  # a defect of ours or of the listener: whoever owns the connection raises it
            self._end(repr(error))

    def _end(self, reason: str) -> None:
        if self.ended is not None:
            return
        self.ended = reason
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Retryable(f"connection ended while subscribing: {reason}"))
        self._on_change(self)


def closing_words(error: ConnectionClosed) -> str:
    """Who closed the connection, with which code and reason."""
    if error.rcvd is not None and (error.rcvd_then_sent or error.sent is None):
        return f"the venue closed it: {error.rcvd}"
    if error.sent is not None:
        return f"closed from here: {error.sent}"
    return "it broke without a closing handshake"
