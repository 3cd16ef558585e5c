"""A network in memory: connections with latency that are refused, cut, or stand still."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

_LATENCY_S = (0.0005, 0.04)
_HIGH_WATER = 65_536
_FIRST_PORT = 20_000


class SimulatedProcess:
    """A process that uses the network. After ``die`` nothing that it does has an effect any more."""

    def __init__(self) -> None:
        self.dead = False
        self.connections: dict[SimulatedTransport, None] = {}
        self.ports: list[int] = []

    def die(self) -> None:
        """Its connections are cut, as the kernel does when a process is killed."""
        self.dead = True
        for connection in list(self.connections):
            connection.cut()


OUTSIDE = SimulatedProcess()
"""What is no daemon: the exchanges."""

current_process: ContextVar[SimulatedProcess] = ContextVar("current_process", default=OUTSIDE)


class SimulatedNetwork:
    """``refusing`` refuses new connections; ``frozen_until_s`` is when what is under way arrives at the earliest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        self.refusing = False
        self.frozen_until_s = 0.0
        self._loop = loop
        self._rng = rng
        self._listening: dict[int, Callable[[], asyncio.BaseProtocol]] = {}
        self._bound: dict[int, int] = {}  # the port to which a socket of the library belongs
        self._next_port = _FIRST_PORT

    def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], _host: Any = None, port: int | None = None, **_: Any
    ) -> SimulatedServer:
        if not port:
            self._next_port += 1
            port = self._next_port
        self._listening[port] = factory
        current_process.get().ports.append(port)
        return SimulatedServer(self, port)

    def close(self, port: int) -> None:
        self._listening.pop(port, None)

    def bind(self, sock: socket.socket, address: Any) -> None:
        """A library connects a socket of its own; it becomes a connection in ``connect``."""
        self._bound[sock.fileno()] = address[1]

    async def connect(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        _host: Any = None,
        port: int | None = None,
        *,
        sock: socket.socket | None = None,
        **_: Any,
    ) -> tuple[SimulatedTransport, asyncio.BaseProtocol]:
        """A connection to a port of this network. Raises ConnectionRefusedError where nothing listens or may."""
        if sock is not None:
            port = self._bound.pop(sock.fileno())
            sock.close()
        latency_s = self._rng.uniform(*_LATENCY_S)
        await asyncio.sleep(max(latency_s, self.frozen_until_s - self._loop.time()))
        process = current_process.get()
        accept = self._listening.get(port or 0)
        if accept is None or self.refusing or process.dead:
            raise ConnectionRefusedError(111, "Connection refused")
        near = SimulatedTransport(self, self._loop, latency_s, process, port)
        far = SimulatedTransport(self, self._loop, latency_s, OUTSIDE, port)
        near.peer, far.peer = far, near
        far.attach(accept())
        protocol = factory()
        near.attach(protocol)
        return near, protocol

    def cut_all(self, process: SimulatedProcess) -> None:
        """Cuts the connections of a process, as a router does that restarts."""
        for connection in list(process.connections):
            connection.cut()


class SimulatedServer:
    """A listening port, with what the libraries use of an asyncio server."""

    def __init__(self, network: SimulatedNetwork, port: int) -> None:
        self._network = network
        self.port = port
        self.sockets = (_ListeningSocket(port),)

    def close(self) -> None:
        self._network.close(self.port)

    def is_serving(self) -> bool:
        return True

    async def wait_closed(self) -> None:
        """It is closed at once."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


class _ListeningSocket:
    family = socket.AF_INET

    def __init__(self, port: int) -> None:
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port


class SimulatedTransport(asyncio.Transport):
    """One end of a connection; what is written arrives at ``peer`` in order, ``latency_s`` later."""

    peer: SimulatedTransport

    def __init__(
        self,
        network: SimulatedNetwork,
        loop: asyncio.AbstractEventLoop,
        latency_s: float,
        process: SimulatedProcess,
        port: int | None,
    ) -> None:
        super().__init__({"peername": ("127.0.0.1", port), "sockname": ("127.0.0.1", port)})
        self._network = network
        self._loop = loop
        self._latency_s = latency_s
        self._process = process
        self._protocol: Any = None
        self._inbox: deque[bytes | None] = deque()  # None: the other end will send nothing more
        self._inbox_bytes = 0
        self._reading = True
        self._closing = False
        self._lost = False
        self._writing_paused = False
        process.connections[self] = None

    # ---------------------------------------------------------------- asyncio.Transport

    def attach(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing or self._lost

    def is_reading(self) -> bool:
        return self._reading and not self.is_closing()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            for _ in self._inbox:
                self._loop.call_soon(self._deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are fixed."""

    def get_write_buffer_size(self) -> int:
        return max(self.peer._inbox_bytes - _HIGH_WATER, 0)

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if self.is_closing() or self._process.dead or not data:
            return
        self._send(bytes(data))
        if not self._writing_paused and self.get_write_buffer_size() > _HIGH_WATER:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not self.is_closing():
            self._send(None)

    def close(self) -> None:
        if not self.is_closing():
            self._closing = True
            self._send(None)
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self.cut()

    # ---------------------------------------------------------------- inside

    def cut(self) -> None:
        """Both ends lose the connection, the other one after the latency."""
        if not self._lost:
            self._closing = True
            self._loop.call_soon(self._lose, None)
            self._loop.call_later(self._latency_s, self.peer._lose, ConnectionResetError(104, "Connection reset"))

    def _send(self, data: bytes | None) -> None:
        peer = self.peer
        if peer._lost:
            return
        peer._inbox.append(data)
        peer._inbox_bytes += len(data or b"")
        after_s = max(self._latency_s, self._network.frozen_until_s - self._loop.time())
        self._loop.call_later(after_s, peer._deliver)

    def _deliver(self) -> None:
        """Hands over the oldest piece: each piece has a call of its own, whichever comes first."""
        if self._lost or not self._reading or not self._inbox:
            return
        data = self._inbox.popleft()
        if data is None:
            if not self._closing and not self._protocol.eof_received():
                self.close()
            return
        self._inbox_bytes -= len(data)
        self.peer._drained()
        if not self._closing:
            self._protocol.data_received(data)

    def _drained(self) -> None:
        if self._writing_paused and self.get_write_buffer_size() < _HIGH_WATER // 4:
            self._writing_paused = False
            self._protocol.resume_writing()

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._process.connections.pop(self, None)
        self._protocol.connection_lost(error)
