"""The embedded MQTT 3.1.1 broker: amqtt on loopback, in the daemon's event loop, with nothing to install.

It serves the demo and machines without a broker. amqtt keeps retained messages in memory only and its access rules
have holes, so it accepts loopback connections only; use mosquitto for anything else.
"""

from __future__ import annotations

import asyncio
import logging
from ipaddress import IPv4Address

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.errors import AMQTTError, MQTTError

from daemon.errors import ConfigError, Retryable

_LISTENER = "loopback"
_CONFIG = {
    # "external": amqtt serves streams that we accept, so that this module owns the socket, its port and its errors.
    "listeners": {"default": {"type": "external"}, _LISTENER: {"type": "external", "bind": "loopback"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}
_STOP_TIMEOUT_S = 3.0
_CONNECT_TIMEOUT_S = 10.0
_CONNECT = 0x10
_MQTT_5 = 5
_REFUSAL = b"\x20\x02\x00\x01"  # CONNACK "unacceptable protocol version", MQTT 3.1.1 section 3.2.2.3


class EmbeddedBroker:
    """The broker on ``host``. Raises ConfigError unless ``host`` is an IPv4 loopback address."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = _loopback(host)
        self._broker: Broker | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> int:
        """Listens on ``port`` (0 for a free one) and returns the port. Raises Retryable if it is taken."""
        _silence_amqtt_loggers()
        self._broker = Broker(_CONFIG)
        await self._broker.start()
        try:
            self._server = await asyncio.start_server(self._serve, self._host, port)
        except OSError as error:
            await self.stop()
            raise Retryable(
                f"the embedded broker cannot listen on {self._host}:{port}: {error.strerror}; "
                "stop the program that uses the port, or name that broker in mqtt.url"
            ) from error
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Closes the port and every connection; may be called twice."""
        server, self._server = self._server, None
        broker, self._broker = self._broker, None
        if server is not None:
            server.close()
        for writer in self._writers:
            writer.close()
        if broker is not None:
            try:
                await asyncio.wait_for(broker.shutdown(), _STOP_TIMEOUT_S)
            except TimeoutError:
                logging.getLogger(__name__).warning(
                    "the embedded broker did not stop within %g s; abandoned", _STOP_TIMEOUT_S
                )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            opening = await asyncio.wait_for(_read_connect_start(reader), _CONNECT_TIMEOUT_S)
            if opening[-1] == _MQTT_5:
                # amqtt would misread MQTT 5's properties and wait for more bytes without answering.
                writer.write(_REFUSAL)
            elif self._broker is not None:
                streams = _PrefixedReader(reader, opening), StreamWriterAdapter(writer)
                await self._broker.external_connected(*streams, _LISTENER)
        except (OSError, EOFError, TimeoutError, AMQTTError, MQTTError) as error:
            # A client that disconnects within a packet is no fault of the broker, but amqtt raises the error.
            logging.getLogger(__name__).debug("a client of the embedded broker disconnected: %s", error)
        finally:
            self._writers.discard(writer)
            writer.close()


class _PrefixedReader:
    """amqtt's ReaderAdapter over a stream; returns ``prefix`` (bytes already read from the stream) first."""

    def __init__(self, reader: asyncio.StreamReader, prefix: bytes) -> None:
        self._reader = StreamReaderAdapter(reader)
        self._prefix = prefix

    async def read(self, n: int = -1) -> bytes:
        prefix, self._prefix = (self._prefix, b"") if n < 0 else (self._prefix[:n], self._prefix[n:])
        remaining = n - len(prefix)
        return prefix + bytes(await self._reader.read(remaining)) if remaining else prefix

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def _read_connect_start(reader: asyncio.StreamReader) -> bytes:
    """Reads a CONNECT packet up to and including the protocol version; of any other packet only the first byte."""
    opening = await reader.readexactly(1)
    if opening[0] != _CONNECT:
        return opening
    for _ in range(4):  # remaining length: up to four bytes, the last one below 128
        opening += await reader.readexactly(1)
        if opening[-1] < 128:
            break
    name_and_version = await reader.readexactly(7)  # two length bytes, "MQTT", the version
    return opening + name_and_version


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


def _silence_amqtt_loggers() -> None:
    """amqtt logs a warning for every client that connects or disconnects; only critical failures are logged."""
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.ERROR)
