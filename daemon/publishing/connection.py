"""One MQTT connection to the broker over aiomqtt, with connection failures as errors that name a cure.

Only this module imports aiomqtt. The publisher depends on the protocol ``BrokerConnection`` and three errors, so
another MQTT library can replace it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import IPPROTO_TCP, SHUT_RDWR, TCP_NODELAY, gaierror, socket
from typing import Literal, Protocol

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from daemon.config.broker_url import Endpoint
from daemon.errors import Retryable
from daemon.publishing.settings import MqttSettings
from daemon.publishing.wire import STATUS_SCHEMA

MqttProtocol = Literal["5", "311"]

KEEPALIVE_S = 15
# Mosquitto and most others accept 20 unconfirmed messages; an MQTT 5 broker may announce fewer, which paho honours.
MAX_IN_FLIGHT = 20

_VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "311": aiomqtt.ProtocolVersion.V311}
_UNSUPPORTED_PROTOCOL_VERSION = 132
_BAD_CREDENTIALS = (134, 135, 140)  # bad user name or password, not authorised, bad authentication method
_CLOSE_S = 1.0


class BrokerLost(Retryable):
    """The broker cannot be reached or stopped answering."""


class AccessRefused(Retryable):
    """Credentials were refused, or a certificate or file is unusable; the message names what an operator must do."""


class ProtocolRefused(Retryable):
    """The broker does not support this version of MQTT."""


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """Parameters of a connection that are not in the configuration file. ``timeout_s`` bounds each answer."""

    client_id: str
    protocol: MqttProtocol
    will_topic: str
    will_payload: bytes
    timeout_s: float


class BrokerConnection(Protocol):
    """A connection accepted by the broker."""

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool, schema: str, model: str | None, expires_in_s: int | None
    ) -> None:
        """Publishes with QoS 1 and returns once the broker has confirmed (PUBACK). Raises BrokerLost."""
        ...

    async def watch(self) -> None:
        """Never returns; raises BrokerLost when the connection breaks."""
        ...


Connect = Callable[[MqttSettings, ConnectOptions], AbstractAsyncContextManager[BrokerConnection]]


class AiomqttConnection:
    """``BrokerConnection`` over aiomqtt 2."""

    def __init__(self, client: aiomqtt.Client, endpoint: Endpoint, protocol: MqttProtocol) -> None:
        self._client = client
        self._endpoint = endpoint
        self._protocol = protocol

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool, schema: str, model: str | None, expires_in_s: int | None
    ) -> None:
        properties = None
        if self._protocol == "5":
            properties = _properties(PacketTypes.PUBLISH, schema=schema, model=model, expires_in_s=expires_in_s)
        try:
            await self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        except aiomqtt.MqttError as error:
            raise BrokerLost(f"{self._endpoint} did not confirm a message: {error}") from error

    async def watch(self) -> None:
        try:
            async for _ in self._client.messages:
                # The client has no subscription, but some brokers send retained messages anyway.
                pass
        except aiomqtt.MqttError as error:
            raise BrokerLost(f"{self._endpoint} closed the connection or stopped answering: {error}") from error


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
    try:
        yield AiomqttConnection(client, endpoint, options.protocol)
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


async def _build_client(settings: MqttSettings, options: ConnectOptions) -> aiomqtt.Client:
    endpoint = settings.endpoint
    will_properties = None
    if options.protocol == "5":
        will_properties = _properties(PacketTypes.WILLMESSAGE, schema=STATUS_SCHEMA, model=None, expires_in_s=None)
    client = aiomqtt.Client(
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


def _properties(packet: int, *, schema: str, model: str | None, expires_in_s: int | None) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = "application/json"
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
        return _connack_failure(error, settings)
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


def _connack_failure(error: aiomqtt.MqttError, settings: MqttSettings) -> Retryable:
    """The error for a refusal in the broker's CONNACK, by its reason code."""
    reason = getattr(error, "rc", None)
    code = reason.value if isinstance(reason, ReasonCode) else reason
    endpoint = settings.endpoint
    if code == _UNSUPPORTED_PROTOCOL_VERSION:
        return ProtocolRefused(f"{endpoint} does not support this version of MQTT; set mqtt.protocol to auto")
    if code in _BAD_CREDENTIALS:
        cure = "check mqtt.username and mqtt.password_file" if settings.username else "set mqtt.username"
        return AccessRefused(f"{endpoint} refused {settings.username or 'an anonymous client'}: {reason}; {cure}")
    return BrokerLost(f"{endpoint} refused the connection: {error}")
