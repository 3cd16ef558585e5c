from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.publishing.settings import EmbeddedAddress
from tests.daemon.publishing.brokers import Mosquitto


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Starts mosquitto with extra configuration lines; kills it after the test."""
    started: list[Mosquitto] = []

    def start(*lines: str) -> Mosquitto:
        started.append(Mosquitto(tmp_path, *lines).start())
        return started[-1]

    yield start
    for broker in started:
        broker.kill()


@pytest.fixture
def mosquitto(start_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    return start_mosquitto()


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedAddress]:
    broker = EmbeddedBroker()
    yield await broker.start()
    await broker.stop()


@pytest.fixture
def embedded_port(embedded: EmbeddedAddress) -> int:
    return embedded.port
