import asyncio
import logging

import aiomqtt
import pytest
import uvloop

from daemon.errors import ConfigError, Retryable
from daemon.publishing.embedded_broker import EmbeddedBroker
from tests.daemon.publishing.brokers import subscribed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.org", ""])
def test_any_address_beyond_loopback_is_refused(host: str) -> None:
    """The embedded broker has no reliable access control, so it serves loopback only."""
    with pytest.raises(ConfigError, match="mosquitto"):
        EmbeddedBroker(host)


async def test_a_retained_message_reaches_a_later_subscriber(embedded_port: int) -> None:
    """The broker supports QoS 1 and retained messages, without a password on loopback."""
    async with aiomqtt.Client("127.0.0.1", embedded_port) as client:
        await client.publish("a/b", b"kept", qos=1, retain=True)
    async with subscribed(embedded_port, "a/#", version="311") as subscriber:
        assert [message.payload for message in await subscriber.until(1)] == [b"kept"]


async def test_the_broker_publishes_no_messages_of_its_own(embedded_port: int) -> None:
    """There are no $SYS topics."""
    async with subscribed(embedded_port, "$SYS/#", version="311") as subscriber:
        await asyncio.sleep(0.2)
    assert subscriber.messages == []


async def test_a_port_in_use_is_a_retryable_error() -> None:
    """The error names the address; the program that uses the port may release it."""
    first, second = EmbeddedBroker(), EmbeddedBroker()
    port = await first.start()
    with pytest.raises(Retryable, match=str(port)):
        await second.start(port)
    await first.stop()


async def test_stop_may_be_called_twice_and_frees_the_port() -> None:
    """The broker starts again on the same port after a stop."""
    broker = EmbeddedBroker()
    port = await broker.start()
    await broker.stop()
    await broker.stop()
    assert await broker.start(port) == port
    await broker.stop()


async def test_clients_that_disconnect_within_a_packet_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """Half a packet, a refused protocol or a reset raises no unhandled error and logs nothing above debug."""
    unhandled: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
    broker = EmbeddedBroker()
    port = await broker.start()
    with caplog.at_level(logging.INFO):
        for opening in (b"", b"\x10", b"GET / HTTP/1.1\r\n\r\n", b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x0f\x00\x00"):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(opening)
            await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.1)
        await broker.stop()
        await asyncio.sleep(0.05)
    assert unhandled == []
    assert caplog.records == []


async def test_mqtt_5_is_refused_with_a_reason(embedded_port: int) -> None:
    """An MQTT 5 client receives "Unsupported protocol version", with a last will and without."""
    for will in (None, aiomqtt.Will("a", b"gone", qos=1, retain=True)):
        client = aiomqtt.Client("127.0.0.1", embedded_port, protocol=aiomqtt.ProtocolVersion.V5, will=will, timeout=2)
        with pytest.raises(aiomqtt.exceptions.MqttConnectError, match="Unsupported protocol version"):
            await client.__aenter__()


async def test_a_lost_client_has_its_last_will_published(embedded_port: int) -> None:
    """The will is published and retained when a connection ends without DISCONNECT."""
    async with subscribed(embedded_port, "a", version="311") as subscriber:
        _reader, writer = await asyncio.open_connection("127.0.0.1", embedded_port)
        # CONNECT: MQTT 3.1.1, clean session, will of QoS 1 retained, keep-alive 60 s, client "c", will "a" "gone"
        writer.write(bytes.fromhex("101600044d5154540 42e003c 0001 63 0001 61 0004 676f6e65".replace(" ", "")))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        [will] = await subscriber.until(1)
    assert will.payload == b"gone"


def test_the_broker_runs_on_uvloop() -> None:
    """The daemon's own event loop is uvloop."""

    async def round_trip() -> object:
        broker = EmbeddedBroker()
        port = await broker.start()
        async with aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("a", qos=1)
            await client.publish("a", b"x", qos=1)
            received = (await anext(client.messages)).payload
        await broker.stop()
        return received

    assert uvloop.run(round_trip()) == b"x"
