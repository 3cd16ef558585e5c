"""One client's socket at the embedded broker: reads its packets, sends what its session holds."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NoReturn, Protocol

from daemon.publishing.broker import packets
from daemon.publishing.broker.packets import (
    ConnectCode,
    ConnectPacket,
    MalformedPacket,
    PacketType,
    PublishPacket,
    UnsupportedProtocol,
)
from daemon.publishing.broker.router import ConnectRefused, MessageRouter
from daemon.publishing.broker.sessions import BrokerLimits, BrokerSession

CONNECT_TIMEOUT_S = 10.0
_FLUSH_S = 1.0
_KEEPALIVE_FACTOR = 1.5  # MQTT 3.1.1, section 3.1.2.10


class PacketTooLong(MalformedPacket):
    """A packet beyond the limit of its sender; it is not read."""


class Peers(Protocol):
    """What a connection needs of its broker."""

    def open(self, connection: ClientConnection, packet: ConnectPacket) -> tuple[BrokerSession, bool]:
        """The client's session, and whether it continues an earlier one. Raises ConnectRefused."""
        ...

    def closed(self, connection: ClientConnection, session: BrokerSession, will: PublishPacket | None) -> None:
        """The connection has ended; ``will`` is the message to publish for it."""
        ...

    def publish(self, session: BrokerSession, message: PublishPacket) -> None:
        """Passes a message on. Raises AccessDenied."""
        ...


class ClientConnection:
    """Serves one socket until the client leaves, breaks the protocol, is silent too long, or is replaced."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        router: MessageRouter,
        peers: Peers,
        limits: BrokerLimits,
    ) -> None:
        self.session: BrokerSession | None = None
        self.work = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._router = router
        self._peers = peers
        self._limits = limits
        self._will: PublishPacket | None = None
        self._silence_s: float | None = CONNECT_TIMEOUT_S
        self._closed = False

    async def serve(self) -> None:
        """Returns when the client disconnected.

        Raises:
            OSError, EOFError: the socket broke. TimeoutError: the client was silent beyond its keep-alive.
            MalformedPacket, ConnectRefused, AccessDenied: the broker ended the connection.
        """
        sending: asyncio.Task[None] | None = None
        try:
            first, body = await self._read_packet(self._limits.subscriber_packet_bytes)
            session = await self._open(first, body)
            sending = asyncio.create_task(self._send(session), name="embedded broker, sending")
            while await self._handle(session, *await self._read_packet(self._longest(session))):
                pass
            self._will = None  # an orderly end
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            self.close()

    def close(self) -> None:
        """Closes the socket, leaves the session and publishes the last will, once."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        # A client that reads nothing would keep the closed socket and what is written to it.
        asyncio.get_running_loop().call_later(_FLUSH_S, self._writer.transport.abort)
        if self.session is not None:
            self._peers.closed(self, self.session, self._will)

    # ---------------------------------------------------------------- from the client

    async def _read_packet(self, longest: int) -> tuple[int, bytes]:
        """A packet's first byte and its body. Raises PacketTooLong before the body of a longer one is read."""
        async with asyncio.timeout(self._silence_s):
            first = (await self._reader.readexactly(1))[0]
            packets.fixed_header(first)
            length = shift = 0
            while True:
                digit = (await self._reader.readexactly(1))[0]
                length |= (digit & 0x7F) << shift
                shift += 7
                if not digit & 0x80:
                    break
                if shift > 21:
                    raise MalformedPacket("a length of more than four bytes")
            if length > longest:
                raise PacketTooLong(f"a packet of {length} bytes; the limit is {longest}")
            return first, await self._reader.readexactly(length)

    async def _open(self, first: int, body: bytes) -> BrokerSession:
        if packets.fixed_header(first) is not PacketType.CONNECT:
            raise MalformedPacket("the first packet is not CONNECT")
        try:
            packet = packets.decode_connect(body)
            session, present = self._peers.open(self, packet)
        except UnsupportedProtocol as error:
            await self._refuse(ConnectRefused(ConnectCode.PROTOCOL_VERSION, str(error)))
        except ConnectRefused as error:
            await self._refuse(error)
        self.session, self._will = session, packet.will
        self._silence_s = packet.keepalive_s * _KEEPALIVE_FACTOR if packet.keepalive_s else None
        await self._reply(packets.connack(ConnectCode.ACCEPTED, session_present=present))
        self.work.set()
        return session

    async def _refuse(self, refusal: ConnectRefused) -> NoReturn:
        await self._reply(packets.connack(refusal.code))
        raise refusal

    async def _handle(self, session: BrokerSession, first: int, body: bytes) -> bool:
        """Whether the client stays."""
        match packets.fixed_header(first):
            case PacketType.PUBLISH:
                message = packets.decode_publish(first, body)
                self._peers.publish(session, message)
                if message.qos:
                    await self._reply(packets.puback(message.packet_id))
            case PacketType.PUBACK:
                session.confirm(packets.decode_puback(body))
                self.work.set()
            case PacketType.SUBSCRIBE:
                subscription = packets.decode_subscribe(body)
                codes = self._router.subscribe(session, subscription)
                await self._reply(packets.suback(subscription.packet_id, codes))
                self.work.set()
            case PacketType.UNSUBSCRIBE:
                ended = packets.decode_unsubscribe(body)
                for topic_filter in ended.filters:
                    session.filters.pop(topic_filter, None)
                await self._reply(packets.unsuback(ended.packet_id))
            case PacketType.PINGREQ:
                await self._reply(packets.pingresp())
            case PacketType.DISCONNECT:
                return False
            case _:
                raise MalformedPacket("a second CONNECT")
        return True

    def _longest(self, session: BrokerSession) -> int:
        return self._limits.publisher_packet_bytes if session.publisher else self._limits.subscriber_packet_bytes

    # ---------------------------------------------------------------- to the client

    async def _reply(self, packet: bytes) -> None:
        self._writer.write(packet)
        await self._writer.drain()

    async def _send(self, session: BrokerSession) -> None:
        """Sends what waits, as fast as the client reads it."""
        with contextlib.suppress(OSError):  # the reading side reports it
            while True:
                await self.work.wait()
                self.work.clear()
                while (packet := session.next_packet()) is not None:
                    self._writer.write(packet)
                    await self._writer.drain()
