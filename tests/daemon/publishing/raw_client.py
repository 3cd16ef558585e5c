"""A bare MQTT 3.1.1 client for tests: it confirms, stays silent or breaks the protocol as the test wants."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from tests.limits import LIMIT_S

PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP = 3, 4, 9, 11, 13


class Delivery(NamedTuple):
    """A PUBLISH packet as it came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    packet_id: int


class RawClient:
    """One connection. ``refusal`` is CONNACK's return code, 0 for accepted; ``resumed`` its session-present flag."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.refusal = -1
        self.resumed = False
        self.confirming = True
        self._reader = reader
        self._writer = writer
        self._last_id = 0
        self._received: list[Delivery] = []

    @classmethod
    async def connect(
        cls,
        port: int,
        client_id: str = "raw",
        *,
        clean: bool = True,
        keepalive_s: int = 60,
        will: tuple[str, bytes] | None = None,
        user: tuple[str, str] | None = None,
        confirming: bool = True,
    ) -> RawClient:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.confirming = confirming
        flags = (clean << 1) | (0x2C if will else 0) | (0xC0 if user else 0)  # will: QoS 1, retained
        fields = [client_id.encode(), *((will[0].encode(), will[1]) if will else ())]
        fields += [each.encode() for each in user or ()]
        body = b"\x00\x04MQTT\x04" + bytes([flags]) + keepalive_s.to_bytes(2, "big") + b"".join(map(_blob, fields))
        await client.send(0x10, body)
        first, answer = await client.packet()
        assert first == 0x20, f"first byte {first:#x}"
        client.resumed, client.refusal = bool(answer[0]), answer[1]
        return client

    async def send(self, first: int, body: bytes) -> None:
        self._writer.write(bytes([first]) + _length(len(body)) + body)
        await self._writer.drain()

    async def send_announcing(self, first: int, length: int, body: bytes) -> None:
        """Sends a packet whose header announces ``length`` bytes, with the beginning of its body."""
        self._writer.write(bytes([first]) + _length(length) + body)
        await self._writer.drain()

    async def packet(self, timeout_s: float = LIMIT_S) -> tuple[int, bytes]:
        """The next packet: its first byte and body. Raises EOFError or OSError once the broker closed."""
        async with asyncio.timeout(timeout_s):
            first = (await self._reader.readexactly(1))[0]
            length = shift = 0
            while True:
                digit = (await self._reader.readexactly(1))[0]
                length |= (digit & 127) << shift
                shift += 7
                if digit < 128:
                    break
            return first, await self._reader.readexactly(length)

    async def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """The granted QoS, 128 for a refusal."""
        await self.send(0x82, self._next_id() + _blob(topic_filter.encode()) + bytes([qos]))
        return (await self._answer(SUBACK))[2]

    async def unsubscribe(self, topic_filter: str) -> None:
        await self.send(0xA2, self._next_id() + _blob(topic_filter.encode()))
        await self._answer(UNSUBACK)

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Returns after the confirmation where there is one."""
        packet_id = self._next_id() if qos else b""
        await self.send(0x30 | qos << 1 | retain, _blob(topic.encode()) + packet_id + payload)
        if qos:
            await self._answer(PUBACK)

    async def confirm(self, delivery: Delivery) -> None:
        await self.send(0x40, delivery.packet_id.to_bytes(2, "big"))

    async def ping(self) -> None:
        await self.send(0xC0, b"")
        await self._answer(PINGRESP)

    async def receive(self, timeout_s: float = LIMIT_S) -> Delivery:
        if self._received:
            return self._received.pop(0)
        while True:
            first, body = await self.packet(timeout_s)
            if first >> 4 == PUBLISH:
                return await self._delivered(first, body)

    async def receive_all(self, quiet_s: float = 0.3) -> list[Delivery]:
        """Every message until none comes for ``quiet_s``."""
        received: list[Delivery] = []
        try:
            while True:
                received.append(await self.receive(quiet_s))
        except TimeoutError:
            return received

    async def closed_by_broker(self, timeout_s: float = LIMIT_S) -> bool:
        """Whether the broker closes the connection in this time."""
        try:
            while True:
                await self.packet(timeout_s)
        except TimeoutError:
            return False
        except (EOFError, OSError):
            return True

    async def disconnect(self) -> None:
        await self.send(0xE0, b"")
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _answer(self, kind: int) -> bytes:
        while True:
            first, body = await self.packet()
            if first >> 4 == kind:
                return body
            assert first >> 4 == PUBLISH, f"first byte {first:#x}"
            self._received.append(await self._delivered(first, body))

    async def _delivered(self, first: int, body: bytes) -> Delivery:
        qos, end = first >> 1 & 3, 2 + int.from_bytes(body[:2], "big")
        packet_id = int.from_bytes(body[end : end + 2], "big") if qos else 0
        payload = body[end + 2 * bool(qos) :]
        delivery = Delivery(body[2:end].decode(), payload, qos, bool(first & 1), bool(first & 8), packet_id)
        if qos and self.confirming:
            await self.confirm(delivery)
        return delivery

    def _next_id(self) -> bytes:
        self._last_id += 1
        return self._last_id.to_bytes(2, "big")


def _blob(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _length(count: int) -> bytes:
    digits = bytearray()
    while True:
        count, digit = count // 128, count % 128
        digits.append(digit | (128 if count else 0))
        if not count:
            return bytes(digits)
