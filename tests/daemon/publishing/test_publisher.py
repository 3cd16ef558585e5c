"""The publisher over a real broker: properties, birth message, last will and stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jsonschema
import pytest
import uvloop

from daemon.clock import ScaledClock, SystemClock
from daemon.publishing.connection import ConnectOptions
from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.publishing.publisher import MqttSettings, RetryPolicy
from daemon.publishing.schemas import schema
from daemon.publishing.settings import EmbeddedAddress
from tests.daemon.publishing import samples
from tests.daemon.publishing.brokers import Mosquitto, free_port, subscribed
from tests.daemon.publishing.harness import (
    QUICK,
    SECOND_US,
    TOPICS,
    Callbacks,
    eventually,
    make_publisher,
    running,
    status,
)
from tests.daemon.publishing.samples import message
from tests.limits import LIMIT_S


async def test_messages_have_mqtt_5_properties(mosquitto: Mosquitto) -> None:
    """Content type, payload format, schema, model and an expiry in wall seconds reach the subscriber."""
    clock = ScaledClock(start_us=0, speed=360)
    async with (
        subscribed(mosquitto.port) as subscriber,
        running(MqttSettings(mosquitto.url), Callbacks(), clock=clock) as publisher,
    ):
        publisher.submit(message("x/forecast", b"{}", expires_at_us=7200 * SECOND_US, model="01JGW"))
        [received] = await subscriber.until(1, topic="x/forecast")
    properties = received.properties.json()
    assert properties["ContentType"] == "application/json"
    assert properties["PayloadFormatIndicator"] == 1
    assert properties["UserProperty"] == [("schema", "forecastd.bar.v1"), ("model", "01JGW")]
    assert properties["MessageExpiryInterval"] in (19, 20)  # 7200 s at 360 times the speed, less the time in flight
    assert received.qos == 1


async def test_the_broker_discards_an_expired_message(mosquitto: Mosquitto) -> None:
    """A later subscriber receives no expired forecast; a bar does not expire."""
    async with running(MqttSettings(mosquitto.url), Callbacks()) as publisher:
        now_us = SystemClock().market_us()
        publisher.submit(message("x/forecast", expires_at_us=now_us + SECOND_US))
        publisher.submit(message("x/bar"))
        await eventually(lambda: publisher.depth == 0)
        await asyncio.sleep(2.1)
        async with subscribed(mosquitto.port, "x/#") as subscriber:
            await subscriber.until(1, topic="x/bar")
    assert subscriber.of("x/forecast") == []


async def test_birth_and_later_status_messages_are_retained(mosquitto: Mosquitto) -> None:
    """A subscriber receives online, then each status update, and stopped after a clean end."""
    async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
        async with running(MqttSettings(mosquitto.url), Callbacks()) as publisher:
            await subscriber.until(1)
            publisher.update_status(status("degraded"))
            await subscriber.until(2)
        await subscriber.until(3)
    assert subscriber.payloads(TOPICS.status) == [status(state) for state in ("online", "degraded", "stopped")]
    async with subscribed(mosquitto.port, TOPICS.status) as late:
        [last] = await late.until(1)
    assert (last.payload, last.retain) == (status("stopped"), True)


async def test_a_stop_first_delivers_waiting_messages(mosquitto: Mosquitto) -> None:
    """All messages submitted before the stop are delivered."""
    callbacks = Callbacks()
    async with running(MqttSettings(mosquitto.url), callbacks) as publisher:
        await eventually(lambda: publisher.state.published == 1)
        for number in range(200):
            publisher.submit(message(f"x/{number}", submitted_s=SystemClock().wall_s()))
    assert publisher.state.published == 202
    assert (publisher.depth, publisher.state.connected) == (0, False)
    assert 0 < max(callbacks.latencies_s) < 5


async def test_a_stop_without_a_broker_ends_in_time() -> None:
    """An unreachable broker does not delay the stop."""
    started_s = asyncio.get_running_loop().time()
    async with running(MqttSettings(f"mqtt://127.0.0.1:{free_port()}"), Callbacks()) as publisher:
        await eventually(lambda: publisher.state.attempts > 0)
    assert asyncio.get_running_loop().time() - started_s < 1.5


async def test_a_stop_with_a_frozen_broker_ends_in_time(mosquitto: Mosquitto) -> None:
    """After an unconfirmed final status the connection is cut, so the broker publishes the last will."""
    async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
        async with running(MqttSettings(mosquitto.url), Callbacks(), retry_policy=RetryPolicy(stop_s=0.3)) as publisher:
            await subscriber.until(1)
            mosquitto.freeze()
            started_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started_s < 2
        assert not publisher.state.connected
        mosquitto.thaw()
        await subscriber.until(3)
    assert subscriber.payloads(TOPICS.status) == [status(state) for state in ("online", "stopped", "offline")]


async def test_the_embedded_broker_receives_mqtt_3_1_1(embedded: EmbeddedAddress) -> None:
    """Messages to the embedded broker have no MQTT 5 properties."""
    settings = MqttSettings("embedded").on_embedded_broker(embedded)
    async with subscribed(embedded.port, version="311") as subscriber, running(settings, Callbacks()) as publisher:
        publisher.submit(message("x/bar", b"[1]", expires_at_us=1 + SystemClock().market_us() + 60 * SECOND_US))
        [received] = await subscriber.until(1, topic="x/bar")
        assert (received.payload, publisher.state.protocol) == (b"[1]", "311")


async def test_nothing_is_sent_before_the_birth_message_is_confirmed() -> None:
    """A connection that withholds the confirmation receives only the birth message."""
    published: list[str] = []
    confirm = asyncio.Event()

    class HeldConnection:
        async def publish(self, topic: str, payload: bytes, **_properties: object) -> None:
            published.append(topic)
            await confirm.wait()

        async def watch(self) -> None:
            await asyncio.Event().wait()

    @asynccontextmanager
    async def held(_settings: MqttSettings, _options: ConnectOptions) -> AsyncIterator[HeldConnection]:
        yield HeldConnection()

    async with running(MqttSettings("mqtt://nowhere"), Callbacks(), connect=held) as publisher:
        publisher.submit(message("x/bar"))
        publisher.submit(message("x/event", retain=False))
        await eventually(lambda: len(published) > 0)
        assert (published, publisher.depth) == ([TOPICS.status], 3)
        confirm.set()
        await eventually(lambda: publisher.depth == 0)
    assert published == [TOPICS.status, "x/bar", "x/event", TOPICS.status]


_CHILD = """
    import asyncio, sys
    from daemon.publishing.publisher import MqttSettings
    from tests.daemon.publishing.harness import Callbacks, running, eventually

    async def main():
        async with running(MqttSettings(sys.argv[1]), Callbacks()) as publisher:
            await eventually(lambda: publisher.state.connected and publisher.depth == 0)
            print("up", flush=True)
            await asyncio.sleep(30)

    asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_killed_daemon_has_its_last_will_published(mosquitto: Mosquitto) -> None:
    """After SIGKILL the broker publishes the retained status offline."""
    async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(_CHILD), mosquitto.url, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert child.stdout is not None
            async with asyncio.timeout(LIMIT_S):
                assert await child.stdout.readline() == b"up\n"
        finally:
            os.kill(child.pid, signal.SIGKILL)
            await child.wait()
        await subscriber.until(2)
    assert subscriber.payloads(TOPICS.status) == [status("online"), status("offline")]


async def test_a_cancelled_publisher_has_its_last_will_published(mosquitto: Mosquitto) -> None:
    """A cancelled publisher cuts the connection, so that the retained status becomes offline."""
    async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
        publisher = make_publisher(MqttSettings(mosquitto.url), Callbacks())
        task = asyncio.create_task(publisher.run())
        await subscriber.until(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await subscriber.until(2)
    assert subscriber.payloads(TOPICS.status)[-1] == status("offline")


async def test_every_message_is_valid_as_a_subscriber_receives_it(mosquitto: Mosquitto) -> None:
    """Each payload delivered by the broker is valid under the schema that it names."""
    async with subscribed(mosquitto.port) as subscriber, running(MqttSettings(mosquitto.url), Callbacks()) as publisher:
        sent = samples.every_payload()
        for number, payload in enumerate(sent):
            publisher.submit(message(f"x/{number}", payload))
        await subscriber.until(len(sent) + 1)
    for received in subscriber.messages:
        document = json.loads(bytes(received.payload))
        jsonschema.Draft202012Validator(schema(document["schema"])).validate(document)


async def test_an_error_in_the_observer_ends_the_publisher(mosquitto: Mosquitto) -> None:
    """An exception of the observer propagates from ``run`` instead of causing a retry."""

    class Faulty(Callbacks):
        def message_delivered(self, message: object, seconds: float) -> None:
            raise ZeroDivisionError

    publisher = make_publisher(MqttSettings(mosquitto.url), Faulty())
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(publisher.run(), LIMIT_S)
    assert caught.group_contains(ZeroDivisionError)


def test_the_publisher_runs_on_uvloop() -> None:
    """The daemon's own event loop is uvloop, with the broker in the same loop."""

    async def publish() -> int:
        broker = EmbeddedBroker()
        settings = MqttSettings("embedded").on_embedded_broker(await broker.start())
        async with running(settings, Callbacks(), retry_policy=QUICK) as publisher:
            publisher.submit(message("x/bar"))
            await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        await broker.stop()
        return publisher.state.published

    assert uvloop.run(publish()) == 3
