import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from daemon.errors import Retryable
from daemon.publishing.connection import (
    AccessRefused,
    BrokerLost,
    ConnectOptions,
    MqttProtocol,
    ProtocolRefused,
    connect,
)
from daemon.publishing.settings import MqttSettings
from tests.daemon.publishing.brokers import Mosquitto, free_port, subscribed


def options(protocol: MqttProtocol = "5") -> ConnectOptions:
    return ConnectOptions(client_id="test", protocol=protocol, will_topic="will", will_payload=b"gone", timeout_s=0.3)


async def refusal(settings: MqttSettings, protocol: MqttProtocol = "5") -> Retryable:
    """The error of an attempt that must fail."""
    with pytest.raises(Retryable) as caught:
        async with connect(settings, options(protocol)):
            pass
    return caught.value


@asynccontextmanager
async def mute_server() -> AsyncIterator[int]:
    """Accepts connections and never says a word."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    for writer in writers:
        writer.close()
    server.close()


@pytest.mark.parametrize("protocol", ["5", "311"])
async def test_a_confirmed_message_is_with_the_broker(mosquitto: Mosquitto, protocol: MqttProtocol) -> None:
    """Publish returns on the broker's confirmation, and an ordinary end leaves no last will."""
    async with subscribed(mosquitto.port) as subscriber:
        async with connect(MqttSettings(mosquitto.url), options(protocol)) as connection:
            await connection.publish("a", b"1", retain=True, schema="s", model=None, expires_in_s=10)
        await subscriber.until(1)
        await asyncio.sleep(0.1)
    assert [received.payload for received in subscriber.messages] == [b"1"]


async def test_an_end_in_error_leaves_the_last_will(mosquitto: Mosquitto) -> None:
    """The connection is cut, not closed."""
    async with subscribed(mosquitto.port, "will") as subscriber:
        with pytest.raises(ZeroDivisionError):
            async with connect(MqttSettings(mosquitto.url), options()):
                raise ZeroDivisionError
        [will] = await subscriber.until(1)
    assert will.payload == b"gone"


async def test_a_killed_broker_is_noticed_without_a_message(mosquitto: Mosquitto) -> None:
    """Watching raises at once, hours before the next forecast would."""

    async def watch() -> None:
        async with connect(MqttSettings(mosquitto.url), options()) as connection:
            mosquitto.kill()
            await connection.watch()

    with pytest.raises(BrokerLost):
        await asyncio.wait_for(watch(), 5)


async def test_nobody_listening_is_named() -> None:
    """The cure is to start the broker."""
    error = await refusal(MqttSettings(f"mqtt://127.0.0.1:{free_port()}"))
    assert isinstance(error, BrokerLost)
    assert "no broker listens" in str(error)


async def test_a_name_that_does_not_resolve_is_named() -> None:
    """The cure is in the URL or the name service."""
    error = await refusal(MqttSettings("mqtt://no-such-host.invalid"))
    assert isinstance(error, BrokerLost)
    assert "has no address" in str(error)


async def test_a_server_that_says_nothing_is_given_up() -> None:
    """No answer is not a refusal of the protocol: a frozen broker must not lose MQTT 5."""
    async with mute_server() as port:
        error = await refusal(MqttSettings(f"mqtt://127.0.0.1:{port}"))
    assert isinstance(error, BrokerLost)
    assert "gave no answer within 0.3 s" in str(error)


async def test_a_port_without_tls_is_told_apart(mosquitto: Mosquitto) -> None:
    """mqtts:// towards a plain port says so."""
    error = await refusal(MqttSettings(mosquitto.url.replace("mqtt:", "mqtts:")))
    assert isinstance(error, AccessRefused | BrokerLost)
    assert "TLS" in str(error) or "cannot be reached" in str(error)


async def test_an_authority_file_that_is_none_is_named(tmp_path: object) -> None:
    """A file that is not there is the user's to mend."""
    error = await refusal(MqttSettings("mqtts://127.0.0.1:1", ca_file=f"{tmp_path}/absent.crt"))
    assert isinstance(error, AccessRefused)
    assert "mqtt.ca_file" in str(error)


async def test_mqtt_5_refused_is_an_error_of_its_own(embedded_port: int) -> None:
    """The publisher falls back on this one only."""
    assert isinstance(await refusal(MqttSettings(f"mqtt://127.0.0.1:{embedded_port}")), ProtocolRefused)
