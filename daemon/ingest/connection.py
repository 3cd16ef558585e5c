"""StreamConnection: one websocket to a venue, from the handshake over the verified subscriptions to its end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Sequence

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from daemon.clock import Clock
from daemon.errors import ConfigError, DataFault, ForecastdError, Retryable
from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    KeepAlive,
    Listed,
    ParsedFrame,
    Refused,
    TradesBatch,
    TradesMessage,
    Venue,
)
from daemon.ingest.http_errors import error_for_status, untrusted_certificate
from daemon.ingest.listener import StreamListener, StreamSettings
from daemon.ingest.proxy import proxy_for
from daemon.ingest.subscriptions import Subscriptions

_ALIVE_PERIOD_S = 1.0


class StreamConnection:
    """One websocket and the symbols subscribed on it.

    on_change: called when the connection ended or must be replaced; ``ended`` and ``replace_reason`` say why.
    complete_until_us: market time up to which every frame was read, so that no trade before it is lost.
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
        on_change: Callable[[StreamConnection], None],
    ) -> None:
        self.symbols = tuple(symbols)
        self.ended: str | None = None
        self.fault: BaseException | None = None
        self.replace_reason: str | None = None
        self.complete_until_us = clock.market_us()
        self._verified_at_s: float | None = None
        self._venue = venue
        self._url = venue.stream_url(ws_url)
        self._listener = listener
        self._clock = clock
        self._settings = settings
        self._lifetime_s = lifetime_s
        self._on_change = on_change
        self._frames = 0
        self._next_send_s = clock.wall_s()
        self._tasks: list[asyncio.Task[None]] = []
        self._socket: ClientConnection | None = None
        self._subscriptions = Subscriptions(
            venue, symbols, send=self._send, listener=listener, clock=clock, settings=settings
        )

    @property
    def must_be_replaced(self) -> bool:
        """Whether the connection ended or asked for a replacement."""
        return self.ended is not None or self.replace_reason is not None

    @property
    def confirmed(self) -> tuple[str, ...]:
        """The symbols whose subscription the venue has confirmed."""
        return self._subscriptions.confirmed

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The symbols whose subscription the venue has not confirmed."""
        return self._subscriptions.unconfirmed

    def served_s(self) -> float:
        """Wall seconds since the venue confirmed the subscriptions."""
        return 0.0 if self._verified_at_s is None else self._clock.wall_s() - self._verified_at_s

    def raise_fault(self) -> None:
        """Raises the programming error, here or in the listener, that ended the connection, if there is one."""
        if self.fault is not None:
            raise self.fault

    async def open(self) -> None:
        """Returns when the venue has confirmed at least one symbol; the listener may receive trades before that.

        Raises Retryable, RateLimited, RegionRefused, Unreachable for an untrusted certificate, ConfigError for an
        invalid address, or OSError.
        """
        self._socket = await self._handshake()
        self._start(self._read(self._socket), "read")
        self._start(self._update_complete_until(), "alive")
        await self._verify()
        self._verified_at_s = self._clock.wall_s()
        self._start(self._watch(), "watch")
        self._start(self._expire(), "age")
        if self._venue.keep_alive is not None:
            self._start(self._keep_alive(self._venue.keep_alive), "keep-alive")

    async def close(self) -> None:
        """Closes the websocket and cancels the connection's tasks."""
        self.ended = self.ended or "closed here"
        try:
            if self._socket is not None:
                await self._socket.close()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def request_replacement(self, reason: str) -> None:
        """Asks for a replacement through ``on_change``; the connection works on until it is closed."""
        if not self.must_be_replaced:
            self.replace_reason = reason
            self._on_change(self)

    # Opening

    async def _handshake(self) -> ClientConnection:
        settings = self._settings
        proxy = proxy_for(self._url)
        try:
            return await connect(
                self._url,
                compression=None,
                proxy=None if proxy is None else proxy.url,
                open_timeout=settings.open_timeout_s,
                ping_interval=settings.ping_interval_s,
                ping_timeout=settings.ping_timeout_s,
                close_timeout=settings.close_timeout_s,
                max_size=2**20,  # a list of 1,024 subscriptions takes 20 kB
                max_queue=1024,  # frames in the library's buffer; above it the socket is not read, and no frame is lost
            )
        except InvalidStatus as error:
            raise self._status_error(error) from error
        except ssl.SSLCertVerificationError as error:
            raise untrusted_certificate(self._url, error) from error
        except InvalidURI as error:
            raise ConfigError([f"ws_url was {self._url!r}; write ws://host:port or wss://host:port"]) from error
        except InvalidHandshake as error:
            raise Retryable(f"{self._url} did not open a websocket: {error}") from error

    def _status_error(self, error: InvalidStatus) -> ForecastdError:
        status = error.response.status_code
        refused = error_for_status(self._venue.name, status, error.response.headers, key="ws_url")
        return refused or Retryable(f"{self._url} answered the handshake with HTTP {status}")

    # Subscribing

    async def _verify(self) -> None:
        for frame in self._venue.opening():
            await self._send(frame)
        await self._subscriptions.subscribe_missing()
        if not self.confirmed:
            raise Retryable(f"{self._venue.name} confirmed none of {', '.join(self.symbols)}")

    async def _send(self, text: str) -> None:
        """Sends at half the rate that the venue allows, as pings and pongs count and the network may bunch messages."""
        assert self._socket is not None
        at_s = max(self._next_send_s, self._clock.wall_s())
        self._next_send_s = at_s + 2 / self._venue.limits.messages_per_second
        await asyncio.sleep(at_s - self._clock.wall_s())
        try:
            if self.ended is None:
                async with asyncio.timeout(self._settings.answer_timeout_s):
                    await self._socket.send(text)
        except TimeoutError as error:
            raise Retryable(f"{self._venue.name} no longer accepts messages") from error
        except ConnectionClosed as error:
            raise Retryable(f"connection ended: {close_reason(error)}") from error
        if self.ended is not None:
            raise Retryable(f"connection ended: {self.ended}")

    # Reading

    async def _read(self, socket: ClientConnection) -> None:
        # Local names make the loop a tenth faster.
        receive, read = socket.recv, self._venue.read
        trades, malformed = self._listener.trades_received, self._listener.frame_malformed
        while True:
            frame = await receive(decode=False)
            self._frames += 1
            try:
                message = read(frame)
                if type(message) is TradesMessage:
                    trades(message.symbol, message.trades)
                    continue
                if type(message) is TradesBatch:
                    for each in message.messages:
                        trades(each.symbol, each.trades)
                    continue
            except DataFault as error:
                malformed(frame, error)
                continue
            self._handle(message)

    def _handle(self, message: ParsedFrame) -> None:
        if isinstance(message, ClosingSoon):
            self.request_replacement(message.reason)
        elif isinstance(message, Acknowledged | Listed | Refused):
            self._subscriptions.handle_answer(message)
        else:
            assert isinstance(message, Heartbeat)

    # Watching and ending

    async def _watch(self) -> None:
        """Repeats the requests for unconfirmed symbols, and detects a connection without frames.

        Raises Retryable where no frame arrived for ``quiet_s`` and the venue cannot list its subscriptions.
        """
        subscriptions = self._subscriptions
        while True:
            frames, confirmed, unconfirmed = self._frames, self.confirmed, self.unconfirmed
            confirmed_at_us = subscriptions.confirmed_at_us
            await asyncio.sleep(self._settings.resubscribe_s if unconfirmed else self._settings.quiet_s)
            if unconfirmed:
                await subscriptions.subscribe_missing()
            elif frames == self._frames and not await subscriptions.verify_list():
                raise Retryable(f"{self._venue.name} sent nothing for {self._settings.quiet_s:g} s")
            self._report_changes(confirmed, confirmed_at_us)

    def _report_changes(self, before: tuple[str, ...], confirmed_at_us: int) -> None:
        if fresh := [symbol for symbol in self.confirmed if symbol not in before]:
            self._listener.connected(fresh)
        if lost := [symbol for symbol in self.unconfirmed if symbol in before]:
            self._listener.disconnected(
                lost, "the venue no longer lists it", self._settings.resubscribe_s, confirmed_at_us
            )

    async def _update_complete_until(self) -> None:
        frames, checked_us = self._frames, self._clock.market_us()
        while True:
            await asyncio.sleep(_ALIVE_PERIOD_S)
            if frames != self._frames:
                # The new frames arrived after the last check, so everything before it was read.
                self.complete_until_us, frames = checked_us, self._frames
            checked_us = self._clock.market_us()

    async def _keep_alive(self, keep_alive: KeepAlive) -> None:
        while True:
            await asyncio.sleep(keep_alive.every_s)
            await self._send(keep_alive.text)

    async def _expire(self) -> None:
        await asyncio.sleep(self._lifetime_s)
        self.request_replacement(f"planned: the connection is {self._lifetime_s:g} s old")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"{self._venue.name}-{name}-{self.symbols[0]}")
        task.add_done_callback(self._finish)
        self._tasks.append(task)

    def _finish(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return  # the connection reached its lifetime
        if isinstance(error, ConnectionClosed):
            self._end(close_reason(error))
        elif isinstance(error, Retryable):
            self._end(str(error))
        else:
            self.fault = error  # a programming error: the owner of the connection raises it
            self._end(repr(error))

    def _end(self, reason: str) -> None:
        if self.ended is not None:
            return
        self.ended = reason
        self._subscriptions.fail_pending(f"connection ended: {reason}")
        self._on_change(self)


def close_reason(error: ConnectionClosed) -> str:
    """Which side closed the connection, with its code and reason."""
    if error.rcvd is not None and (error.rcvd_then_sent or error.sent is None):
        return f"the venue closed it: {error.rcvd}"
    if error.sent is not None:
        return f"this side closed it: {error.sent}"
    return "it ended without a closing handshake"
