"""Routes the embedded broker's messages to sessions, keeps the retained ones, and decides who may do what. No I/O."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import replace

from daemon.publishing.broker.packets import ConnectCode, ConnectPacket, PublishPacket, SubscribePacket
from daemon.publishing.broker.sessions import BrokerLimits, BrokerSession
from daemon.publishing.broker.topic_filters import is_valid, reaches

_REFUSED = 0x80  # SUBACK, section 3.9.3


class AccessDenied(Exception):
    """A client does what only the daemon may do; its connection is closed."""


class ConnectRefused(Exception):
    """The connection is refused with ``code``."""

    def __init__(self, code: ConnectCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class MessageRouter:
    """All sessions and retained messages of the broker.

    Only a client with ``username`` and ``password`` publishes. Others subscribe to ``tree`` and what is below it; the
    empty tree is everything.
    """

    def __init__(self, *, tree: str, username: str, password: str, limits: BrokerLimits) -> None:
        self._tree = tree
        self._username = username
        self._password = password.encode()
        self._limits = limits
        self._retained: dict[str, PublishPacket] = {}
        self._sessions: dict[str, BrokerSession] = {}
        self._online: set[str] = set()
        self._unnamed = 0

    def check(self, packet: ConnectPacket) -> bool:
        """Whether the client may publish. Raises ConnectRefused where it may not connect."""
        publisher = self._is_publisher(packet)
        if not packet.client_id and not packet.clean_session:
            raise ConnectRefused(ConnectCode.IDENTIFIER_REJECTED, "a lasting session needs a client id")
        if len(packet.client_id) > self._limits.text:
            raise ConnectRefused(ConnectCode.IDENTIFIER_REJECTED, f"a client id of {len(packet.client_id)} characters")
        if not publisher:
            self._check_subscriber(packet)
        return publisher

    def open(self, packet: ConnectPacket) -> tuple[BrokerSession, bool]:
        """The client's session, and whether it continues an earlier one. Raises ConnectRefused."""
        publisher = self.check(packet)
        earlier = self._sessions.get(packet.client_id)
        resumed = earlier if earlier is not None and not packet.clean_session and not earlier.clean else None
        session = resumed or BrokerSession(
            packet.client_id or self._new_client_id(),
            clean=packet.clean_session,
            publisher=publisher,
            retained=self._retained,
            limits=self._limits,
        )
        self._sessions.pop(session.client_id, None)
        self._sessions[session.client_id] = session
        self._online.add(session.client_id)
        session.resume()
        return session, resumed is not None

    def close(self, session: BrokerSession) -> None:
        """The client left. A session that another connection has replaced is left alone."""
        if self._sessions.get(session.client_id) is not session:
            return
        self._online.discard(session.client_id)
        if session.clean:
            del self._sessions[session.client_id]
            return
        session.pause()
        offline = [name for name in self._sessions if name not in self._online]
        for name in offline[: max(0, len(offline) - self._limits.offline_sessions)]:
            del self._sessions[name]

    def publish(self, session: BrokerSession, message: PublishPacket) -> Iterator[BrokerSession]:
        """Keeps a retained message and yields the sessions with something new to send. Raises AccessDenied."""
        if not session.publisher:
            raise AccessDenied(f"client {session.client_id!r} published to {message.topic[:120]!r}")
        if message.retain:
            self._keep(message)
        return (each for each in list(self._sessions.values()) if self._offer(each, message))

    def subscribe(self, session: BrokerSession, packet: SubscribePacket) -> list[int]:
        """The granted QoS of each filter, 0x80 for one that is invalid or reaches nothing of the tree."""
        codes = []
        for topic_filter, requested in packet.filters:
            if not self._allows(session, topic_filter):
                codes.append(_REFUSED)
                continue
            qos = min(requested, 1)
            session.filters[topic_filter] = qos
            session.request_retained(topic_filter, qos)
            codes.append(qos)
        return codes

    def _allows(self, session: BrokerSession, topic_filter: str) -> bool:
        full = len(session.filters) >= self._limits.filters and topic_filter not in session.filters
        too_long = len(topic_filter) > self._limits.text
        return not full and not too_long and is_valid(topic_filter) and reaches(topic_filter, self._tree)

    def _offer(self, session: BrokerSession, message: PublishPacket) -> bool:
        return session.offer(message, online=session.client_id in self._online)

    def _keep(self, message: PublishPacket) -> None:
        if not message.payload:
            self._retained.pop(message.topic, None)
        elif message.topic in self._retained or len(self._retained) < self._limits.retained:
            self._retained[message.topic] = replace(message, packet_id=0, duplicate=False)

    def _is_publisher(self, packet: ConnectPacket) -> bool:
        if packet.username != self._username:
            return False
        if not hmac.compare_digest(packet.password or b"", self._password):
            raise ConnectRefused(ConnectCode.BAD_CREDENTIALS, f"wrong password of user {self._username!r}")
        return True

    def _check_subscriber(self, packet: ConnectPacket) -> None:
        earlier = self._sessions.get(packet.client_id)
        if earlier is not None and earlier.publisher:
            raise ConnectRefused(ConnectCode.IDENTIFIER_REJECTED, "the client id is the daemon's own")
        if packet.will is not None:
            raise ConnectRefused(ConnectCode.NOT_AUTHORIZED, "a last will is a message, and only the daemon publishes")
        online = sum(not self._sessions[name].publisher for name in self._online)
        if packet.client_id not in self._online and online >= self._limits.clients:
            raise ConnectRefused(ConnectCode.SERVER_UNAVAILABLE, f"{online} clients are connected, the maximum")

    def _new_client_id(self) -> str:
        self._unnamed += 1
        return f"unnamed-{self._unnamed}"
