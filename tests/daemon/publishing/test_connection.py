import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from daemon.errors import Retryable
from daemon.publishing.connection import ConnectOptions, connect
from daemon.publishing.failures import AccessRefused, BrokerLost, ProtocolRefused
from daemon.publishing.settings import MqttProtocol, MqttSettings
from tests.daemon.publishing.brokers import Mosquitto, free_port, subscribed
from tests.limits import LIMIT_S


def options(protocol: MqttProtocol = "5") -> ConnectOptions:
    return ConnectOptions(client_id="test", protocol=protocol, will_topic="will", will_payload=b"gone", timeout_s=0.3)


async def failure(settings: MqttSettings, protocol: MqttProtocol = "5") -> Retryable:
    """The error of a connection attempt that must fail."""
    with pytest.raises(Retryable) as caught:
        async with connect(settings, options(protocol)):
            pass
    return caught.value


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """A server that accepts connections and never sends a byte."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    for writer in writers:
        writer.close()
    server.close()


@pytest.mark.parametrize("protocol", ["5", "311"])
async def test_publish_returns_after_the_brokers_confirmation(mosquitto: Mosquitto, protocol: MqttProtocol) -> None:
    """The broker has the message when publish returns, and a clean end publishes no last will."""
    async with subscribed(mosquitto.port) as subscriber:
        async with connect(MqttSettings(mosquitto.url), options(protocol)) as connection:
            await connection.publish("a", b"1", retain=True, schema="s", model=None, expires_in_s=10)
        await subscriber.until(1)
        await asyncio.sleep(0.1)
    assert [received.payload for received in subscriber.messages] == [b"1"]


async def test_an_error_in_the_block_publishes_the_last_will(mosquitto: Mosquitto) -> None:
    """The connection is cut without DISCONNECT."""
    async with subscribed(mosquitto.port, "will") as subscriber:
        with pytest.raises(ZeroDivisionError):
            async with connect(MqttSettings(mosquitto.url), options()):
                raise ZeroDivisionError
        [will] = await subscriber.until(1)
    assert will.payload == b"gone"


async def test_a_killed_broker_is_noticed_without_a_message(mosquitto: Mosquitto) -> None:
    """``watch`` raises at once, long before the next forecast is published."""

    async def watch() -> None:
        async with connect(MqttSettings(mosquitto.url), options()) as connection:
            mosquitto.kill()
            await connection.watch()

    with pytest.raises(BrokerLost):
        await asyncio.wait_for(watch(), LIMIT_S)


async def test_a_missing_broker_is_named() -> None:
    """The error names the URL and says to start the broker."""
    error = await failure(MqttSettings(f"mqtt://127.0.0.1:{free_port()}"))
    assert isinstance(error, BrokerLost)
    assert "no broker listens" in str(error)


async def test_a_host_name_that_does_not_resolve_is_named() -> None:
    """The error says that the host has no address."""
    error = await failure(MqttSettings("mqtt://no-such-host.invalid"))
    assert isinstance(error, BrokerLost)
    assert "has no address" in str(error)


async def test_a_server_that_does_not_answer_times_out() -> None:
    """A missing answer is no protocol refusal: a frozen broker must not cause the fallback to MQTT 3.1.1."""
    async with silent_server() as port:
        error = await failure(MqttSettings(f"mqtt://127.0.0.1:{port}"))
    assert isinstance(error, BrokerLost)
    assert "gave no answer within 0.3 s" in str(error)


async def test_a_port_without_tls_is_named(mosquitto: Mosquitto) -> None:
    """The error for mqtts:// on a port without TLS names TLS."""
    error = await failure(MqttSettings(mosquitto.url.replace("mqtt:", "mqtts:")))
    assert isinstance(error, AccessRefused | BrokerLost)
    assert "TLS" in str(error) or "cannot be reached" in str(error)


async def test_a_missing_authority_file_is_named(tmp_path: object) -> None:
    """The error names the configuration key of the missing file."""
    error = await failure(MqttSettings("mqtts://127.0.0.1:1", ca_file=f"{tmp_path}/absent.crt"))
    assert isinstance(error, AccessRefused)
    assert "mqtt.ca_file" in str(error)


async def test_a_refusal_of_mqtt_5_is_a_protocol_error(embedded_port: int) -> None:
    """Only this error makes the publisher fall back to MQTT 3.1.1."""
    assert isinstance(await failure(MqttSettings(f"mqtt://127.0.0.1:{embedded_port}")), ProtocolRefused)
