"""A subscriber in a thread of its own, for tests that watch processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import aiomqtt

from tests.daemon.publishing.brokers import Subscriber, subscribed
from tests.e2e.rig import valid
from tests.limits import LIMIT_S


class ReceivedMessage(NamedTuple):
    """One message as it came."""

    topic: str
    payload: bytes
    retained: bool
    properties: dict[str, Any]


class Listener:
    """Every message so far, oldest first."""

    def __init__(self) -> None:
        self.subscribed = threading.Event()
        self._subscriber: Subscriber
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event

    @property
    def messages(self) -> list[ReceivedMessage]:
        return [_received(message) for message in list(self._subscriber.messages)]

    def of(self, kind: str) -> list[ReceivedMessage]:
        """The messages whose topic's first level below the instance is ``kind``."""
        return [each for each in self.messages if each.topic.split("/")[3] == kind]

    def documents(self, kind: str) -> list[dict[str, Any]]:
        """The same, parsed; raises for one that its schema does not allow."""
        return [valid(each.payload) for each in self.of(kind)]

    def run(self, port: int) -> None:
        asyncio.run(self._listen(port))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _listen(self, port: int) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with subscribed(port, "#") as self._subscriber:
            self.subscribed.set()
            await self._ended.wait()


def _received(message: aiomqtt.Message) -> ReceivedMessage:
    assert isinstance(message.payload, bytes)
    properties = message.properties.json() if message.properties else {}
    return ReceivedMessage(message.topic.value, message.payload, bool(message.retain), properties)


@contextmanager
def listener(port: int) -> Iterator[Listener]:
    """Subscribed to everything for the length of the block."""
    made = Listener()
    thread = threading.Thread(target=made.run, args=(port,), name="listener")
    thread.start()
    try:
        assert made.subscribed.wait(10)
        yield made
    finally:
        made.stop()
        thread.join(LIMIT_S)
