"""The MQTT broker of a simulated world: it denies messages, hangs, loses confirmations and goes away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from daemon.publishing.connection import ConnectOptions
from daemon.publishing.failures import BrokerLost, ConnectionClosed, MessageRefused
from daemon.publishing.settings import MqttSettings
from tests.simulation.network import SimulatedProcess, current_process

_ANSWER_S = (0.001, 0.05)
_NOT_AUTHORISED = 0x87


@dataclass
class SimulatedBroker:
    """``away``: connections are refused. ``hanging_until_s``: nothing is confirmed before. ``denied``: a part of the
    topics that an access list refuses. ``lost_chance``: that the connection breaks between a message and its
    confirmation. on_message: called with each message that the broker takes.
    """

    rng: random.Random
    on_message: Callable[[str, bytes], None]
    away: bool = False
    hanging_until_s: float = 0.0
    denied: str = ""
    lost_chance: float = 0.0
    connections: dict[SimulatedConnection, None] = field(default_factory=dict)

    @asynccontextmanager
    async def connect(self, _settings: MqttSettings, options: ConnectOptions) -> AsyncIterator[SimulatedConnection]:
        """As ``daemon.publishing.connection.connect``."""
        await self._answer(options.timeout_s)
        process = current_process.get()
        if self.away or process.dead:
            raise BrokerLost("no broker listens")
        connection = SimulatedConnection(self, options, process)
        self.connections[connection] = None
        clean = False
        try:
            yield connection
            clean = True
        finally:
            self.connections.pop(connection, None)
            if not clean and not process.dead:
                self.on_message(options.will_topic, options.will_payload)

    def leave(self) -> None:
        """The broker stops: every connection ends without a reason."""
        self.away = True
        for connection in list(self.connections):
            connection.end()

    async def _answer(self, timeout_s: float) -> None:
        """Waits for the broker's answer. Raises BrokerLost where it takes too long."""
        loop = asyncio.get_running_loop()
        takes_s = max(self.rng.uniform(*_ANSWER_S), self.hanging_until_s - loop.time())
        await asyncio.sleep(min(takes_s, timeout_s))
        if takes_s > timeout_s:
            raise BrokerLost(f"the broker gave no answer within {timeout_s:g} s")


class SimulatedConnection:
    """One client's connection."""

    def __init__(self, broker: SimulatedBroker, options: ConnectOptions, process: SimulatedProcess) -> None:
        self._broker = broker
        self._options = options
        self._process = process
        self._ended = asyncio.Event()

    def end(self) -> None:
        """The broker closes the connection."""
        self._ended.set()

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool, schema: str, model: str | None, expires_in_s: int | None
    ) -> None:
        """Confirmed once it returns; see ``BrokerConnection``."""
        del retain, schema, model, expires_in_s
        broker = self._broker
        await broker._answer(self._options.timeout_s)
        if self._process.dead:
            await asyncio.Event().wait()
        self._demand_open()
        if broker.denied and broker.denied in topic:
            raise MessageRefused(f"not authorised ({_NOT_AUTHORISED:#x})")
        broker.on_message(topic, payload)
        if broker.rng.random() < broker.lost_chance:
            self.end()
        self._demand_open()

    async def watch(self) -> None:
        """Raises when the broker closes the connection."""
        await self._ended.wait()
        self._demand_open()

    def _demand_open(self) -> None:
        if self._ended.is_set():
            raise ConnectionClosed("the broker closed the connection", code=None, label="closed", unanswered=False)
