"""A mosquitto process for tests, and a subscriber that records the messages it delivers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt

from tests.limits import LIMIT_S
from tests.programs import program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """One mosquitto on loopback; it keeps no state over a restart unless the configuration enables persistence."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        user = ["user root"] if os.geteuid() == 0 else []
        anonymous = [] if any(line.startswith("allow_anonymous") for line in lines) else ["allow_anonymous true"]
        listener = f"listener {self.port} 127.0.0.1"
        self._config.write_text("\n".join([listener, *user, *anonymous, *lines, ""]), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> Mosquitto:
        self._process = subprocess.Popen(
            [program("mosquitto"), "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            time.sleep(0.02)
        raise AssertionError("mosquitto did not start")

    def kill(self) -> None:
        if self._process is not None:
            self.thaw()
            self._process.kill()
            self._process.wait(LIMIT_S)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Subscriber:
    """Messages that one subscriber has received so far."""

    def __init__(self) -> None:
        self.messages: list[aiomqtt.Message] = []
        self._arrived = asyncio.Condition()

    async def receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            async with self._arrived:
                self.messages.append(message)
                self._arrived.notify_all()

    async def until(self, count: int, *, topic: str | None = None, timeout_s: float = LIMIT_S) -> list[aiomqtt.Message]:
        """Waits for ``count`` messages (of ``topic``) and returns them."""
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.of(topic)) >= count)
        return self.of(topic)

    def of(self, topic: str | None) -> list[aiomqtt.Message]:
        return [message for message in self.messages if topic is None or message.topic.value == topic]

    def payloads(self, topic: str) -> list[Any]:
        return [message.payload for message in self.of(topic)]


@asynccontextmanager
async def subscribed(port: int, topic: str = "#", *, version: str = "5") -> AsyncIterator[Subscriber]:
    """A subscriber to ``topic``; with ``version`` 311 for the embedded broker."""
    protocol = aiomqtt.ProtocolVersion.V5 if version == "5" else aiomqtt.ProtocolVersion.V311
    subscriber = Subscriber()
    async with aiomqtt.Client("127.0.0.1", port, protocol=protocol, timeout=LIMIT_S) as client:
        await client.subscribe(topic, qos=1)
        receiving = asyncio.create_task(subscriber.receive(client))
        try:
            yield subscriber
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
