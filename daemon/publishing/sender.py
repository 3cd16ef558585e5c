"""Sends the outbox's messages over one connection and removes them from the outbox once confirmed."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from daemon.clock import Clock
from daemon.publishing.connection import MAX_IN_FLIGHT, BrokerConnection
from daemon.publishing.outbox import Outbox, OutboxMessage
from daemon.timestamps import MICROSECONDS_PER_SECOND

_LONGEST_EXPIRY_S = 2**32 - 1  # MQTT 5, section 3.3.2.3.3: a four byte integer


class OnConfirmed(Protocol):
    """Callback for each confirmation; ``first`` is False for a message already delivered on an earlier connection."""

    def __call__(self, message: OutboxMessage, *, first: bool) -> None: ...


class Sender:
    """Sends messages from the outbox over one connection, up to ``MAX_IN_FLIGHT`` at a time, one per lane.

    It runs in the task group ``tasks``: the first failure cancels all sends and returns the unconfirmed messages to the
    outbox.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        outbox: Outbox,
        *,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        on_confirmed: OnConfirmed,
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._clock = clock
        self._tasks = tasks
        self._on_confirmed = on_confirmed
        self._open = True
        self._empty = asyncio.Event()

    def close(self) -> None:
        """Stops starting new sends."""
        self._open = False

    def pump(self) -> None:
        """Starts sends until ``MAX_IN_FLIGHT`` messages are in flight or none is ready."""
        while self._open and self._outbox.in_flight < MAX_IN_FLIGHT:
            message = self._outbox.take(self._clock.market_us())
            if message is None:
                break
            self._tasks.create_task(self._send(message), name="mqtt-send")
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
        finally:
            self.close()

    async def drained(self) -> None:
        """Returns once the broker has confirmed every message of the outbox."""
        while len(self._outbox):
            self._empty.clear()
            await self._empty.wait()

    async def _send(self, message: OutboxMessage) -> None:
        try:
            await self._connection.publish(
                message.topic,
                message.payload,
                retain=message.retain,
                schema=message.schema,
                model=message.model,
                expires_in_s=self._expires_in_s(message),
            )
        except BaseException:
            self.close()
            self._outbox.give_back(message)
            raise
        self._on_confirmed(message, first=self._outbox.acknowledge(message))
        self.pump()

    def _expires_in_s(self, message: OutboxMessage) -> int | None:
        """Message expiry in the broker's wall seconds: remaining market time divided by the clock's speed."""
        if message.expires_at_us is None:
            return None
        remaining_s = (message.expires_at_us - self._clock.market_us()) / MICROSECONDS_PER_SECOND / self._clock.speed
        return min(max(1, math.ceil(remaining_s)), _LONGEST_EXPIRY_S)
