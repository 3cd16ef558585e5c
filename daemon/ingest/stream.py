"""MarketStream: keeps every symbol of one venue on a live, verified websocket connection.

The symbols are split over as many connections as the venue's limits require; one ``SymbolGroup`` manages each,
independently of the others. A connection that must end is replaced before it ends: the new one is opened, subscribed
and verified, both deliver for a moment, then the old one is closed. The listener drops the duplicates by trade id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec

from daemon.clock import Clock
from daemon.errors import ConfigError, ErrorHandling, ForecastdError, RateLimited, classify
from daemon.exchanges.base import Venue
from daemon.ingest.connection import StreamConnection
from daemon.ingest.listener import StreamListener, StreamSettings
from daemon.ingest.pacing import Backoff, Sleep, TokenBucket

_DEFAULT_SETTINGS = StreamSettings()
_LONGEST_LIFETIME_S = 7 * 24 * 3600.0  # where a venue names no limit


class ConnectionState(msgspec.Struct, frozen=True, kw_only=True):
    """State of one symbol group's connection.

    failures: since the last settled connection. next_try_s: wall seconds until the next attempt.
    """

    symbols: tuple[str, ...]
    connected: bool
    failures: int
    next_try_s: float
    last_failure: str | None


class SymbolGroup:
    """Keeps one group of symbols connected.

    connect: makes an unopened connection that reports changes to the given callback.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        connect: Callable[[Callable[[StreamConnection], None]], StreamConnection],
        *,
        listener: StreamListener,
        clock: Clock,
        settings: StreamSettings,
        budget: TokenBucket,
        backoff: Backoff,
        sleep: Sleep,
    ) -> None:
        self.symbols = tuple(symbols)
        self._connect = connect
        self._listener = listener
        self._clock = clock
        self._settings = settings
        self._budget = budget
        self._backoff = backoff
        self._sleep = sleep
        self._active: StreamConnection | None = None
        self._replacement_due = asyncio.Event()
        self._next_try_at_s = clock.wall_s()
        self._last_failure: str | None = None
        self._complete_until_us = 0

    @property
    def state(self) -> ConnectionState:
        """The state at the time of the call."""
        return ConnectionState(
            symbols=self.symbols,
            connected=self._connected,
            failures=self._backoff.failures,
            next_try_s=self._until_next_try_s(),
            last_failure=self._last_failure,
        )

    async def run(self) -> None:
        """Connects and replaces connections without end. Raises ConfigError for an address that is none."""
        try:
            while True:
                connection = await self._connect_with_retries()
                await self._activate(connection)
                await self._replacement_due.wait()
                await self._close_if_ended(connection)
        finally:
            if self._active is not None:
                await self._active.close()

    def reconnect(self, reason: str) -> None:
        """Replaces the connection; has no effect while an attempt is in progress."""
        if self._active is not None:
            self._active.request_replacement(reason)

    # Attempts

    async def _connect_with_retries(self) -> StreamConnection:
        while True:
            await self._sleep(self._until_next_try_s())
            try:
                return await self._open()
            except (ForecastdError, OSError) as error:
                self._record_failure(error)

    async def _open(self) -> StreamConnection:
        await self._budget.take(1)
        connection = self._connect(self._connection_changed)
        try:
            await connection.open()
        except BaseException:
            await connection.close()
            connection.raise_fault()
            raise
        return connection

    def _record_failure(self, error: ForecastdError | OSError) -> None:
        if isinstance(error, ConfigError):
            raise error
        self._schedule_next_try(at_least_s=self._shortest_wait_s(error))
        self._last_failure = str(error) or repr(error)
        if not self._connected:
            self._report_disconnected(self._last_failure)

    def _shortest_wait_s(self, error: ForecastdError | OSError) -> float:
        if isinstance(error, RateLimited):
            return error.retry_after_s
        # After a first connection a refusal is not of the region: it passes like any other failure.
        refused = classify(error) is ErrorHandling.STOP and self._active is None
        return self._settings.refused_retry_s if refused else 0.0

    def _report_disconnected(self, reason: str) -> None:
        if self._active is not None:
            self._complete_until_us = max(self._complete_until_us, self._active.complete_until_us)
        self._listener.disconnected(self.symbols, reason, self._until_next_try_s(), self._complete_until_us)

    def _schedule_next_try(self, *, at_least_s: float = 0.0) -> None:
        self._next_try_at_s = self._clock.wall_s() + max(at_least_s, self._backoff.next_s())

    def _until_next_try_s(self) -> float:
        return max(0.0, self._next_try_at_s - self._clock.wall_s())

    # The active connection

    @property
    def _connected(self) -> bool:
        return self._active is not None and self._active.ended is None

    async def _activate(self, connection: StreamConnection) -> None:
        """Activates a verified connection, then closes the previous one."""
        old, self._active = self._active, connection
        self._replacement_due.clear()
        self._listener.connected(connection.confirmed)
        if connection.must_be_replaced:
            self._connection_changed(connection)
        if old is not None:
            self._complete_until_us = max(self._complete_until_us, old.complete_until_us)
            await self._retire(old)
        if connection.ended is None and (unconfirmed := connection.unconfirmed):
            self._listener.disconnected(
                unconfirmed, "the venue did not confirm it", self._settings.resubscribe_s, self._complete_until_us
            )

    async def _retire(self, old: StreamConnection) -> None:
        try:
            if old.ended is None:
                await asyncio.sleep(self._settings.overlap_s)
        finally:
            await old.close()
        old.raise_fault()

    async def _close_if_ended(self, connection: StreamConnection) -> None:
        if connection.ended is not None:
            await connection.close()
            connection.raise_fault()

    def _connection_changed(self, connection: StreamConnection) -> None:
        """Handles the end or the replacement request of the active connection.

        Ignores other connections, which are being opened or retired.
        """
        if connection is not self._active:
            return
        if not self._replacement_due.is_set():
            if connection.served_s() >= self._settings.settled_s:
                self._backoff.reset()
            self._schedule_next_try()
            self._replacement_due.set()
        if connection.ended is not None:
            self._last_failure = connection.ended
            self._report_disconnected(connection.ended)


class MarketStream:
    """All trade streams of one venue.

    sleep, draw: wait between attempts, and draw uniformly in [0, 1) for jitter; replaced in tests.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        ws_url: str,
        *,
        listener: StreamListener,
        clock: Clock,
        settings: StreamSettings = _DEFAULT_SETTINGS,
        sleep: Sleep = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._venue = venue
        self._ws_url = ws_url or venue.default_ws_url
        self._listener = listener
        self._clock = clock
        self._settings = settings
        self._sleep = sleep
        self._draw = draw
        self._budget = TokenBucket.within(venue.limits.connections_per_5_minutes, per_s=300, clock=clock, sleep=sleep)
        size = venue.limits.streams_per_connection
        self._groups = [self._symbol_group(symbols[start : start + size]) for start in range(0, len(symbols), size)]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def states(self) -> list[ConnectionState]:
        """The current state of each connection."""
        return [group.state for group in self._groups]

    async def run(self) -> None:
        """Runs until ``close`` is called.

        A venue that refuses the region or cannot be trusted is tried again like one that is down. Raises ConfigError
        for an address that is none, and every error of the listener except DataFault.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = [
                    tasks.create_task(group.run(), name=f"feed-{group.symbols[0]}") for group in self._groups
                ]
        except ExceptionGroup as errors:
            # Callers handle the cause; the group adds no information.
            raise errors.exceptions[0] from None

    async def close(self) -> None:
        """Closes every connection and lets ``run`` return."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * self._settings.close_timeout_s)

    def reconnect(self, symbol: str, reason: str = "acknowledged but silent") -> None:
        """Replaces the connection of ``symbol``, e.g. where the venue trades and the connection delivers nothing."""
        for group in self._groups:
            if symbol in group.symbols:
                group.reconnect(reason)

    def _symbol_group(self, symbols: Sequence[str]) -> SymbolGroup:
        def connect(on_change: Callable[[StreamConnection], None]) -> StreamConnection:
            return StreamConnection(
                self._venue,
                symbols,
                self._ws_url,
                listener=self._listener,
                clock=self._clock,
                settings=self._settings,
                lifetime_s=self._lifetime_s(),
                on_change=on_change,
            )

        settings = self._settings
        return SymbolGroup(
            symbols,
            connect,
            listener=self._listener,
            clock=self._clock,
            settings=settings,
            budget=self._budget,
            backoff=Backoff(first_s=settings.backoff_first_s, cap_s=settings.backoff_cap_s, draw=self._draw),
            sleep=self._sleep,
        )

    def _lifetime_s(self) -> float:
        """The venue's limit less a random half an hour to an hour, so that connections do not all end together."""
        allowed_s = min(self._settings.lifetime_s or self._venue.limits.connection_lifetime_s, _LONGEST_LIFETIME_S)
        return allowed_s - (1 + self._draw()) * min(1800.0, allowed_s / 20)
