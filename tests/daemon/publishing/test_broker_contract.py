"""What subscribers may rely on, checked at the embedded broker and at mosquitto alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from daemon.publishing.broker.sessions import BrokerLimits
from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.publishing.settings import PUBLISHER
from tests.daemon.publishing.brokers import Mosquitto
from tests.daemon.publishing.raw_client import RawClient

_LONGEST_PACKET = 20_000


@dataclass
class Broker:
    """A running broker, and who may publish at it."""

    port: int
    user: tuple[str, str] | None

    async def publisher(self, client_id: str = "publisher", will: tuple[str, bytes] | None = None) -> RawClient:
        client = await RawClient.connect(self.port, client_id, user=self.user, will=will)
        assert client.refusal == 0
        return client


@pytest.fixture(params=["embedded", "mosquitto"])
async def broker(request: pytest.FixtureRequest, start_mosquitto: Callable[..., Mosquitto]) -> AsyncIterator[Broker]:
    if request.param == "mosquitto":
        yield Broker(start_mosquitto(f"max_packet_size {_LONGEST_PACKET}").port, None)
        return
    longest = BrokerLimits(publisher_packet_bytes=_LONGEST_PACKET, subscriber_packet_bytes=_LONGEST_PACKET)
    embedded = EmbeddedBroker(limits=longest)
    address = await embedded.start()
    yield Broker(address.port, (PUBLISHER, address.password))
    await embedded.stop()


async def subscriber(broker: Broker, *filters: str, client_id: str = "subscriber", qos: int = 1) -> RawClient:
    client = await RawClient.connect(broker.port, client_id)
    for topic_filter in filters:
        assert await client.subscribe(topic_filter, qos) == qos
    return client


async def test_a_retained_message_goes_to_matching_subscriptions_only(broker: Broker) -> None:
    """A client without a subscription receives nothing, whatever others subscribed to."""
    publisher = await broker.publisher()
    for topic in ("a/1", "a/2", "b/1"):
        await publisher.publish(topic, topic.encode(), retain=True)
    everything = await subscriber(broker, "#", client_id="everything")
    assert sorted(message.topic for message in await everything.receive_all()) == ["a/1", "a/2", "b/1"]
    without = await subscriber(broker, client_id="without")
    assert await without.receive_all() == []
    narrow = await subscriber(broker, "b/+", client_id="narrow")
    [message] = await narrow.receive_all()
    assert (message.topic, message.payload, message.retain, message.qos) == ("b/1", b"b/1", True, 1)


async def test_a_retained_message_comes_once_for_each_matching_filter(broker: Broker) -> None:
    """Several filters in one SUBSCRIBE count as several subscriptions (MQTT 3.1.1, 3.8.4), and so does a repeated one.

    A live message that several filters match comes once, at the largest QoS of them.
    """
    publisher = await broker.publisher()
    for topic in ("a/b", "a/c", "d"):
        await publisher.publish(topic, b"old", retain=True)
    client = await subscriber(broker)
    filters = ((b"a/#", 0), (b"a/b", 1), (b"+/b", 1), (b"b", 1))
    body = b"".join(len(each).to_bytes(2, "big") + each + bytes([qos]) for each, qos in filters)
    await client.send(0x82, b"\x00\x07" + body)
    old = await client.receive_all()
    assert sorted((message.topic, message.qos, message.retain) for message in old) == [
        ("a/b", 0, True),
        ("a/b", 1, True),
        ("a/b", 1, True),
        ("a/c", 0, True),
    ]
    assert await client.subscribe("a/b") == 1
    assert [(message.topic, message.payload) for message in await client.receive_all()] == [("a/b", b"old")]
    await publisher.publish("a/b", b"new", retain=True)
    [live] = await client.receive_all()
    assert (live.payload, live.qos, live.retain) == (b"new", 1, False)


async def test_the_newest_retained_message_replaces_and_an_empty_one_removes(broker: Broker) -> None:
    publisher = await broker.publisher()
    for topic, payload in (("a", b"1"), ("a", b"2"), ("b", b"1"), ("b", b"")):
        await publisher.publish(topic, payload, retain=True)
    assert [message.payload for message in await (await subscriber(broker, "#")).receive_all()] == [b"2"]


async def test_a_live_message_is_not_marked_as_retained(broker: Broker) -> None:
    """The mark distinguishes what is old from what has just happened."""
    publisher, client = await broker.publisher(), await subscriber(broker, "a")
    await publisher.publish("a", b"1", retain=True)
    assert (await client.receive()).retain is False


@pytest.mark.parametrize(
    ("topic_filter", "matching"),
    [
        ("a/b/c", ["a/b/c"]),
        ("a/+/c", ["a/b/c", "a/d/c"]),
        ("a/#", ["a", "a/b", "a/b/c", "a/d/c"]),
        ("+", ["a", "x"]),
        ("+/b", ["/b", "a/b"]),
        ("/+", ["/b"]),
        ("#", ["/b", "a", "a/b", "a/b/c", "a/d/c", "x"]),
        ("a/b/c/#", ["a/b/c"]),
        ("a/+", ["a/b"]),
    ],
)
async def test_wildcards_match_levels(broker: Broker, topic_filter: str, matching: list[str]) -> None:
    """Both for retained and for live messages."""
    publisher, live = await broker.publisher(), await subscriber(broker, topic_filter, client_id="live")
    for topic in ("a", "a/b", "a/b/c", "a/d/c", "x", "/b"):
        await publisher.publish(topic, b"1", retain=True)
    late = await subscriber(broker, topic_filter, client_id="late")
    for client in (live, late):
        assert sorted(message.topic for message in await client.receive_all()) == matching


@pytest.mark.parametrize("topic_filter", ["a/#/b", "a#", "+a/b", ""])
async def test_an_invalid_filter_is_refused(broker: Broker, topic_filter: str) -> None:
    """By a code in SUBACK, or by the end of the connection."""
    client = await RawClient.connect(broker.port)
    try:
        assert await client.subscribe(topic_filter) == 128
    except (EOFError, OSError):
        return


async def test_the_lower_quality_of_service_is_delivered(broker: Broker) -> None:
    publisher = await broker.publisher()
    once, at_least = await subscriber(broker, "a", qos=0, client_id="0"), await subscriber(broker, "a", client_id="1")
    await publisher.publish("a", b"1", qos=1)
    await publisher.publish("a", b"0", qos=0)
    assert [message.qos for message in await once.receive_all()] == [0, 0]
    assert [message.qos for message in await at_least.receive_all()] == [1, 0]


async def test_unconfirmed_messages_are_sent_again_to_a_client_that_returns(broker: Broker) -> None:
    """As duplicates, in their order, then the messages of its absence; confirmed ones are not repeated."""
    publisher = await broker.publisher()
    client = await RawClient.connect(broker.port, "lasting", clean=False, confirming=False)
    await client.subscribe("a")
    for payload in (b"1", b"2", b"3"):
        await publisher.publish("a", payload)
    received = [await client.receive() for _ in range(3)]
    await client.confirm(received[0])
    await client.ping()
    client.abort()
    await asyncio.sleep(0.1)
    await publisher.publish("a", b"4")
    again = await RawClient.connect(broker.port, "lasting", clean=False)
    assert again.resumed
    messages = await again.receive_all()
    assert [(message.payload, message.duplicate) for message in messages] == [
        (b"2", True),
        (b"3", True),
        (b"4", False),
    ]
    assert [message.packet_id for message in messages[:2]] == [message.packet_id for message in received[1:]]


async def test_a_clean_session_forgets(broker: Broker) -> None:
    """A client that starts clean has no subscription and no message of before."""
    publisher = await broker.publisher()
    lasting = await RawClient.connect(broker.port, "lasting", clean=False)
    await lasting.subscribe("a")
    await lasting.disconnect()
    clean = await RawClient.connect(broker.port, "lasting")
    assert not clean.resumed
    await publisher.publish("a", b"1")
    assert await clean.receive_all() == []
    await clean.disconnect()
    assert not (await RawClient.connect(broker.port, "lasting", clean=False)).resumed


async def test_a_lost_client_has_its_last_will_published_and_an_orderly_one_not(broker: Broker) -> None:
    client = await subscriber(broker, "will")
    orderly = await broker.publisher("orderly", will=("will", b"orderly"))
    lost = await broker.publisher("lost", will=("will", b"lost"))
    await orderly.disconnect()
    lost.abort()
    assert [message.payload for message in await client.receive_all(0.5)] == [b"lost"]
    assert [(await (await subscriber(broker, "will", client_id="late")).receive()).retain] == [True]


async def test_a_silent_client_is_lost_after_its_keep_alive(broker: Broker) -> None:
    """After one and a half times the keep-alive; a ping keeps another client."""
    client = await subscriber(broker, "will")
    silent = await RawClient.connect(broker.port, "silent", keepalive_s=1, user=broker.user, will=("will", b"silent"))
    alive = await RawClient.connect(broker.port, "alive", keepalive_s=3)
    for _ in range(10):
        await asyncio.sleep(0.5)
        await alive.ping()
    assert await silent.closed_by_broker()
    assert (await client.receive()).payload == b"silent"


async def test_a_client_with_the_same_id_replaces_the_earlier(broker: Broker) -> None:
    """The earlier connection is closed; a lasting session continues on the new one."""
    publisher = await broker.publisher()
    first = await RawClient.connect(broker.port, "twin", clean=False)
    await first.subscribe("a")
    second = await RawClient.connect(broker.port, "twin", clean=False)
    assert await first.closed_by_broker()
    assert second.resumed
    await publisher.publish("a", b"1")
    assert (await second.receive()).payload == b"1"


async def test_ten_clients_at_once_receive_their_own_topics(broker: Broker) -> None:
    """They subscribe, publish, leave and return concurrently, and each receives what its filter matches, in order."""
    publisher = await broker.publisher()
    for number in range(10):
        await publisher.publish(f"t/{number}/retained", b"r", retain=True)

    async def watch(number: int) -> list[tuple[str, bytes]]:
        for _ in range(3):
            passing = await RawClient.connect(broker.port, f"watcher-{number}")
            await passing.subscribe(f"t/{number}/#")
            passing.abort()
        client = await subscriber(broker, f"t/{number}/#", client_id=f"watcher-{number}")
        ready.release()
        return [(message.topic, message.payload) for message in await client.receive_all(1.0)]

    ready = asyncio.Semaphore(0)
    watching = [asyncio.create_task(watch(number)) for number in range(10)]
    for _ in watching:
        await ready.acquire()
    for step in range(20):
        for number in range(10):
            await publisher.publish(f"t/{number}/live", str(step).encode())
    for number, received in enumerate(await asyncio.gather(*watching)):
        live = [(f"t/{number}/live", str(step).encode()) for step in range(20)]
        assert received == [(f"t/{number}/retained", b"r"), *live]


async def test_a_packet_beyond_the_limit_ends_its_connection_only(broker: Broker) -> None:
    """It is not delivered, and others are not disturbed."""
    publisher, client = await broker.publisher(), await subscriber(broker, "#")
    oversized = await broker.publisher("oversized")
    await oversized.send(0x32, b"\x00\x01a" + b"\x00\x01" + b"x" * _LONGEST_PACKET)
    assert await oversized.closed_by_broker()
    await publisher.publish("a", b"x" * (_LONGEST_PACKET // 2))
    assert [len(message.payload) for message in await client.receive_all()] == [_LONGEST_PACKET // 2]


@pytest.mark.parametrize(
    ("first", "body"),
    [
        (0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"),  # a second CONNECT
        (0x80, b"\x00\x01\x00\x01a\x01"),  # SUBSCRIBE with wrong flags
        (0x82, b"\x00\x01"),  # no filter
        (0x82, b"\x00\x00\x00\x01a\x01"),  # packet id 0
        (0x32, b"\x00\x03a/#\x00\x01x"),  # a wildcard in a topic
        (0x32, b"\x00\x09a"),  # a field beyond the packet
        (0x00, b""),
        (0xF0, b""),
    ],
)
async def test_a_malformed_packet_ends_the_connection(broker: Broker, first: int, body: bytes) -> None:
    client = await broker.publisher()
    await client.send(first, body)
    assert await client.closed_by_broker()


async def test_unsubscribing_ends_the_deliveries(broker: Broker) -> None:
    publisher, client = await broker.publisher(), await subscriber(broker, "a", "b")
    await client.unsubscribe("a")
    await publisher.publish("a", b"1")
    await publisher.publish("b", b"2")
    assert [message.topic for message in await client.receive_all()] == ["b"]


async def test_a_slow_client_delays_no_other(broker: Broker) -> None:
    """A client that neither reads nor confirms leaves the publisher and the others at full speed."""
    publisher, client = await broker.publisher(), await subscriber(broker, "#")
    slow = await RawClient.connect(broker.port, "slow", confirming=False)
    await slow.subscribe("#")

    async def receive_all() -> list[str]:
        return [(await client.receive()).topic for _ in range(300)]

    receiving = asyncio.create_task(receive_all())
    topics = [f"a/{number}" for number in range(300)]
    for topic in topics:
        await publisher.publish(topic, b"x" * 5_000)
    assert await receiving == topics
