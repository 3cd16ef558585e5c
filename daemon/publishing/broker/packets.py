"""MQTT 3.1.1 control packets as records, decoded from bytes and encoded to bytes. No I/O.

Section numbers are those of the OASIS standard of 2014. QoS 2 is not supported: a client that uses it sends a
malformed packet here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

_PROTOCOL_NAMES = (b"MQTT", b"MQIsdp")  # the second is MQTT 3.1
_PROTOCOL_LEVEL = 4


class MalformedPacket(Exception):
    """Bytes that break the standard; the connection that sent them is closed."""


class UnsupportedProtocol(Exception):
    """A CONNECT of another version of MQTT than 3.1.1."""


class PacketType(IntEnum):
    """Section 2.2.1."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class ConnectCode(IntEnum):
    """Return codes of CONNACK, section 3.2.2.3."""

    ACCEPTED = 0
    PROTOCOL_VERSION = 1
    IDENTIFIER_REJECTED = 2
    SERVER_UNAVAILABLE = 3
    BAD_CREDENTIALS = 4
    NOT_AUTHORIZED = 5


# The flags that section 2.2.2 fixes for a packet that a client sends; PUBLISH has flags of its own.
_FIXED_FLAGS = {
    PacketType.CONNECT: 0,
    PacketType.PUBACK: 0,
    PacketType.SUBSCRIBE: 2,
    PacketType.UNSUBSCRIBE: 2,
    PacketType.PINGREQ: 0,
    PacketType.DISCONNECT: 0,
}


@dataclass(frozen=True, slots=True)
class PublishPacket:
    """An application message; ``packet_id`` is 0 with QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int = 0
    duplicate: bool = False

    def encode(self) -> bytes:
        topic = self.topic.encode()
        flags = (self.duplicate << 3) | (self.qos << 1) | self.retain
        packet_id = self.packet_id.to_bytes(2, "big") if self.qos else b""
        body = len(topic).to_bytes(2, "big") + topic + packet_id + self.payload
        return _packet(PacketType.PUBLISH, body, flags)


@dataclass(frozen=True, slots=True)
class ConnectPacket:
    """A client's first packet. ``username`` and ``password`` are None where the client sent none."""

    client_id: str
    clean_session: bool
    keepalive_s: int
    will: PublishPacket | None
    username: str | None
    password: bytes | None


@dataclass(frozen=True, slots=True)
class SubscribePacket:
    """Topic filters with the QoS that the client asks for."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class UnsubscribePacket:
    """Topic filters that the client no longer wants."""

    packet_id: int
    filters: tuple[str, ...]


def fixed_header(first: int) -> PacketType:
    """The packet type of a first byte. Raises MalformedPacket for a type or flags that no client may send."""
    try:
        kind = PacketType(first >> 4)
    except ValueError:
        raise MalformedPacket(f"packet type {first >> 4}") from None
    if kind is not PacketType.PUBLISH and _FIXED_FLAGS.get(kind) != first & 0x0F:
        raise MalformedPacket(f"first byte {first:#04x}")
    return kind


def decode_connect(body: bytes) -> ConnectPacket:
    """Raises MalformedPacket, or UnsupportedProtocol for another version of MQTT."""
    reader = _Reader(body)
    name, level = reader.blob(), reader.byte()
    if name not in _PROTOCOL_NAMES:
        raise MalformedPacket(f"protocol name {name[:20]!r}")
    if name != b"MQTT" or level != _PROTOCOL_LEVEL:
        raise UnsupportedProtocol(f"protocol level {level}")
    flags, keepalive_s, client_id = reader.byte(), reader.number(), reader.text()
    has_user, has_password, has_will = flags & 0x80, flags & 0x40, flags & 0x04
    will_qos, will_retain = flags >> 3 & 3, bool(flags & 0x20)
    if flags & 1 or will_qos > 1 or (not has_will and flags & 0x38) or (has_password and not has_user):
        raise MalformedPacket(f"connect flags {flags:#04x}")
    will = PublishPacket(reader.topic(), reader.blob(), will_qos, will_retain) if has_will else None
    packet = ConnectPacket(
        client_id=client_id,
        clean_session=bool(flags & 0x02),
        keepalive_s=keepalive_s,
        will=will,
        username=reader.text() if has_user else None,
        password=reader.blob() if has_password else None,
    )
    reader.finish()
    return packet


def decode_publish(first: int, body: bytes) -> PublishPacket:
    """Raises MalformedPacket, also for QoS 2."""
    qos, reader = first >> 1 & 3, _Reader(body)
    if qos > 1 or (qos == 0 and first & 0x08):
        raise MalformedPacket(f"publish flags {first & 0x0F:#03x}; QoS 0 and 1 are supported")
    topic = reader.topic()
    return PublishPacket(
        topic=topic,
        packet_id=reader.packet_id() if qos else 0,
        payload=reader.rest(),
        qos=qos,
        retain=bool(first & 1),
        duplicate=bool(first & 8),
    )


def decode_subscribe(body: bytes) -> SubscribePacket:
    """Raises MalformedPacket, also for no filter at all."""
    reader = _Reader(body)
    packet_id = reader.packet_id()
    filters: list[tuple[str, int]] = []
    while reader.more:
        topic_filter, qos = reader.text(), reader.byte()
        if qos > 2:
            raise MalformedPacket(f"requested QoS {qos}")
        filters.append((topic_filter, qos))
    if not filters:
        raise MalformedPacket("no topic filter")
    return SubscribePacket(packet_id, tuple(filters))


def decode_unsubscribe(body: bytes) -> UnsubscribePacket:
    """Raises MalformedPacket, also for no filter at all."""
    reader = _Reader(body)
    packet_id = reader.packet_id()
    filters: list[str] = []
    while reader.more:
        filters.append(reader.text())
    if not filters:
        raise MalformedPacket("no topic filter")
    return UnsubscribePacket(packet_id, tuple(filters))


def decode_puback(body: bytes) -> int:
    """The packet id that the client confirms. Raises MalformedPacket."""
    reader = _Reader(body)
    packet_id = reader.packet_id()
    reader.finish()
    return packet_id


def connack(code: ConnectCode, *, session_present: bool = False) -> bytes:
    return _packet(PacketType.CONNACK, bytes([session_present, code]))


def puback(packet_id: int) -> bytes:
    return _packet(PacketType.PUBACK, packet_id.to_bytes(2, "big"))


def suback(packet_id: int, codes: list[int]) -> bytes:
    """codes: the granted QoS of each filter, or 0x80 for a refused one."""
    return _packet(PacketType.SUBACK, packet_id.to_bytes(2, "big") + bytes(codes))


def unsuback(packet_id: int) -> bytes:
    return _packet(PacketType.UNSUBACK, packet_id.to_bytes(2, "big"))


def pingresp() -> bytes:
    return _packet(PacketType.PINGRESP, b"")


def as_duplicate(packet: PublishPacket) -> PublishPacket:
    """The packet as it is sent again."""
    return replace(packet, duplicate=True)


def _packet(kind: PacketType, body: bytes, flags: int = 0) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)[0], rest % 128
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([kind << 4 | flags]) + bytes(length) + body


class _Reader:
    """Reads the fields of one packet's body in order; raises MalformedPacket past its end."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    @property
    def more(self) -> bool:
        return self._place < len(self._body)

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def packet_id(self) -> int:
        packet_id = self.number()
        if packet_id == 0:
            raise MalformedPacket("packet id 0")
        return packet_id

    def blob(self) -> bytes:
        return self._take(self.number())

    def text(self) -> str:
        try:
            text = self.blob().decode()
        except UnicodeDecodeError as error:
            raise MalformedPacket(f"text that is not UTF-8: {error.reason}") from None
        if "\0" in text:
            raise MalformedPacket("text with a null character")
        return text

    def topic(self) -> str:
        topic = self.text()
        if not topic or "+" in topic or "#" in topic:
            raise MalformedPacket(f"topic {topic[:80]!r}")
        return topic

    def rest(self) -> bytes:
        return self._take(len(self._body) - self._place)

    def finish(self) -> None:
        if self.more:
            raise MalformedPacket("bytes after the last field")

    def _take(self, count: int) -> bytes:
        taken = self._body[self._place : self._place + count]
        if len(taken) < count:
            raise MalformedPacket("the packet ends within a field")
        self._place += count
        return taken
