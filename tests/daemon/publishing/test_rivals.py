"""Two daemons with one instance name: each notices the other by its status."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from daemon.publishing.publisher import MqttSettings
from daemon.publishing.settings import EmbeddedAddress
from tests.daemon.publishing.brokers import Mosquitto, subscribed
from tests.daemon.publishing.fake_broker import fake_broker
from tests.daemon.publishing.harness import TOPICS, Callbacks, eventually, running, status
from tests.daemon.publishing.samples import message


@pytest.mark.parametrize("protocol", ["5", "311"])
async def test_a_second_daemon_of_one_name_is_noticed(mosquitto: Mosquitto, protocol: str) -> None:
    """By the first when the second is born, and the first's status is retained again after the second stopped."""
    settings = MqttSettings(mosquitto.url, protocol=protocol)
    first, second = Callbacks(), Callbacks()
    async with running(replace(settings, client_id="one"), first) as publisher:
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        async with running(replace(settings, client_id="two"), second) as other:
            other.update_status(status("degraded"))
            await eventually(lambda: first.rivals[:1] == ["degraded"])
        await eventually(lambda: first.rivals[-1] == "stopped" and publisher.depth == 0)
        await asyncio.sleep(0.1)
        async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
            [retained] = await subscriber.until(1)
        assert retained.payload == status("online")
    assert publisher.state.connections == 1


@pytest.mark.parametrize("protocol", ["5", "311"])
async def test_a_daemon_does_not_take_its_own_status_for_a_rivals(mosquitto: Mosquitto, protocol: str) -> None:
    """Neither an echo nor what is retained, nor what an earlier connection has sent."""
    callbacks = Callbacks()
    async with running(MqttSettings(mosquitto.url, protocol=protocol), callbacks) as publisher:
        for state in ("starting", "degraded", "online"):
            publisher.update_status(status(state))
            await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        mosquitto.kill()
        await eventually(lambda: not publisher.state.connected)
        mosquitto.start()
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        await asyncio.sleep(0.2)
    assert [state for state in callbacks.rivals if state not in ("stopped", "offline")] == []


async def test_the_embedded_brokers_own_publisher_has_no_rival(embedded: EmbeddedAddress) -> None:
    callbacks = Callbacks()
    async with running(MqttSettings("embedded").on_embedded_broker(embedded), callbacks) as publisher:
        for state in ("starting", "online"):
            publisher.update_status(status(state))
            await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        await asyncio.sleep(0.2)
    assert callbacks.rivals == []


async def test_a_broker_that_closes_on_the_subscription_is_used_without_it() -> None:
    """The publisher gives the subscription up, not the broker."""
    async with fake_broker() as broker:
        broker.closes_on_subscribe = True
        async with running(MqttSettings(broker.url), Callbacks()) as publisher:
            await eventually(lambda: publisher.state.connections >= 2 and publisher.state.connected)
            publisher.submit(message("x/bar", b"1"))
            await eventually(lambda: publisher.depth == 0)
            assert (broker.subscribed, publisher.state.connections) == (1, 2)
