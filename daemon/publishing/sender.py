"""Sends the outbox's messages over one connection and removes them from the outbox once confirmed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from daemon.clock import Clock
from daemon.publishing.connection import MAX_IN_FLIGHT, BrokerConnection
from daemon.publishing.failures import ConnectionClosed, MessageRefused, MessageTooLarge
from daemon.publishing.outbox import DropReason, Outbox, OutboxMessage
from daemon.timestamps import MICROSECONDS_PER_SECOND

_LONGEST_EXPIRY_S = 2**32 - 1  # MQTT 5, section 3.3.2.3.3: a four byte integer


class OnConfirmed(Protocol):
    """Callback for each confirmation; ``first`` is False for a message already delivered on an earlier connection."""

    def __call__(self, message: OutboxMessage, *, first: bool) -> None: ...


class Sender:
    """Sends messages from the outbox over one connection, up to ``most_in_flight`` at a time, one per lane.

    unconfirmed: after the broker closed the connection, what was in flight then.

    It runs in the task group ``tasks``, which its user sets before the first send: the first failure cancels all sends
    and returns the unconfirmed messages to the outbox.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        outbox: Outbox,
        *,
        clock: Clock,
        on_confirmed: OnConfirmed,
        most_in_flight: Callable[[], int] = lambda: MAX_IN_FLIGHT,
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._clock = clock
        self._on_confirmed = on_confirmed
        self._most_in_flight = most_in_flight
        self.tasks: asyncio.TaskGroup
        self.unconfirmed: tuple[OutboxMessage, ...] = ()
        self._open = True
        self._sending: set[OutboxMessage] = set()
        self._empty = asyncio.Event()

    def close(self) -> None:
        """Stops starting new sends."""
        self._open = False

    def pump(self) -> None:
        """Starts sends until ``most_in_flight`` messages are in flight or none is ready."""
        while self._open and self._outbox.in_flight < self._most_in_flight():
            message = self._outbox.take(self._clock.market_us())
            if message is None:
                break
            self.tasks.create_task(self._send(message), name="mqtt-send")
        if not len(self._outbox):
            self._empty.set()

    async def send_first(self, lane: str) -> None:
        """Publishes the message that waits on ``lane`` and returns once it is confirmed."""
        message = self._outbox.take(self._clock.market_us(), lane)
        if message is not None:
            await self._send(message)

    async def watch(self) -> None:
        """Never returns; raises BrokerLost when the connection breaks."""
        try:
            await self._connection.watch()
        except ConnectionClosed:
            self._note_unconfirmed()
            raise
        finally:
            self.close()

    async def drained(self) -> None:
        """Returns once the broker has confirmed every message of the outbox."""
        while len(self._outbox):
            self._empty.clear()
            await self._empty.wait()

    def _note_unconfirmed(self) -> None:
        if self._open:
            self.unconfirmed = tuple(self._sending)

    async def _send(self, message: OutboxMessage) -> None:
        self._sending.add(message)
        try:
            await self._connection.publish(
                message.topic,
                message.payload,
                retain=message.retain,
                schema=message.schema,
                model=message.model,
                expires_in_s=self._expires_in_s(message),
            )
        except MessageTooLarge as error:
            self._outbox.refuse(message, DropReason.TOO_LARGE, str(error))
        except MessageRefused as error:
            self._outbox.refuse(message, DropReason.REFUSED, str(error))
        except BaseException as error:
            if isinstance(error, ConnectionClosed):
                self._note_unconfirmed()
            self.close()
            self._outbox.give_back(message)
            raise
        else:
            self._on_confirmed(message, first=self._outbox.acknowledge(message))
        finally:
            self._sending.discard(message)
        self.pump()

    def _expires_in_s(self, message: OutboxMessage) -> int | None:
        """Message expiry in the broker's wall seconds: remaining market time divided by the clock's speed."""
        if message.expires_at_us is None:
            return None
        remaining_s = (message.expires_at_us - self._clock.market_us()) / MICROSECONDS_PER_SECOND / self._clock.speed
        return min(max(1, math.ceil(remaining_s)), _LONGEST_EXPIRY_S)
