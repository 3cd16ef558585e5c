"""Runs a publisher under test and records its callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from daemon.clock import Clock, SystemClock
from daemon.publishing import payloads
from daemon.publishing.connection import Connect, connect
from daemon.publishing.observer import PublisherObserver
from daemon.publishing.outbox import DropReason, OutboxMessage
from daemon.publishing.publisher import MqttSettings, Publisher, PublisherState, RetryPolicy
from daemon.publishing.topics import Topics
from tests.limits import LIMIT_S

SECOND_US = 1_000_000
TOPICS = Topics("forecastd/v1", "test")
QUICK = RetryPolicy(answer_s=1.0, first_retry_s=0.05, longest_retry_s=0.1, refused_retry_s=0.2, stop_s=2.0)


def status(state: str) -> bytes:
    return payloads.status(state, since_us=0, version="0.1.0", reason="")


class Callbacks(PublisherObserver):
    """An observer that keeps what it receives."""

    def __init__(self) -> None:
        self.delivered: list[bytes] = []
        self.latencies_s: list[float] = []
        self.dropped: list[tuple[bytes, DropReason]] = []
        self.details: list[str] = []
        self.rivals: list[str] = []
        self.states: list[PublisherState] = []

    def message_delivered(self, message: OutboxMessage, seconds: float) -> None:
        self.delivered.append(message.payload)
        self.latencies_s.append(seconds)

    def message_dropped(self, message: OutboxMessage, reason: DropReason, detail: str) -> None:
        self.dropped.append((message.payload, reason))
        self.details.append(detail)

    def state_changed(self, state: PublisherState) -> None:
        self.states.append(state)

    def rival_seen(self, state: str) -> None:
        self.rivals.append(state)

    def errors(self) -> list[str]:
        return [state.last_error for state in self.states if state.last_error]


def make_publisher(
    settings: MqttSettings,
    callbacks: Callbacks,
    *,
    clock: Clock | None = None,
    retry_policy: RetryPolicy = QUICK,
    connect: Connect = connect,
) -> Publisher:
    return Publisher(
        settings,
        topics=TOPICS,
        clock=clock or SystemClock(),
        status=status("online"),
        last_will=lambda: status("offline"),
        observer=callbacks,
        retry_policy=retry_policy,
        connect=connect,
    )


@asynccontextmanager
async def running(
    settings: MqttSettings,
    callbacks: Callbacks,
    *,
    clock: Clock | None = None,
    retry_policy: RetryPolicy = QUICK,
    connect: Connect = connect,
) -> AsyncIterator[Publisher]:
    """Runs a publisher for the length of the block, then stops it."""
    publisher = make_publisher(settings, callbacks, clock=clock, retry_policy=retry_policy, connect=connect)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        await asyncio.sleep(0)
        try:
            yield publisher
        finally:
            await publisher.stop(status("stopped"))


async def eventually(condition: Callable[[], bool], *, timeout_s: float = LIMIT_S) -> None:
    """Waits until ``condition`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)
