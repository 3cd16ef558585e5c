"""One MQTT connection to the broker over aiomqtt, with failures as errors that name the reason and a cure.

The publisher depends on the protocol ``BrokerConnection`` and its errors, so another MQTT library can replace it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import IPPROTO_TCP, SHUT_RDWR, TCP_NODELAY, gaierror, socket
from typing import Protocol

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from daemon.config.broker_url import Endpoint
from daemon.errors import Retryable
from daemon.publishing.failures import (
    AccessRefused,
    BrokerLost,
    ConnectionClosed,
    MessageRefused,
    MessageTooLarge,
    ProtocolRefused,
    SessionTakenOver,
)
from daemon.publishing.mqtt_client import ReasonedClient
from daemon.publishing.reason_codes import (
    ACCESS_CODES,
    FIRST_ERROR,
    SESSION_TAKEN_OVER,
    UNSUPPORTED_PROTOCOL_VERSION,
    reason,
)
from daemon.publishing.settings import MqttProtocol, MqttSettings
from daemon.publishing.wire import STATUS_SCHEMA

KEEPALIVE_S = 15
# Mosquitto and most others accept 20 unconfirmed messages; an MQTT 5 broker may announce fewer, which paho honours.
MAX_IN_FLIGHT = 20

_VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "311": aiomqtt.ProtocolVersion.V311}
_CLOSE_S = 1.0
_LENGTHS_BYTES = 4  # two of the topic's length, two of the packet id
_CREDENTIALS = "check mqtt.username and mqtt.password_file"
_SMALLER = "raise its limit (mosquitto: max_packet_size), or set fewer model.horizons or model.quantiles"


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """Parameters of a connection that are not in the configuration file. ``timeout_s`` bounds each answer.

    on_status: called with each new message on ``will_topic``, the daemon's own included with MQTT 3.1.1; None to
        subscribe to nothing.
    """

    client_id: str
    protocol: MqttProtocol
    will_topic: str
    will_payload: bytes
    timeout_s: float
    on_status: Callable[[bytes], None] | None = None


class BrokerConnection(Protocol):
    """A connection accepted by the broker."""

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool, schema: str, model: str | None, expires_in_s: int | None
    ) -> None:
        """Publishes with QoS 1 and returns once the broker has accepted the message (PUBACK).

        Raises:
            BrokerLost: there was no confirmation. MessageRefused, MessageTooLarge: this message is not accepted.
        """
        ...

    async def watch(self) -> None:
        """Never returns; raises BrokerLost when the connection breaks."""
        ...


Connect = Callable[[MqttSettings, ConnectOptions], AbstractAsyncContextManager[BrokerConnection]]


class AiomqttConnection:
    """``BrokerConnection`` over aiomqtt 2."""

    def __init__(self, client: ReasonedClient, endpoint: Endpoint, options: ConnectOptions) -> None:
        self._client = client
        self._endpoint = endpoint
        self._client_id = options.client_id
        self._protocol = options.protocol
        self._on_status = options.on_status

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool, schema: str, model: str | None, expires_in_s: int | None
    ) -> None:
        properties = None
        if self._protocol == "5":
            properties = _properties(PacketTypes.PUBLISH, schema=schema, model=model, expires_in_s=expires_in_s)
        self._check_size(topic, payload, properties)
        try:
            code = await self._client.publish_confirmed(topic, payload, retain=retain, properties=properties)
        except aiomqtt.MqttError as error:
            raise self._closed() or BrokerLost(f"{self._endpoint} did not confirm a message: {error}") from error
        if code >= FIRST_ERROR:
            raise MessageRefused(str(reason(code)))

    async def watch(self) -> None:
        try:
            async for message in self._client.messages:
                if self._on_status is not None and not message.retain and isinstance(message.payload, bytes):
                    self._on_status(message.payload)
        except aiomqtt.MqttError as error:
            raise self._closed() or BrokerLost(f"{self._endpoint} stopped answering: {error}") from error

    def _check_size(self, topic: str, payload: bytes, properties: Properties | None) -> None:
        limit = self._client.max_packet_bytes
        if limit is None:
            return
        packed = properties.pack() if properties is not None else b"\0"[: self._protocol == "5"]  # type: ignore[no-untyped-call]
        size = _packet_bytes(_LENGTHS_BYTES + len(topic.encode()) + len(packed) + len(payload))
        if size > limit:
            raise MessageTooLarge(f"the packet has {size:,} bytes and the broker takes {limit:,}; {_SMALLER}")

    def _closed(self) -> ConnectionClosed | None:
        """Why the broker closed the connection; None where the connection failed otherwise."""
        code = self._client.disconnect_code
        if code is not None and code >= FIRST_ERROR:
            kind = SessionTakenOver if code == SESSION_TAKEN_OVER else ConnectionClosed
            message = f"{self._endpoint} ended the connection of client {self._client_id}: {reason(code)}"
            return kind(message, code=code, label=reason(code).label, unanswered=self._client.subscription_pending)
        if self._client.closed_by_broker or code is not None:
            message = f"{self._endpoint} closed the connection of client {self._client_id} without a reason{self._hint}"
            return ConnectionClosed(message, code=None, label="closed", unanswered=self._client.subscription_pending)
        return None

    @property
    def _hint(self) -> str:
        if self._protocol == "5":
            return ""
        return " (MQTT 3.1.1 has none; a second daemon with this client id, or a message too large for it, does this)"


@asynccontextmanager
async def connect(settings: MqttSettings, options: ConnectOptions) -> AsyncIterator[BrokerConnection]:
    """Opens a connection with a retained last will of QoS 1.

    A block that ends without an error sends DISCONNECT; after an error the connection is cut, so that the broker
    publishes the last will.

    Raises:
        BrokerLost, AccessRefused or ProtocolRefused: the connection failed.
    """
    endpoint = settings.endpoint
    client = await _build_client(settings, options)
    try:
        await client.__aenter__()
    except aiomqtt.MqttError as error:
        await _abort(client)
        raise _connect_failure(error, settings, options) from error
    if options.on_status is not None:
        client.watch(options.will_topic, mqtt_5=options.protocol == "5")
    try:
        yield AiomqttConnection(client, endpoint, options)
    except BaseException:
        await _abort(client)
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            # aiomqtt's own task ends only after it has seen the disconnection.
            await asyncio.wait_for(anext(client.messages), _CLOSE_S)
        raise
    try:
        await client.__aexit__(None, None, None)
    except aiomqtt.MqttError as error:
        raise BrokerLost(f"{endpoint} disconnected before the connection was closed: {error}") from error


async def _build_client(settings: MqttSettings, options: ConnectOptions) -> ReasonedClient:
    endpoint = settings.endpoint
    will_properties = None
    if options.protocol == "5":
        will_properties = _properties(PacketTypes.WILLMESSAGE, schema=STATUS_SCHEMA, model=None, expires_in_s=None)
    client = ReasonedClient(
        endpoint.host,
        endpoint.port,
        identifier=options.client_id,
        protocol=_VERSIONS[options.protocol],
        username=settings.username or None,
        password=await asyncio.to_thread(_password, settings),
        tls_context=await asyncio.to_thread(_tls_context, settings) if endpoint.tls else None,
        will=aiomqtt.Will(options.will_topic, options.will_payload, qos=1, retain=True, properties=will_properties),
        timeout=options.timeout_s,
        keepalive=KEEPALIVE_S,
        max_inflight_messages=MAX_IN_FLIGHT,
        # With Nagle's algorithm on, concurrent messages wait for each other's TCP acknowledgement, 40 ms on Linux.
        socket_options=[(IPPROTO_TCP, TCP_NODELAY, 1)],
    )
    # aiomqtt logs a warning per message beyond 10 pending calls.
    client.pending_calls_threshold = 2 * MAX_IN_FLIGHT
    return client


async def _abort(client: aiomqtt.Client) -> None:
    """Shuts the socket down without DISCONNECT. aiomqtt offers no call for that, and keeps a failed attempt open."""
    transport = client._client.socket()  # noqa: SLF001  # no public way to the socket of a client that hangs
    if isinstance(transport, socket):
        with contextlib.suppress(OSError):
            transport.shutdown(SHUT_RDWR)
    await asyncio.sleep(0)


def _packet_bytes(remaining: int) -> int:
    """The size of a packet: its first byte, one to four bytes of length, and what they announce."""
    return 1 + max(1, math.ceil(remaining.bit_length() / 7)) + remaining


def _properties(packet: int, *, schema: str, model: str | None, expires_in_s: int | None) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = "application/json"
    if schema:
        properties.UserProperty = [("schema", schema), *([("model", model)] if model else [])]
    if expires_in_s is not None:
        properties.MessageExpiryInterval = expires_in_s
    return properties


def _password(settings: MqttSettings) -> str | None:
    if not settings.password_file:
        return settings.password or None
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AccessRefused(f"mqtt.password_file {settings.password_file} cannot be read: {error}") from error


def _tls_context(settings: MqttSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:  # includes ssl.SSLError: not a PEM file, or a key of another certificate
        raise AccessRefused(
            f"mqtt.ca_file, mqtt.cert_file or mqtt.key_file cannot be used: {error}; each must be a readable PEM file"
        ) from error
    return context


def _connect_failure(error: aiomqtt.MqttError, settings: MqttSettings, options: ConnectOptions) -> Retryable:
    """Converts aiomqtt's error into one that names the fault and the cure."""
    endpoint = settings.endpoint
    if isinstance(error, aiomqtt.exceptions.MqttConnectError):
        return _connack_failure(error, settings, options.client_id)
    cause = error.__context__  # aiomqtt raises its own error while handling the operating system's
    if isinstance(cause, ssl.SSLCertVerificationError):
        return AccessRefused(
            f"the certificate of {endpoint} is not trusted: {cause.verify_message}; "
            "set mqtt.ca_file to the authority that signed it, and mqtt.url to a name that it holds"
        )
    if isinstance(cause, ssl.SSLError):
        return AccessRefused(f"TLS with {endpoint} failed: {cause.reason}; check that this port speaks TLS")
    if isinstance(cause, gaierror):
        return BrokerLost(f"{endpoint} has no address: {cause.strerror}; check mqtt.url and the DNS")
    if isinstance(cause, ConnectionRefusedError):
        return BrokerLost(f"no broker listens at {endpoint}; start it or correct mqtt.url")
    if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
        return BrokerLost(f"{endpoint} cannot be reached: {cause}")
    return BrokerLost(
        f"{endpoint} gave no answer within {options.timeout_s:g} s; for a broker that closes MQTT {options.protocol} "
        'connections without an answer set mqtt.protocol to the other version ("5" or "311")'
    )


def _connack_failure(error: aiomqtt.MqttError, settings: MqttSettings, client_id: str) -> Retryable:
    """The error for a refusal in the broker's CONNACK, by its reason code."""
    answer = getattr(error, "rc", None)
    code = answer.value if isinstance(answer, ReasonCode) else answer
    endpoint = settings.endpoint
    if not isinstance(code, int):
        return BrokerLost(f"{endpoint} refused the connection: {error}")
    why = reason(code)
    if code == UNSUPPORTED_PROTOCOL_VERSION:
        message = f"{endpoint} does not support this version of MQTT; set mqtt.protocol to auto"
        return ProtocolRefused(message, label=why.label)
    if code not in ACCESS_CODES:
        return BrokerLost(f"{endpoint} refused the connection: {why}", label=why.label)
    user = f"user {settings.username}" if settings.username else "an anonymous client"
    cure = f"{_CREDENTIALS}, or {why.cure}" if settings.username else f"set mqtt.username, or {why.cure}"
    return AccessRefused(f"{endpoint} refused {user} with client id {client_id}: {why.name}; {cure}", label=why.label)
