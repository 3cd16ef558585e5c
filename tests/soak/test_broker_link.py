"""The soak's link to the broker: each of its faults as a client of MQTT 5 sees it, and what it records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from daemon.publishing.connection import ConnectOptions, connect
from daemon.publishing.failures import MessageTooLarge, SessionTakenOver
from daemon.publishing.settings import MqttSettings
from tests.daemon.publishing.brokers import Mosquitto, subscribed
from tests.soak.broker_link import NOT_AUTHORIZED, SERVER_BUSY, BrokerLink, linked

OPTIONS = ConnectOptions(client_id="o", protocol="5", will_topic="will", will_payload=b"", timeout_s=2)


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[BrokerLink]:
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        async with linked(broker.port) as made:
            yield made
    finally:
        broker.kill()


def client(link: BrokerLink) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", link.port, identifier="ours", protocol=aiomqtt.ProtocolVersion.V5, timeout=2)


async def test_messages_pass_and_are_recorded(link: BrokerLink) -> None:
    async with subscribed(link._broker_port, "a/#") as subscriber, client(link) as ours:
        await ours.publish("a/b", b"x" * 300, qos=1)
        (message,) = await subscriber.until(1)
    assert (message.topic.value, message.payload) == ("a/b", b"x" * 300)
    assert link.accepted == {("a/b", b"x" * 300)}
    assert link.client_id == "ours"


async def test_a_refused_message_is_answered_and_not_forwarded(link: BrokerLink) -> None:
    link.refusal = lambda topic: NOT_AUTHORIZED if topic == "a/b" else 0
    async with subscribed(link._broker_port, "a/#") as subscriber, client(link) as ours:
        await ours.publish("a/b", b"1", qos=1)
        await ours.publish("a/c", b"2", qos=1)
        await subscriber.until(1)
    assert [message.topic.value for message in subscriber.messages] == ["a/c"]
    assert (link.refused, link.accepted) == ({"a/b": 1}, {("a/c", b"2")})


async def test_the_maximum_packet_size_is_announced(link: BrokerLink) -> None:
    link.announced = 1_000
    async with connect(MqttSettings(link.url), OPTIONS) as connection:
        with pytest.raises(MessageTooLarge, match="1,000"):
            await connection.publish("a", b"x" * 2_000, retain=True, schema="s", model=None, expires_in_s=10)
    assert not link.oversized


async def test_a_packet_beyond_the_limit_ends_the_connection(link: BrokerLink) -> None:
    link.enforced = 200
    with pytest.raises(aiomqtt.MqttError):
        async with client(link) as ours:
            await ours.publish("a/b", b"x" * 300, qos=1)
    assert link.oversized == {"a/b": 1}


async def test_a_refused_connection(link: BrokerLink) -> None:
    link.connect_code = SERVER_BUSY
    with pytest.raises(aiomqtt.MqttError, match="busy"):
        async with client(link):
            pass


async def test_a_takeover(link: BrokerLink) -> None:
    async def taken_over() -> None:
        async with connect(MqttSettings(link.url), OPTIONS) as connection:
            await link.take_over()
            await connection.watch()

    with pytest.raises(SessionTakenOver):
        await asyncio.wait_for(taken_over(), 3)
