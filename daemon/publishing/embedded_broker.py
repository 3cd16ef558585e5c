"""The embedded MQTT 3.1.1 broker: on loopback, in the daemon's event loop, with nothing to install.

It serves the demo and machines without a broker. Only the daemon publishes; every other client subscribes to this
instance's topics. Retained messages are kept in memory only. For other machines or several instances use mosquitto.
"""

from __future__ import annotations

import asyncio
import secrets
from ipaddress import IPv4Address

import structlog

from daemon.errors import ConfigError, Retryable
from daemon.publishing.broker.client_connection import ClientConnection
from daemon.publishing.broker.packets import ConnectPacket, MalformedPacket, PublishPacket
from daemon.publishing.broker.router import AccessDenied, ConnectRefused, MessageRouter
from daemon.publishing.broker.sessions import BrokerLimits, BrokerSession
from daemon.publishing.settings import PUBLISHER, EmbeddedAddress

log = structlog.get_logger(__name__)

_STOP_TIMEOUT_S = 3.0


class EmbeddedBroker:
    """The broker on ``host``. Raises ConfigError unless ``host`` is an IPv4 loopback address.

    tree: the topic below which clients may subscribe; empty for every topic.

    Who connects as the user PUBLISHER with the broker's password, random for each broker, may publish.
    """

    def __init__(self, tree: str = "", *, host: str = "127.0.0.1", limits: BrokerLimits | None = None) -> None:
        self._password = secrets.token_urlsafe(32)
        self._host = _loopback(host)
        self._limits = limits or BrokerLimits()
        self._router = MessageRouter(tree=tree, username=PUBLISHER, password=self._password, limits=self._limits)
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], ClientConnection] = {}
        self._connections: dict[str, ClientConnection] = {}
        self._pending: dict[ClientConnection, None] = {}

    async def start(self, port: int = 0) -> EmbeddedAddress:
        """Listens on ``port`` (0 for a free one) and returns the address. Raises Retryable if it is taken."""
        try:
            self._server = await asyncio.start_server(self._serve, self._host, port)
        except OSError as error:
            raise Retryable(
                f"the embedded broker cannot listen on {self._host}:{port}: {error.strerror}; "
                "stop the program that uses the port, set mqtt.embedded_port, or name that broker in mqtt.url"
            ) from error
        bound: int = self._server.sockets[0].getsockname()[1]
        return EmbeddedAddress(bound, self._password)

    async def stop(self) -> None:
        """Closes the port and every connection; may be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in self._serving.values():
            connection.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=_STOP_TIMEOUT_S)

    # ---------------------------------------------------------------- for the connections

    def open(self, connection: ClientConnection, packet: ConnectPacket) -> tuple[BrokerSession, bool]:
        """The client's session, and whether it continues an earlier one. Raises ConnectRefused.

        An earlier connection with this client id is closed (section 3.1.4).
        """
        self._pending.pop(connection, None)
        self._router.check(packet)
        earlier = self._connections.get(packet.client_id)
        if earlier is not None:
            earlier.close()
        session, present = self._router.open(packet)
        self._connections[session.client_id] = connection
        return session, present

    def closed(self, connection: ClientConnection, session: BrokerSession, will: PublishPacket | None) -> None:
        """The connection has ended: its session waits or goes, and its last will is published."""
        if self._connections.get(session.client_id) is connection:
            del self._connections[session.client_id]
        self._router.close(session)
        if will is not None:
            self.publish(session, will)

    def publish(self, session: BrokerSession, message: PublishPacket) -> None:
        """Passes a message of ``session`` to the subscribers. Raises AccessDenied."""
        for receiver in self._router.publish(session, message):
            connection = self._connections.get(receiver.client_id)
            if connection is not None:
                connection.work.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ClientConnection(reader, writer, router=self._router, peers=self, limits=self._limits)
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = connection
        self._pending[connection] = None
        if len(self._pending) > self._limits.pending:
            next(iter(self._pending)).close()
        try:
            await connection.serve()
        except AccessDenied as error:
            log.warning("embedded_broker_publish_refused", reason=str(error))
        except ConnectRefused as error:
            log.info("embedded_broker_connect_refused", reason=str(error))
        except (OSError, EOFError, TimeoutError, MalformedPacket) as error:
            log.debug("embedded_broker_client_lost", reason=str(error) or repr(error))
        finally:
            self._pending.pop(connection, None)
            self._serving.pop(task, None)


def _loopback(host: str) -> str:
    try:
        allowed = host == "localhost" or IPv4Address(host).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise ConfigError(
            [f"the embedded broker cannot listen on {host!r}: it serves 127.0.0.1 only; use mosquitto elsewhere"]
        )
    return "127.0.0.1" if host == "localhost" else host
