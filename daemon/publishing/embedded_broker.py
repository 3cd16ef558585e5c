"""The broker inside the daemon: MQTT 3.1.1 on loopback, in the daemon's own loop, with nothing to install.

It is for the demo and for machines with no broker. amqtt keeps retained messages in memory only and its access
rules have holes, so it listens on loopback and nowhere else; mosquitto is the broker for everything beyond.
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
    # "external": amqtt serves the streams it is given, so that the socket, its port and its errors stay ours.
    "listeners": {"default": {"type": "external"}, _LISTENER: {"type": "external", "bind": "loopback"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}
_STOP_S = 3.0
_OPENING_S = 10.0
_CONNECT = 0x10
_MQTT_5 = 5
_REFUSAL = b"\x20\x02\x00\x01"  # CONNACK "unacceptable protocol version", MQTT 3.1.1 section 3.2.2.3


class EmbeddedBroker:
    """A broker on ``host``. Raises ConfigError unless that is an IPv4 loopback address."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = _loopback(host)
        self._broker: Broker | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> int:
        """Listens on ``port``, or on a free one for 0, and returns it. Raises Retryable where it is taken."""
        _quieten_amqtt()
        self._broker = Broker(_CONFIG)
        await self._broker.start()
        try:
            self._server = await asyncio.start_server(self._serve, self._host, port)
        except OSError as error:
            await self.stop()
            raise Retryable(
                f"the embedded broker cannot listen on {self._host}:{port}: {error.strerror}; "
                "stop what listens there, or name that broker in mqtt.url"
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
                await asyncio.wait_for(broker.shutdown(), _STOP_S)
            except TimeoutError:
                logging.getLogger(__name__).warning("the embedded broker did not end within %g s; left behind", _STOP_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            opening = await asyncio.wait_for(_opening(reader), _OPENING_S)
            if opening[-1] == _MQTT_5:
                # amqtt would take MQTT 5's properties for something else, and wait for more without an answer.
                writer.write(_REFUSAL)
            elif self._broker is not None:
                streams = _Rewound(reader, opening), StreamWriterAdapter(writer)
                await self._broker.external_connected(*streams, _LISTENER)
        except (OSError, EOFError, TimeoutError, AMQTTError, MQTTError) as error:
            # A client that left in mid-sentence is its own affair; amqtt lets the error out.
            logging.getLogger(__name__).debug("a client of the embedded broker left: %s", error)
        finally:
            self._writers.discard(writer)
            writer.close()


class _Rewound:
    """amqtt's ReaderAdapter over a stream, beginning with bytes that were read from it before."""

    def __init__(self, reader: asyncio.StreamReader, opening: bytes) -> None:
        self._reader = StreamReaderAdapter(reader)
        self._opening = opening

    async def read(self, n: int = -1) -> bytes:
        again, self._opening = (self._opening, b"") if n < 0 else (self._opening[:n], self._opening[n:])
        missing = n - len(again)
        return again + bytes(await self._reader.read(missing)) if missing else again

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def _opening(reader: asyncio.StreamReader) -> bytes:
    """The first bytes of a CONNECT packet, up to and with the protocol's version; of anything else its first byte."""
    opening = await reader.readexactly(1)
    if opening[0] != _CONNECT:
        return opening
    for _ in range(4):  # the length of the rest: up to four bytes, the last one below 128
        opening += await reader.readexactly(1)
        if opening[-1] < 128:
            break
    name_and_version = await reader.readexactly(7)  # two bytes of length, "MQTT", the version
    return opening + name_and_version


def _loopback(host: str) -> str:
    try:
        allowed = host == "localhost" or IPv4Address(host).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise ConfigError(
            [f"the embedded broker was asked to listen on {host!r}; it serves 127.0.0.1 only, use mosquitto beyond it"]
        )
    return "127.0.0.1" if host == "localhost" else host


def _quieten_amqtt() -> None:
    """amqtt reports every client that comes or goes as a warning; only its own failures are worth a line here."""
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.ERROR)
