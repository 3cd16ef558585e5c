"""A broker for tests that answers as real ones do and mosquitto cannot be made to: limits, refusals, takeovers.

It speaks MQTT 5 and 3.1.1, reads CONNECT, PUBLISH, PINGREQ and DISCONNECT, and answers no SUBSCRIBE.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

NORMAL, NOT_AUTHORIZED, TAKEN_OVER, PACKET_TOO_LARGE, QUOTA = 0x00, 0x87, 0x8E, 0x95, 0x97


class FakeBroker:
    """The behaviour is set by attributes while it runs.

    announced: its maximum packet size in CONNACK. enforced: the size beyond which it disconnects with 0x95, or without
    a reason where ``silent`` is set. refusal: the reason code of PUBACK for a topic. connect_code: of CONNACK.
    closes_on_subscribe: it closes the connection instead of answering SUBSCRIBE, as some brokers do for a refusal.
    """

    def __init__(self) -> None:
        self.announced: int | None = None
        self.enforced: int | None = None
        self.silent = False
        self.refusal: Callable[[str], int] = lambda _topic: NORMAL
        self.connect_code = NORMAL
        self.closes_on_subscribe = False
        self.subscribed = 0
        self.port = 0
        self.connects: list[str] = []
        self.accepted: list[tuple[str, bytes]] = []
        self.refused: list[str] = []
        self.oversized: list[str] = []
        self._clients: dict[str, tuple[asyncio.StreamWriter, int]] = {}

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def topics(self) -> list[str]:
        return [topic for topic, _payload in self.accepted]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            version = await self._connect(reader, writer)
            if self.connect_code == NORMAL:
                await self._receive(reader, writer, version)
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    def close_all(self) -> None:
        for writer, _version in self._clients.values():
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        """The client's version of MQTT: 4 for 3.1.1, or 5."""
        _first, body = await _packet(reader)
        version = body[6]
        place = 10 if version == 4 else 11 + body[10]
        length = int.from_bytes(body[place : place + 2], "big")
        client_id = body[place + 2 : place + 2 + length].decode()
        self.connects.append(client_id)
        earlier = self._clients.pop(client_id, None)
        if earlier is not None:
            earlier[0].write(b"\xe0\x02\x8e\x00" if earlier[1] == 5 else b"")
            earlier[0].close()
        self._clients[client_id] = (writer, version)
        limit = b"" if self.announced is None else b"\x27" + self.announced.to_bytes(4, "big")
        answer = bytes([0, self.connect_code]) + (bytes([len(limit)]) + limit if version == 5 else b"")
        writer.write(bytes([0x20, len(answer)]) + answer)
        return version

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        while True:
            first, body = await _packet(reader)
            if first >> 4 == 14:
                return
            if first >> 4 == 12:
                writer.write(b"\xd0\x00")
            if first >> 4 == 8:
                self.subscribed += 1
                if self.closes_on_subscribe:
                    return
            if first >> 4 == 3 and not self._published(body, writer, version):
                return

    def _published(self, body: bytes, writer: asyncio.StreamWriter, version: int) -> bool:
        end = 2 + int.from_bytes(body[:2], "big")
        topic, packet_id, rest = body[2:end].decode(), body[end : end + 2], body[end + 2 :]
        size = 1 + (1 if len(body) < 128 else 2 if len(body) < 16_384 else 3) + len(body)
        if self.enforced is not None and size > self.enforced:
            self.oversized.append(topic)
            writer.write(b"" if self.silent or version == 4 else b"\xe0\x02\x95\x00")
            return False
        code = self.refusal(topic)
        if code == NORMAL:
            payload = rest[1 + rest[0] :] if version == 5 else rest
            self.accepted.append((topic, payload))
        else:
            self.refused.append(topic)
        writer.write(b"\x40\x03" + packet_id + bytes([code]) if version == 5 else b"\x40\x02" + packet_id)
        return True


@asynccontextmanager
async def fake_broker() -> AsyncIterator[FakeBroker]:
    broker = FakeBroker()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        broker.close_all()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 127) << shift
        shift += 7
        if digit < 128:
            return first, await reader.readexactly(length)
