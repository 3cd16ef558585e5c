"""A link between the daemon and its broker that refuses, limits, takes over and stalls, as brokers do."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiomqtt

from daemon.publishing.reason_codes import PACKET_TOO_LARGE, SESSION_TAKEN_OVER

NOT_AUTHORIZED, SERVER_BUSY, QUOTA_EXCEEDED = 0x87, 0x89, 0x97
_CONNECT, _CONNACK, _PUBLISH, _PUBACK = 1, 2, 3, 4
_MAXIMUM_PACKET_SIZE = 0x27  # a property of CONNACK


class BrokerLink:
    """Forwards MQTT 5 packets to the broker at ``broker_port``. Faults are attributes, which may change at any time.

    refusal: the reason code for a topic's messages, which then do not reach the broker; 0 to forward them.
    announced: the maximum packet size in CONNACK. enforced: a longer PUBLISH ends the connection with 0x95.
    connect_code: the reason code of CONNACK. stalled: nothing is forwarded in either direction.

    accepted: what the broker confirmed, by topic and payload. refused, oversized: topics of what it was not given.
    """

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self.port = 0
        self.client_id = ""
        self.refusal: Callable[[str], int] = lambda _topic: 0
        self.announced: int | None = None
        self.enforced: int | None = None
        self.connect_code = 0
        self.stalled = False
        self.connects = 0
        self.accepted: set[tuple[str, bytes]] = set()
        self.refused: Counter[str] = Counter()
        self.oversized: Counter[str] = Counter()
        self._clients: set[asyncio.StreamWriter] = set()
        self._served: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Ends every connection without a word."""
        for writer in self._clients:
            writer.close()

    async def take_over(self) -> None:
        """Connects another client with the daemon's client id, which ends the daemon's session.

        The link tells the daemon so, because mosquitto 2.0 closes the connection without the reason.
        """
        for writer in self._clients:
            writer.write(bytes([0xE0, 2, SESSION_TAKEN_OVER, 0]))
        async with aiomqtt.Client(
            "127.0.0.1", self._broker_port, identifier=self.client_id, protocol=aiomqtt.ProtocolVersion.V5
        ):
            pass

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def end(self) -> None:
        self.cut()
        for task in self._served:
            task.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            self._end(writer)
            return
        connection = _Connection(self, writer, broker_writer)
        ways = [
            asyncio.create_task(connection.pass_on(reader, connection.from_client)),
            asyncio.create_task(connection.pass_on(broker_reader, connection.from_broker)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._end(writer)
            broker_writer.close()

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._clients.discard(writer)
        writer.close()


class _Connection:
    """One connection of a client, with what it has in flight."""

    def __init__(self, link: BrokerLink, client: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self._link, self._client, self._broker = link, client, broker
        self._in_flight: dict[bytes, tuple[str, bytes]] = {}

    async def pass_on(self, reader: asyncio.StreamReader, take: Callable[[int, bytes], bool]) -> None:
        """Gives each packet to ``take`` until it returns False or a side is gone."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                first, body = await _packet(reader)
                while self._link.stalled:
                    await asyncio.sleep(0.05)
                if not take(first, body):
                    return
                await self._client.drain()
                await self._broker.drain()

    def from_client(self, first: int, body: bytes) -> bool:
        if first >> 4 == _CONNECT:
            return self._connect(first, body)
        if first >> 4 == _PUBLISH:
            return self._publish(first, body)
        self._broker.write(_framed(first, body))
        return True

    def from_broker(self, first: int, body: bytes) -> bool:
        if first >> 4 == _PUBACK:
            sent = self._in_flight.pop(body[:2], None)
            if sent is not None and (len(body) < 3 or body[2] < 0x80):
                self._link.accepted.add(sent)
        elif first >> 4 == _CONNACK and self._link.announced is not None:
            length = body[2]  # of the properties, below 128
            limit = bytes([_MAXIMUM_PACKET_SIZE]) + self._link.announced.to_bytes(4, "big")
            body = body[:2] + bytes([length + len(limit)]) + limit + body[3:]
        self._client.write(_framed(first, body))
        return True

    def _connect(self, first: int, body: bytes) -> bool:
        start = 13 + body[10]  # behind the protocol's name, its version, flags, keep-alive and properties
        length = int.from_bytes(body[start - 2 : start], "big")
        self._link.client_id = body[start : start + length].decode()
        self._link.connects += 1
        if self._link.connect_code:
            self._client.write(bytes([0x20, 3, 0, self._link.connect_code, 0]))
            return False
        self._broker.write(_framed(first, body))
        return True

    def _publish(self, first: int, body: bytes) -> bool:
        end = 2 + int.from_bytes(body[:2], "big")
        topic, packet_id, rest = body[2:end].decode(), body[end : end + 2], body[end + 2 :]
        packet = _framed(first, body)
        if self._link.enforced is not None and len(packet) > self._link.enforced:
            self._link.oversized[topic] += 1
            self._client.write(bytes([0xE0, 2, PACKET_TOO_LARGE, 0]))
            return False
        if code := self._link.refusal(topic):
            self._link.refused[topic] += 1
            self._client.write(b"\x40\x03" + packet_id + bytes([code]))
            return True
        properties, size = _number(rest)
        self._in_flight[packet_id] = topic, rest[size + properties :]
        self._broker.write(packet)
        return True


@asynccontextmanager
async def linked(broker_port: int) -> AsyncIterator[BrokerLink]:
    link = BrokerLink(broker_port)
    server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        await link.end()


def _number(data: bytes) -> tuple[int, int]:
    """A variable byte integer and its size."""
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, place + 1
    raise EOFError


def _framed(first: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length += bytes([digit | (128 if rest else 0)])
        if not rest:
            return bytes([first]) + length + body


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first = (await reader.readexactly(1))[0]
    length = b""
    while not length or length[-1] & 128:
        length += await reader.readexactly(1)
    return first, await reader.readexactly(_number(length)[0])
