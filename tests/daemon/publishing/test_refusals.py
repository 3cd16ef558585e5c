"""What a broker refuses: messages, packets beyond its limit, sessions; each is named, counted and does not block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.publishing.outbox import DropReason
from daemon.publishing.publisher import MqttSettings
from daemon.publishing.retry_policy import PublishBackoff, RetryPolicy
from tests.daemon.publishing.brokers import Mosquitto, subscribed
from tests.daemon.publishing.fake_broker import NORMAL, NOT_AUTHORIZED, QUOTA, fake_broker
from tests.daemon.publishing.harness import QUICK, TOPICS, Callbacks, eventually, running
from tests.daemon.publishing.samples import message


async def test_a_publish_that_an_access_rule_denies_is_not_delivered(
    start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    """It is dropped with the broker's reason, sent once, and does not keep the others from being delivered."""
    rules = tmp_path / "acl"
    rules.write_text(f"topic readwrite x/#\ntopic deny x/secret\ntopic readwrite {TOPICS.everything}\n")
    broker = start_mosquitto(f"acl_file {rules}")
    callbacks = Callbacks()
    async with running(MqttSettings(broker.url), callbacks) as publisher:
        publisher.submit(message("x/secret", b"denied"))
        publisher.submit(message("x/secret", b"denied event", retain=False))
        publisher.submit(message("x/bar", b"allowed"))
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        async with subscribed(broker.port, "x/#") as subscriber:
            assert [seen.payload for seen in await subscriber.until(1)] == [b"allowed"]
        assert publisher.state.connections == 1
    assert sorted(callbacks.dropped) == [(b"denied", DropReason.REFUSED), (b"denied event", DropReason.REFUSED)]
    assert all(detail.startswith("not authorized; allow this user") for detail in callbacks.details)
    assert b"denied" not in callbacks.delivered
    assert publisher.state.refused == 2


async def test_refused_topics_are_offered_again_once_one_is_accepted() -> None:
    """The access rules were corrected: the newest message of each topic is delivered, and counted once."""
    callbacks = Callbacks()
    async with fake_broker() as broker:
        broker.refusal = lambda topic: NOT_AUTHORIZED if topic.startswith("x/") else NORMAL
        async with running(MqttSettings(broker.url), callbacks) as publisher:
            for name in "abc":
                publisher.submit(message(f"x/{name}", name.encode()))
            await eventually(lambda: publisher.state.refused == 3)
            await asyncio.sleep(0.3)
            assert sorted(broker.refused) == ["x/a", "x/b", "x/c"]  # no retry
            broker.refusal = lambda _topic: NORMAL
            publisher.submit(message("x/a", b"newer"))
            await eventually(lambda: publisher.depth == 0)
    delivered = [payload for payload in callbacks.delivered if len(payload) < 10]
    assert sorted(delivered) == [b"b", b"c", b"newer"]


@pytest.mark.parametrize("code", [NOT_AUTHORIZED, QUOTA, 0x80, 0x83, 0x90, 0x99])
async def test_every_refusal_code_is_a_drop_with_its_reason(code: int) -> None:
    callbacks = Callbacks()
    async with fake_broker() as broker:
        broker.refusal = lambda topic: code if topic == "x/bar" else NORMAL
        async with running(MqttSettings(broker.url), callbacks) as publisher:
            publisher.submit(message("x/bar", b"1"))
            publisher.submit(message("x/other", b"2"))
            await eventually(lambda: b"2" in callbacks.delivered and publisher.depth == 0)
    assert callbacks.dropped == [(b"1", DropReason.REFUSED)]
    assert len(callbacks.details[0]) > 10


async def test_a_message_beyond_the_announced_packet_size_is_not_sent() -> None:
    """It is named with its size and the limit; a packet of exactly the limit is sent; bars behind it are delivered."""
    callbacks = Callbacks()
    async with fake_broker() as broker:
        broker.announced = broker.enforced = 2048
        async with running(MqttSettings(broker.url), callbacks) as publisher:
            publisher.submit(message("x/forecast", b"f" * 3000))
            for size in range(1900, 2050):  # the properties take some of it
                publisher.submit(message(f"x/{size}", b"b" * size))
            publisher.submit(message("x/event", b"e" * 5000, retain=False))
            publisher.submit(message("x/event", b"small", retain=False))
            await eventually(lambda: publisher.depth == 0 and b"small" in callbacks.delivered)
            assert publisher.state.connections == 1
    assert broker.oversized == []
    largest = max(len(payload) for topic, payload in broker.accepted if topic.startswith("x/"))
    packet = next(detail for (payload, _), detail in zip(callbacks.dropped, callbacks.details, strict=True)
                  if len(payload) == largest + 1)  # fmt: skip
    assert packet.startswith("the packet has 2,049 bytes and the broker takes 2,048; raise its limit")
    assert {reason for _payload, reason in callbacks.dropped} == {DropReason.TOO_LARGE}
    assert publisher.state.too_large == len(callbacks.dropped)


@pytest.mark.parametrize(("protocol", "silent"), [("5", False), ("5", True), ("311", True)])
async def test_a_message_that_breaks_connections_is_found_and_dropped(protocol: str, silent: bool) -> None:
    """Where the broker names no limit beforehand: with its reason, without one, and with MQTT 3.1.1."""
    callbacks = Callbacks()
    async with fake_broker() as broker:
        broker.enforced, broker.silent = 2048, silent
        settings = MqttSettings(broker.url, protocol=protocol)
        async with running(settings, callbacks) as publisher:
            await eventually(lambda: publisher.state.published == 1)
            for number in range(20):
                publisher.submit(message(f"x/{number}", b"b" * 100))
            publisher.submit(message("x/forecast", b"f" * 3000))
            for number in range(20, 40):
                publisher.submit(message(f"x/{number}", b"b" * 100))
            await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
            connections = publisher.state.connections
            publisher.submit(message("x/later", b"later"))
            await eventually(lambda: publisher.depth == 0)
            assert publisher.state.connections == connections
    assert {f"x/{number}" for number in range(40)} | {"x/later"} <= set(broker.topics())
    assert [payload for payload, _reason in callbacks.dropped] == [b"f" * 3000]
    assert "3,000 bytes" in callbacks.details[0]
    assert connections <= 5
    if not silent:
        assert "packet too large; raise the broker's maximum packet size" in callbacks.details[0]


@pytest.mark.parametrize(
    ("protocol", "limit", "reason"),
    [
        ("5", "max_packet_size 2000", DropReason.TOO_LARGE),
        ("311", "max_packet_size 2000", DropReason.REFUSED),
        ("5", "message_size_limit 2000", DropReason.REFUSED),
    ],
)
async def test_mosquittos_limits_stop_one_message_only(
    start_mosquitto: Callable[..., Mosquitto], protocol: str, limit: str, reason: DropReason
) -> None:
    """Announced, with MQTT 3.1.1, and as a PUBACK code that the client library does not know."""
    broker = start_mosquitto(limit)
    callbacks = Callbacks()
    async with running(MqttSettings(broker.url, protocol=protocol), callbacks) as publisher:
        publisher.submit(message("x/large", b"x" * 3000))
        publisher.submit(message("x/small", b"small"))
        await eventually(lambda: publisher.depth == 0 and b"small" in callbacks.delivered)
    assert callbacks.dropped == [(b"x" * 3000, reason)]


async def test_a_broker_that_disappears_drops_no_message() -> None:
    """Two restarts while one message is in flight do not make it a suspect for ever."""
    callbacks = Callbacks()
    async with fake_broker() as broker, running(MqttSettings(broker.url), callbacks) as publisher:
        for number in range(3):
            await eventually(lambda: publisher.state.connected and publisher.depth == 0)
            publisher.submit(message("x/bar", str(number).encode()))
            await asyncio.sleep(0)
            broker.close_all()
            await eventually(lambda: not publisher.state.connected)
        await eventually(lambda: publisher.state.connected and publisher.depth == 0)
    assert ("x/bar", b"2") in broker.accepted
    assert {reason for _payload, reason in callbacks.dropped} <= {DropReason.SUPERSEDED}


async def test_a_takeover_is_named_and_does_not_become_a_duel() -> None:
    """Two daemons with one client id: the log has reason and cure, and the pauses grow."""
    first, second = Callbacks(), Callbacks()
    policy = replace(QUICK, refused_retry_s=1.6, longest_takeover_retry_s=30)
    async with fake_broker() as broker:
        settings = MqttSettings(broker.url, client_id="twin")
        async with running(settings, first, retry_policy=policy), running(settings, second, retry_policy=policy):
            await asyncio.sleep(3)
        assert len(broker.connects) <= 10
    errors = first.errors() + second.errors()
    assert any("client twin: session taken over; another client connected with the same client id" in e for e in errors)
    assert all("[instance] name" in error for error in errors)
    assert {state.failure for state in first.states + second.states} == {"", "session_taken_over"}


def test_pauses_after_takeovers_double_to_ten_minutes() -> None:
    """They begin again only after a connection that outlived the other client's longest pause."""
    backoff = PublishBackoff(RetryPolicy())
    pauses = []
    now_s = 0.0
    for _ in range(9):
        backoff.accepted(now_s)
        now_s += 300
        pauses.append(backoff.taken_over(now_s))
        now_s += pauses[-1]
    limits = [7.5, 15, 30, 60, 120, 240, 480, 600, 600]
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))
    backoff.accepted(now_s)
    assert backoff.taken_over(now_s + 1300) <= 7.5


@pytest.mark.parametrize(
    ("code", "name", "waits"),
    [
        (0x87, "not authorized", True),
        (0x8A, "banned", True),
        (0x85, "client identifier not valid", True),
        (0x97, "quota exceeded", False),
        (0x88, "server unavailable", False),
        (0x9F, "connection rate exceeded", False),
        (0x95, "packet too large", False),
    ],
)
async def test_a_refused_connection_is_named_with_its_reason(code: int, name: str, waits: bool) -> None:
    """What only an operator can change is tried once a minute, the rest with growing pauses."""
    callbacks = Callbacks()
    policy = replace(QUICK, refused_retry_s=60)
    async with fake_broker() as broker:
        broker.connect_code = code
        async with running(MqttSettings(broker.url), callbacks, retry_policy=policy) as publisher:
            await eventually(lambda: publisher.state.attempts >= (1 if waits else 3))
            await asyncio.sleep(0.2)
            assert (publisher.state.attempts == 1) == waits
    assert name in callbacks.errors()[0]
    assert callbacks.states[0].failure == name.replace(" ", "_")


async def test_a_closed_connection_of_mqtt_3_1_1_names_what_may_have_happened() -> None:
    """MQTT 3.1.1 has no reasons, so the log says which faults look like this."""
    callbacks = Callbacks()
    async with fake_broker() as broker, running(MqttSettings(broker.url, protocol="311"), callbacks) as publisher:
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)
        broker.close_all()
        await eventually(lambda: bool(callbacks.errors()))
    assert "a second daemon with this client id" in callbacks.errors()[0]
