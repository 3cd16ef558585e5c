"""At-least-once MQTT publisher with reconnection and a bounded outbox.

``submit`` never waits. A message stays in the outbox until the broker has confirmed it (QoS 1), across reconnections;
a message past its time is dropped and counted. Each connection begins with the retained ``status``, then the newest
message of every retained topic (the broker may have lost them), then the waiting messages. When the daemon disappears
the broker publishes its last will.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from daemon.clock import Clock
from daemon.errors import Retryable
from daemon.publishing import payloads
from daemon.publishing.connection import (
    MAX_IN_FLIGHT,
    BrokerConnection,
    Connect,
    ConnectOptions,
    connect,
)
from daemon.publishing.failures import (
    AccessRefused,
    ConnectionClosed,
    ConnectionFailed,
    ProtocolRefused,
    SessionTakenOver,
)
from daemon.publishing.observer import PublisherObserver
from daemon.publishing.outbox import DropReason, Outbox, OutboxMessage
from daemon.publishing.publisher_state import PublisherState
from daemon.publishing.reason_codes import PACKET_TOO_LARGE
from daemon.publishing.retry_policy import PublishBackoff, RetryPolicy
from daemon.publishing.sender import Sender
from daemon.publishing.settings import MqttProtocol, MqttSettings
from daemon.publishing.suspects import SuspectMessages
from daemon.publishing.topics import Topics
from daemon.publishing.wire import STATUS_SCHEMA

__all__ = [
    "DropReason",
    "MqttSettings",
    "OutboxMessage",
    "RetryPolicy",
    "Publisher",
    "PublisherState",
]

_FINAL_STATES = ("stopped", "offline")
_REMEMBERED_STATUSES = 64


class Publisher:
    """Publishes the messages of one instance. The application's task group runs ``run``; ``stop`` ends it.

    status: payload of the birth message; ``update_status`` replaces it.
    last_will: returns the payload that the broker publishes if the daemon disappears; called on each connection.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        topics: Topics,
        clock: Clock,
        status: bytes,
        last_will: Callable[[], bytes],
        observer: PublisherObserver | None = None,
        retry_policy: RetryPolicy | None = None,
        connect: Connect = connect,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._clock = clock
        self._last_will = last_will
        self._observer = observer or PublisherObserver()
        self._own_statuses: deque[bytes] = deque(maxlen=_REMEMBERED_STATUSES)
        self._watch_status = True
        self._retry_policy = retry_policy or RetryPolicy()
        self._connect = connect
        self._protocol = _preferred_protocol(settings)
        self._outbox = Outbox(
            max_topics=self._retry_policy.max_topics,
            max_events=self._retry_policy.max_events,
            on_dropped=self._count_drop,
            pinned=topics.status,
        )
        self._sender: Sender | None = None
        self._suspects = SuspectMessages(self._retry_policy.solo_breaks)
        self._backoff = PublishBackoff(self._retry_policy)
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._deadline: asyncio.Timeout | None = None
        self.state = PublisherState(connected=False, since_us=clock.market_us())
        self.update_status(status)

    @property
    def depth(self) -> int:
        """Number of messages that the broker has not confirmed yet."""
        return len(self._outbox)

    @property
    def capacity(self) -> int:
        """Most messages that may wait."""
        return self._retry_policy.max_topics + self._retry_policy.max_events

    def submit(self, message: OutboxMessage) -> None:
        """Queues a message and returns at once. A retained message replaces the one that waits on its topic."""
        self._outbox.put(message)
        if self._sender is not None:
            self._sender.pump()

    def update_status(self, payload: bytes) -> None:
        """Publishes a new retained status and uses it as the birth message of later connections."""
        self._own_statuses.append(payload)
        self.submit(
            OutboxMessage(
                topic=self._topics.status,
                payload=payload,
                retain=True,
                expires_at_us=None,
                schema=STATUS_SCHEMA,
                model=None,
                submitted_s=self._clock.wall_s(),
            )
        )

    async def stop(self, final_status: bytes) -> None:
        """Ends ``run``: publishes the waiting messages and ``final_status``, then closes the connection.

        Takes at most ``RetryPolicy.stop_s``; after that the connection is cut and the broker publishes the last will.
        """
        self.update_status(final_status)
        self._stopping.set()
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._retry_policy.stop_s)
            await self._ended.wait()

    async def run(self) -> None:
        """Publishes until ``stop``; retries without limit while the broker is unreachable, refuses or hangs."""
        deadline = asyncio.timeout(None)  # set by ``stop``
        try:
            async with deadline:
                self._deadline = deadline
                while not self._stopping.is_set():
                    await self._try_connection()
        except TimeoutError:
            if not deadline.expired():
                raise
        finally:
            self._deadline = None
            self._ended.set()

    async def _try_connection(self) -> None:
        try:
            await self._use_connection()
        except ProtocolRefused as error:
            if self._settings.protocol != "auto" or self._protocol == "311":
                await self._pause_after(error)
            else:
                self._protocol = "311"
                self._update_state(last_error=f"{error}: the broker refused MQTT 5, trying 3.1.1")
        except Retryable as error:
            await self._pause_after(error)

    async def _use_connection(self) -> None:
        last_will = self._last_will()
        options = ConnectOptions(
            client_id=self._settings.client_id or f"forecastd-{self._topics.instance}",
            protocol=self._protocol,
            will_topic=self._topics.status,
            will_payload=last_will,
            timeout_s=self._retry_policy.answer_s,
            on_status=self._status_received if self._watch_status else None,
        )
        async with self._connect(self._settings, options) as connection:
            self._on_accepted()
            try:
                await self._publish_until_stopped(connection)
            finally:
                self._sender = None
                self._update_state(connected=False, since_us=self._clock.market_us())

    async def _publish_until_stopped(self, connection: BrokerConnection) -> None:
        sender = Sender(
            connection,
            self._outbox,
            clock=self._clock,
            on_confirmed=self._on_confirmed,
            most_in_flight=lambda: 1 if self._suspects else MAX_IN_FLIGHT,
        )
        try:
            await self._send_until_stopped(sender)
        except ExceptionGroup as failures:
            lost = _broker_failure(failures)
            if lost is None:
                raise
            if isinstance(lost, ConnectionClosed):
                self._watch_status = self._watch_status and not lost.unanswered
                self._find_suspect(sender.unconfirmed, lost)
            raise lost from failures

    async def _send_until_stopped(self, sender: Sender) -> None:
        async with asyncio.TaskGroup() as tasks:
            sender.tasks = tasks
            watch = tasks.create_task(sender.watch(), name="mqtt-watch")
            try:
                self._outbox.requeue_retained(self._clock.market_us())
                self._suspects.keep(self._outbox)
                await sender.send_first(self._topics.status)
                self._sender = sender
                sender.pump()
                await self._stopping.wait()
                await sender.drained()
            finally:
                sender.close()
            watch.cancel()

    def _on_accepted(self) -> None:
        self._backoff.accepted(self._clock.wall_s())
        self._update_state(
            connected=True,
            since_us=self._clock.market_us(),
            protocol=self._protocol,
            attempts=0,
            last_error=None,
            connections=self.state.connections + 1,
        )

    async def _pause_after(self, error: Retryable) -> None:
        """Reports the failure and waits for the backoff pause or ``stop``, whichever comes first."""
        self._protocol = _preferred_protocol(self._settings)
        failure = error.label if isinstance(error, ConnectionFailed) else "lost"
        self._update_state(attempts=self.state.attempts + 1, last_error=str(error), failure=failure)
        if isinstance(error, SessionTakenOver):
            pause_s = self._backoff.taken_over(self._clock.wall_s())
        else:
            refused = isinstance(error, AccessRefused | ProtocolRefused)
            pause_s = self._backoff.failed(self._clock.wall_s(), refused=refused)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _status_received(self, payload: bytes) -> None:
        """Another client published on this daemon's status topic, or the broker this daemon's earlier last will.

        What it says of an end is replaced, since this daemon is still here.
        """
        state = payloads.status_state(payload)
        if payload in self._own_statuses or state is None:
            return
        self._observer.rival_seen(state)
        if state in _FINAL_STATES and not self._stopping.is_set():
            self.update_status(self._own_statuses[-1])

    def _find_suspect(self, unconfirmed: Sequence[OutboxMessage], error: ConnectionClosed) -> None:
        """Drops the message that made the broker close the connection, once it is known."""
        culprit = self._suspects.connection_closed(unconfirmed, error.code)
        if culprit is not None:
            detail = f"the broker closes the connection that sends these {len(culprit.payload):,} bytes: {error}"
            too_large = error.code == PACKET_TOO_LARGE
            self._outbox.forget(culprit, DropReason.TOO_LARGE if too_large else DropReason.REFUSED, detail)

    def _on_confirmed(self, message: OutboxMessage, *, first: bool) -> None:
        self._suspects.settled(message)
        if first:
            self.state = replace(self.state, published=self.state.published + 1)
            self._observer.message_delivered(message, self._clock.wall_s() - message.submitted_s)
        else:
            self.state = replace(self.state, repeated=self.state.repeated + 1)

    def _count_drop(self, message: OutboxMessage, reason: DropReason, detail: str) -> None:
        self._suspects.settled(message)
        self.state = self.state.with_drop(reason)
        self._observer.message_dropped(message, reason, detail)

    def _update_state(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self._observer.state_changed(self.state)


def _broker_failure(failures: ExceptionGroup) -> Exception | None:
    """One failure if all are Retryable, the most telling; else None: any other error is a bug and must propagate."""
    retryable, rest = failures.split(Retryable)
    if retryable is None or rest is not None:
        return None
    return max(retryable.exceptions, key=lambda error: isinstance(error, ConnectionClosed))


def _preferred_protocol(settings: MqttSettings) -> MqttProtocol:
    return "311" if settings.protocol == "311" else "5"
