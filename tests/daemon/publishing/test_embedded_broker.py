import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest
import uvloop

from daemon.errors import ConfigError, Retryable
from daemon.publishing.broker.sessions import BrokerLimits
from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.publishing.settings import PUBLISHER, EmbeddedAddress
from tests.daemon.publishing.brokers import subscribed
from tests.daemon.publishing.raw_client import RawClient
from tests.limits import LIMIT_S


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.org", ""])
def test_any_address_beyond_loopback_is_refused(host: str) -> None:
    """It has no passwords for subscribers and no TLS, so it serves loopback only."""
    with pytest.raises(ConfigError, match="mosquitto"):
        EmbeddedBroker(host=host)


TREE = "forecastd/v1/main"


@asynccontextmanager
async def running_broker(tree: str = TREE, limits: BrokerLimits | None = None) -> AsyncIterator[EmbeddedAddress]:
    broker = EmbeddedBroker(tree, limits=limits)
    try:
        yield await broker.start()
    finally:
        await broker.stop()


async def publisher(address: EmbeddedAddress, client_id: str = "forecastd-main") -> RawClient:
    client = await RawClient.connect(address.port, client_id, user=(PUBLISHER, address.password))
    assert client.refusal == 0
    return client


async def test_a_client_that_publishes_is_disconnected_and_changes_nothing() -> None:
    """Neither a retained forecast nor the memory of the broker: only the daemon's own connection publishes."""
    async with running_broker() as address:
        await (await publisher(address)).publish(f"{TREE}/forecast", b"genuine", retain=True)
        subscriber = await RawClient.connect(address.port, "subscriber")
        await subscriber.subscribe("#")
        assert (await subscriber.receive()).payload == b"genuine"
        for number, (qos, retain) in enumerate(itertools.product((0, 1), (False, True))):
            intruder = await RawClient.connect(address.port, f"intruder-{number}")
            packet_id = b"\x00\x01" if qos else b""
            topic = f"{TREE}/forecast".encode()
            await intruder.send(0x30 | qos << 1 | retain, len(topic).to_bytes(2, "big") + topic + packet_id + b"forged")
            assert await intruder.closed_by_broker()
        assert await subscriber.receive_all() == []
        late = await RawClient.connect(address.port, "late")
        await late.subscribe("#")
        assert [message.payload for message in await late.receive_all()] == [b"genuine"]


async def test_a_last_will_of_another_client_is_refused() -> None:
    """A last will is a message too."""
    async with running_broker() as address:
        client = await RawClient.connect(address.port, will=(f"{TREE}/status", b"forged"))
        assert client.refusal == 5


async def test_only_the_password_of_this_broker_makes_a_publisher() -> None:
    """It is random, so that no configuration and no other process has it."""
    async with running_broker() as address, running_broker() as other:
        assert address.password != other.password
        for password in ("", "forecastd", other.password):
            assert (await RawClient.connect(address.port, user=(PUBLISHER, password))).refusal == 4
        named = await RawClient.connect(address.port, user=("another-user", "x"))
        assert named.refusal == 0
        await named.send(0x30, b"\x00\x01ax")
        assert await named.closed_by_broker()


async def test_no_client_takes_the_daemons_session_over() -> None:
    """The daemon's client id is refused to others, connected or not."""
    async with running_broker() as address:
        own = await publisher(address)
        assert (await RawClient.connect(address.port, "forecastd-main")).refusal == 2
        await own.publish(f"{TREE}/status", b"online")


@pytest.mark.parametrize(
    ("topic_filter", "granted"),
    [
        (f"{TREE}/#", 1),
        (f"{TREE}/forecast/+/BTC-USDT/1h", 1),
        ("forecastd/v1/+/status", 1),
        ("+/+/main/#", 1),
        ("#", 1),
        ("forecastd/v1/other/#", 128),
        ("other/#", 128),
        ("$SYS/#", 128),
        ("forecastd", 128),
        (TREE, 128),
        (f"{TREE}/{'x' * 2000}", 128),
    ],
)
async def test_subscriptions_reach_the_tree_of_the_instance_only(topic_filter: str, granted: int) -> None:
    """A filter that matches nothing below it is refused in SUBACK."""
    async with running_broker() as address:
        client = await RawClient.connect(address.port)
        assert await client.subscribe(topic_filter) == granted


async def test_long_packets_of_subscribers_are_refused_before_they_are_read() -> None:
    """The announced length is enough; the daemon itself may send more."""
    limits = BrokerLimits(subscriber_packet_bytes=1000)
    async with running_broker(limits=limits) as address:
        client = await RawClient.connect(address.port)
        await client.send_announcing(0x82, 2000, b"")
        assert await client.closed_by_broker()
        await (await publisher(address)).publish(f"{TREE}/forecast", b"x" * 5000)


async def test_the_number_of_clients_is_limited_but_not_for_the_daemon() -> None:
    """A further one receives "server unavailable"; an id that is connected may replace itself."""
    async with running_broker(limits=BrokerLimits(clients=3)) as address:
        clients = [await RawClient.connect(address.port, f"c{number}") for number in range(3)]
        assert (await RawClient.connect(address.port, "c3")).refusal == 3
        await publisher(address)
        again = await RawClient.connect(address.port, "c0")
        assert again.refusal == 0
        assert await clients[0].closed_by_broker()
        clients[1].abort()
        await asyncio.sleep(0.1)
        assert (await RawClient.connect(address.port, "c3")).refusal == 0


async def test_connections_that_say_nothing_do_not_keep_others_out() -> None:
    """Beyond the limit the oldest of them is closed."""
    async with running_broker(limits=BrokerLimits(pending=5)) as address:
        silent = [await asyncio.open_connection("127.0.0.1", address.port) for _ in range(20)]
        await publisher(address)
        reader, _writer = silent[0]
        async with asyncio.timeout(LIMIT_S):
            assert await reader.read(1) == b""
        for _reader, writer in silent:
            writer.close()


async def test_the_messages_that_wait_for_a_client_are_limited() -> None:
    """The oldest are dropped, for a client that is away as for one that does not confirm."""
    limits = BrokerLimits(queued=10, in_flight=2)
    async with running_broker(limits=limits) as address:
        own = await publisher(address)
        away = await RawClient.connect(address.port, "away", clean=False)
        await away.subscribe("#")
        await away.disconnect()
        idle = await RawClient.connect(address.port, "idle", confirming=False)
        await idle.subscribe("#")
        for number in range(50):
            await own.publish(f"{TREE}/event", str(number).encode())
        back = await RawClient.connect(address.port, "away", clean=False)
        assert [int(message.payload) for message in await back.receive_all()] == list(range(40, 50))
        first = [await idle.receive(), await idle.receive()]
        idle.confirming = True
        for message in first:
            await idle.confirm(message)
        received = [int(message.payload) for message in [*first, *await idle.receive_all()]]
        assert received == [0, 1, *range(40, 50)]


async def test_sessions_of_absent_clients_are_limited() -> None:
    """The session that has been unused for longest is discarded."""
    async with running_broker(limits=BrokerLimits(offline_sessions=2)) as address:
        for number in range(4):
            client = await RawClient.connect(address.port, f"c{number}", clean=False)
            await client.disconnect()
            await asyncio.sleep(0.05)
        back = [await RawClient.connect(address.port, f"c{number}", clean=False) for number in (0, 2, 3)]
        assert [client.resumed for client in back] == [False, True, True]


async def test_subscriptions_and_retained_messages_are_limited() -> None:
    """A further filter is refused; a further retained topic is delivered but not kept."""
    async with running_broker(limits=BrokerLimits(filters=2, retained=2)) as address:
        client = await RawClient.connect(address.port)
        assert [await client.subscribe(f"{TREE}/{name}") for name in "aba"] == [1, 1, 1]
        assert await client.subscribe(f"{TREE}/c") == 128
        own = await publisher(address)
        for name in "abc":
            await own.publish(f"{TREE}/{name}", b"1", retain=True)
        await own.publish(f"{TREE}/a", b"2", retain=True)
        late = await RawClient.connect(address.port, "late")
        await late.subscribe("#")
        assert sorted((m.topic[-1], m.payload) for m in await late.receive_all()) == [("a", b"2"), ("b", b"1")]


async def test_the_broker_publishes_no_messages_of_its_own(embedded_port: int) -> None:
    """There are no $SYS topics."""
    async with subscribed(embedded_port, "#", version="311") as subscriber:
        await asyncio.sleep(0.2)
    assert subscriber.messages == []


async def test_a_port_in_use_is_a_retryable_error() -> None:
    """The error names the address; the program that uses the port may release it."""
    first, second = EmbeddedBroker(), EmbeddedBroker()
    port = (await first.start()).port
    with pytest.raises(Retryable, match=str(port)):
        await second.start(port)
    await first.stop()


async def test_stop_may_be_called_twice_and_frees_the_port() -> None:
    """The broker starts again on the same port after a stop."""
    broker = EmbeddedBroker()
    port = (await broker.start()).port
    await broker.stop()
    await broker.stop()
    assert (await broker.start(port)).port == port
    await broker.stop()


async def test_clients_that_disconnect_within_a_packet_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """Half a packet, a refused protocol or a reset raises no unhandled error and logs nothing above debug."""
    unhandled: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
    broker = EmbeddedBroker()
    port = (await broker.start()).port
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


def test_the_broker_runs_on_uvloop() -> None:
    """The daemon's own event loop is uvloop."""

    async def round_trip() -> object:
        broker = EmbeddedBroker()
        port, password = await broker.start()
        async with aiomqtt.Client("127.0.0.1", port, username=PUBLISHER, password=password) as client:
            await client.subscribe("a", qos=1)
            await client.publish("a", b"x", qos=1)
            received = (await anext(client.messages)).payload
        await broker.stop()
        return received

    assert uvloop.run(round_trip()) == b"x"
