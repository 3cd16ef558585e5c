"""Reconnection: a broker that restarts, freezes or is unreachable loses no message within the bounds."""

from __future__ import annotations

import asyncio

from daemon.clock import ManualClock
from daemon.publishing.outbox import DropReason
from daemon.publishing.publisher import MqttSettings, RetryPolicy
from tests.daemon.publishing.brokers import Mosquitto, free_port, subscribed
from tests.daemon.publishing.harness import SECOND_US, TOPICS, Callbacks, eventually, running, status
from tests.daemon.publishing.samples import message


async def test_a_restarted_broker_receives_all_retained_messages(mosquitto: Mosquitto) -> None:
    """Birth message first, then each retained topic, byte for byte, after the broker lost its state."""
    callbacks = Callbacks()
    async with running(MqttSettings(mosquitto.url), callbacks) as publisher:
        publisher.submit(message("x/forecast", b'{"id": 1}'))
        publisher.submit(message("x/bar", b'{"revision": 0}'))
        publisher.submit(message("x/event", b"once", retain=False))
        await eventually(lambda: publisher.state.published == 4)
        mosquitto.kill()
        await eventually(lambda: not publisher.state.connected)
        mosquitto.start()
        await eventually(lambda: publisher.state.connected and publisher.state.repeated == 3)
        async with subscribed(mosquitto.port) as subscriber:
            await subscriber.until(3)
            assert subscriber.payloads("x/forecast") == [b'{"id": 1}']
            assert subscriber.payloads("x/bar") == [b'{"revision": 0}']
            assert subscriber.payloads("x/event") == []
            assert subscriber.payloads(TOPICS.status) == [status("online")]
    assert callbacks.dropped == [(status("online"), DropReason.SUPERSEDED)] or callbacks.dropped == []
    assert callbacks.delivered.count(b'{"id": 1}') == 1


async def test_the_birth_message_comes_first_on_every_connection(mosquitto: Mosquitto) -> None:
    """After each last will the next connection begins with the birth message, then the retained topics."""
    async with subscribed(mosquitto.port) as subscriber, running(MqttSettings(mosquitto.url), Callbacks()) as publisher:
        publisher.submit(message("x/bar", b"1"))
        await subscriber.until(2)
        for count in (2, 3):
            mosquitto.freeze()
            publisher.submit(message("x/event", b"", retain=False))
            await eventually(lambda: not publisher.state.connected)
            mosquitto.thaw()
            await subscriber.until(count, topic="x/bar")
    seen = [(received.topic.value, received.payload) for received in subscriber.messages]
    wills = [place for place, received in enumerate(seen) if received == (TOPICS.status, status("offline"))]
    assert len(wills) == 2
    for place in wills:
        assert seen[place + 1 : place + 3] == [(TOPICS.status, status("online")), ("x/bar", b"1")]


async def test_a_broker_killed_while_publishing_loses_no_message(mosquitto: Mosquitto) -> None:
    """After a kill and restart each topic has its newest message, and every event was delivered."""
    callbacks = Callbacks()
    async with running(MqttSettings(mosquitto.url), callbacks) as publisher:
        await eventually(lambda: publisher.state.connected)
        for number in range(300):
            publisher.submit(message(f"x/{number % 30}", str(number).encode()))
            publisher.submit(message("x/event", str(number).encode(), retain=False))
            if number == 150:
                mosquitto.kill()
                await eventually(lambda: not publisher.state.connected)
            elif number % 10 == 0:
                await asyncio.sleep(0.005)
        await asyncio.to_thread(mosquitto.start)
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        async with subscribed(mosquitto.port, "x/+") as subscriber:
            await subscriber.until(30)
    assert {seen.topic.value: seen.payload for seen in subscriber.messages} == {
        f"x/{topic}": str(270 + topic).encode() for topic in range(30)
    }
    events = [payload for payload in callbacks.delivered if payload.isdigit()]
    assert all(str(number).encode() in events for number in range(300))
    assert {reason for _payload, reason in callbacks.dropped} == {DropReason.SUPERSEDED}


async def test_events_keep_their_order_over_an_outage(mosquitto: Mosquitto) -> None:
    """Events are delivered at least once, and each one's first delivery is in order."""
    async with (
        subscribed(mosquitto.port, "x/#") as subscriber,
        running(MqttSettings(mosquitto.url), Callbacks()) as publisher,
    ):
        for number in range(100):
            publisher.submit(message(f"x/event/{number % 3}", str(number).encode(), retain=False))
            if number == 50:
                await subscriber.until(20)
                mosquitto.freeze()
        await eventually(lambda: not publisher.state.connected)
        mosquitto.thaw()
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        await subscriber.until(100)
    first_seen = list(dict.fromkeys(int(bytes(received.payload)) for received in subscriber.messages))
    assert first_seen == list(range(100))


async def test_an_expired_forecast_is_not_sent_after_an_outage(mosquitto: Mosquitto) -> None:
    """A forecast that expired during the outage is dropped; a valid one is delivered."""
    clock = ManualClock(start_us=0)
    callbacks = Callbacks()
    async with running(MqttSettings(mosquitto.url), callbacks, clock=clock) as publisher:
        await eventually(lambda: publisher.state.connected)
        mosquitto.kill()
        await eventually(lambda: not publisher.state.connected)
        publisher.submit(message("x/old", b"old", valid_until_us=10 * SECOND_US, expires_at_us=99 * SECOND_US))
        publisher.submit(message("x/new", b"new", valid_until_us=60 * SECOND_US, expires_at_us=99 * SECOND_US))
        clock.set(11 * SECOND_US)
        await asyncio.to_thread(mosquitto.start)
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
    assert (b"old", DropReason.EXPIRED) in callbacks.dropped
    assert b"new" in callbacks.delivered
    assert publisher.state.expired == 1


async def test_a_frozen_broker_is_disconnected_and_reconnected(mosquitto: Mosquitto) -> None:
    """A broker that accepts bytes but does not answer is detected by the missing confirmation."""
    callbacks = Callbacks()
    async with running(MqttSettings(mosquitto.url), callbacks) as publisher:
        await eventually(lambda: publisher.state.connected and publisher.depth == 0)
        mosquitto.freeze()
        publisher.submit(message("x/bar", b"1"))
        await eventually(lambda: not publisher.state.connected and bool(callbacks.errors()))
        assert "did not confirm" in callbacks.errors()[0]
        publisher.submit(message("x/bar", b"2"))
        mosquitto.thaw()
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        async with subscribed(mosquitto.port, "x/bar") as subscriber:
            [last] = await subscriber.until(1)
    assert last.payload == b"2"


async def test_the_outbox_is_bounded_while_the_broker_is_unreachable() -> None:
    """Beyond the bounds the oldest topics and events are dropped, counted and reported."""
    callbacks = Callbacks()
    policy = RetryPolicy(answer_s=1, first_retry_s=0.05, longest_retry_s=0.1, max_topics=3, max_events=2)
    async with running(MqttSettings(f"mqtt://127.0.0.1:{free_port()}"), callbacks, retry_policy=policy) as publisher:
        for number in range(5):
            publisher.submit(message("x/event", f"e{number}".encode(), retain=False))
            publisher.submit(message(f"x/{number}", f"t{number}".encode()))
        assert publisher.depth <= publisher.capacity
        assert publisher.state.overflowed == 6
    dropped = [payload for payload, reason in callbacks.dropped if reason is DropReason.OVERFLOW]
    assert sorted(dropped) == [b"e0", b"e1", b"e2", b"t0", b"t1", b"t2"]
