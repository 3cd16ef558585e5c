import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import jsonschema
import pytest
import uvloop

from daemon.clock import ManualClock, ScaledClock, SystemClock
from daemon.publishing.connection import ConnectOptions
from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.publishing.outbox import DropReason
from daemon.publishing.publisher import MqttSettings, RetryPolicy
from daemon.publishing.schemas import schema
from tests.daemon.publishing import samples
from tests.daemon.publishing.brokers import Mosquitto, free_port, subscribed
from tests.daemon.publishing.certificates import Authority
from tests.daemon.publishing.harness import QUICK, TOPICS, Record, eventually, publisher, running, status
from tests.daemon.publishing.samples import message
from tests.programs import program

SECOND_US = 1_000_000


async def test_messages_arrive_with_the_properties_of_mqtt_5(mosquitto: Mosquitto) -> None:
    """Content type, payload format, schema, model and an expiry in wall seconds reach the subscriber."""
    clock = ScaledClock(start_us=0, speed=360)
    async with (
        subscribed(mosquitto.port) as subscriber,
        running(MqttSettings(mosquitto.url), Record(), clock=clock) as p,
    ):
        p.submit(message("x/forecast", b"{}", expires_at_us=7200 * SECOND_US, model="01JGW"))
        [received] = await subscriber.until(1, topic="x/forecast")
    properties = received.properties.json()  # type: ignore[union-attr]
    assert properties["ContentType"] == "application/json"
    assert properties["PayloadFormatIndicator"] == 1
    assert properties["UserProperty"] == [("schema", "forecastd.bar.v1"), ("model", "01JGW")]
    assert properties["MessageExpiryInterval"] in (19, 20)  # 7200 s at 360 times the speed, less the time under way
    assert received.qos == 1


async def test_a_broker_forgets_an_expired_message(mosquitto: Mosquitto) -> None:
    """A retained forecast is gone for later subscribers when its time is over; a bar stays."""
    async with running(MqttSettings(mosquitto.url), Record()) as p:
        now_us = SystemClock().market_us()
        p.submit(message("x/forecast", expires_at_us=now_us + SECOND_US))
        p.submit(message("x/bar"))
        await eventually(lambda: p.depth == 0)
        await asyncio.sleep(2.1)
        async with subscribed(mosquitto.port, "x/#") as subscriber:
            await subscriber.until(1, topic="x/bar")
    assert subscriber.of("x/forecast") == []


async def test_birth_last_state_and_farewell_are_retained(mosquitto: Mosquitto) -> None:
    """A subscriber sees online, whatever the daemon says later, and stopped after a clean end."""
    async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
        async with running(MqttSettings(mosquitto.url), Record()) as p:
            await subscriber.until(1)
            p.update_status(status("degraded"))
            await subscriber.until(2)
        await subscriber.until(3)
    assert subscriber.payloads(TOPICS.status) == [status(state) for state in ("online", "degraded", "stopped")]
    async with subscribed(mosquitto.port, TOPICS.status) as late:
        [last] = await late.until(1)
    assert (last.payload, last.retain) == (status("stopped"), True)


async def test_a_stop_first_delivers_what_waits(mosquitto: Mosquitto) -> None:
    """Nothing that was submitted before the stop is left behind."""
    record = Record()
    async with running(MqttSettings(mosquitto.url), record) as p:
        await eventually(lambda: p.state.published == 1)
        for number in range(200):
            p.submit(message(f"x/{number}", submitted_s=SystemClock().wall_s()))
    assert p.state.published == 202
    assert (p.depth, p.state.connected) == (0, False)
    assert 0 < max(record.latencies_s) < 5


async def test_a_stop_without_a_broker_ends_in_time() -> None:
    """A daemon is not held up by a broker that is not there."""
    started_s = asyncio.get_running_loop().time()
    async with running(MqttSettings(f"mqtt://127.0.0.1:{free_port()}"), Record()) as p:
        await eventually(lambda: p.state.attempts > 0)
    assert asyncio.get_running_loop().time() - started_s < 1.5


async def test_a_stop_beside_a_frozen_broker_ends_in_time(mosquitto: Mosquitto) -> None:
    """A farewell that nobody confirms is followed by the last will: the connection is cut."""
    async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
        async with running(MqttSettings(mosquitto.url), Record(), retry_policy=RetryPolicy(stop_s=0.3)) as p:
            await subscriber.until(1)
            mosquitto.freeze()
            started_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started_s < 2
        assert not p.state.connected
        mosquitto.thaw()
        await subscriber.until(3)
    assert subscriber.payloads(TOPICS.status) == [status(state) for state in ("online", "stopped", "offline")]


async def test_the_embedded_broker_is_served_by_the_older_protocol(embedded_port: int) -> None:
    """The same publisher without properties."""
    settings = MqttSettings("embedded").on_embedded_broker(embedded_port)
    async with subscribed(embedded_port, version="311") as subscriber, running(settings, Record()) as p:
        p.submit(message("x/bar", b"[1]", expires_at_us=1 + SystemClock().market_us() + 60 * SECOND_US))
        [received] = await subscriber.until(1, topic="x/bar")
        assert (received.payload, p.state.protocol) == (b"[1]", "311")


async def test_auto_falls_back_where_mqtt_5_is_refused(embedded_port: int) -> None:
    """Refused once, said so, and connected with 3.1.1."""
    record = Record()
    async with running(MqttSettings(f"mqtt://127.0.0.1:{embedded_port}"), record) as p:
        await eventually(lambda: p.state.connected)
        assert p.state.protocol == "311"
    assert any("trying 3.1.1" in error for error in record.errors())


async def test_protocol_5_does_not_fall_back(embedded_port: int) -> None:
    """Who asks for MQTT 5 gets an error that names the cure."""
    record = Record()
    async with running(MqttSettings(f"mqtt://127.0.0.1:{embedded_port}", protocol="5"), record) as p:
        await eventually(lambda: p.state.attempts > 1)
        assert not p.state.connected
    assert "mqtt.protocol" in record.errors()[0]


async def test_tls_with_a_known_authority_is_used(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    """The authority's certificate is all it takes, and a client certificate where the broker wants one."""
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue(tmp_path, "broker")
    own_certificate, own_key = authority.issue(tmp_path, "forecastd")
    broker = start_mosquitto(
        f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true"
    )
    settings = MqttSettings(
        f"mqtts://127.0.0.1:{broker.port}",
        ca_file=str(authority.file),
        cert_file=str(own_certificate),
        key_file=str(own_key),
    )
    async with running(settings, Record()) as p:
        p.submit(message("x/bar"))
        await eventually(lambda: p.depth == 0 and p.state.connected)


async def test_a_certificate_of_another_authority_is_refused(
    start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    """The publisher lives on, tries slowly, and its state says what to set."""
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue(tmp_path, "broker")
    broker = start_mosquitto(f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}")
    stranger = Authority.make(tmp_path, "stranger")
    record = Record()
    settings = MqttSettings(f"mqtts://127.0.0.1:{broker.port}", ca_file=str(stranger.file))
    async with running(settings, record) as p:
        await eventually(lambda: p.state.attempts >= 2)
        assert not p.state.connected
    assert "mqtt.ca_file" in record.errors()[0]


@pytest.fixture
def guarded(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    """A broker that wants the password "correct horse" from the user "forecastd"."""
    passwords = tmp_path / "passwords"
    subprocess.run([program("mosquitto_passwd"), "-c", "-b", passwords, "forecastd", "correct horse"], check=True)
    return start_mosquitto("allow_anonymous false", f"password_file {passwords}")


@pytest.mark.parametrize("protocol", ["5", "311"])
async def test_a_password_mended_while_running_is_used(guarded: Mosquitto, tmp_path: Path, protocol: str) -> None:
    """A wrong password is a visible error, never logged, and the file is read again at the next attempt."""
    secret = tmp_path / "secret"
    secret.write_text("wrong donkey\n")
    record = Record()
    settings = MqttSettings(guarded.url, protocol=protocol, username="forecastd", password_file=str(secret))
    async with running(settings, record) as p:
        await eventually(lambda: p.state.attempts > 0)
        secret.write_text("correct horse\n")
        await eventually(lambda: p.state.connected)
    assert "mqtt.password_file" in record.errors()[0]
    assert "donkey" not in "".join(record.errors())


async def test_an_anonymous_client_is_told_to_name_itself(guarded: Mosquitto) -> None:
    """The cure differs where no user name is set."""
    record = Record()
    async with running(MqttSettings(guarded.url), record) as p:
        await eventually(lambda: p.state.attempts > 0)
    assert "set mqtt.username" in record.errors()[0]


async def test_a_missing_password_file_is_named(guarded: Mosquitto, tmp_path: Path) -> None:
    """A daemon does not die of a file that is not there yet."""
    record = Record()
    settings = MqttSettings(guarded.url, username="forecastd", password_file=str(tmp_path / "absent"))
    async with running(settings, record) as p:
        await eventually(lambda: p.state.attempts > 0)
    assert "absent cannot be read" in record.errors()[0]


async def test_a_restarted_broker_is_told_everything_it_should_hold(mosquitto: Mosquitto) -> None:
    """Birth first, then every retained topic, byte for byte, though the broker forgot them all."""
    record = Record()
    async with running(MqttSettings(mosquitto.url), record) as p:
        p.submit(message("x/forecast", b'{"id": 1}'))
        p.submit(message("x/bar", b'{"revision": 0}'))
        p.submit(message("x/event", b"once", retain=False))
        await eventually(lambda: p.state.published == 4)
        mosquitto.kill()
        await eventually(lambda: not p.state.connected)
        mosquitto.start()
        await eventually(lambda: p.state.connected and p.state.repeated == 3)
        async with subscribed(mosquitto.port) as subscriber:
            await subscriber.until(3)
            assert subscriber.payloads("x/forecast") == [b'{"id": 1}']
            assert subscriber.payloads("x/bar") == [b'{"revision": 0}']
            assert subscriber.payloads("x/event") == []
            assert subscriber.payloads(TOPICS.status) == [status("online")]
    assert record.dropped == [(status("online"), DropReason.SUPERSEDED)] or record.dropped == []
    assert record.delivered.count(b'{"id": 1}') == 1


async def test_the_birth_message_comes_first_on_every_connection(mosquitto: Mosquitto) -> None:
    """A connection that is given up ends in the last will; the next begins with the birth, then the retained state."""
    async with subscribed(mosquitto.port) as subscriber, running(MqttSettings(mosquitto.url), Record()) as p:
        p.submit(message("x/bar", b"1"))
        await subscriber.until(2)
        for count in (2, 3):
            mosquitto.freeze()
            p.submit(message("x/event", b"", retain=False))
            await eventually(lambda: not p.state.connected)
            mosquitto.thaw()
            await subscriber.until(count, topic="x/bar")
    seen = [(received.topic.value, received.payload) for received in subscriber.messages]
    deaths = [place for place, received in enumerate(seen) if received == (TOPICS.status, status("offline"))]
    assert len(deaths) == 2
    for place in deaths:
        assert seen[place + 1 : place + 3] == [(TOPICS.status, status("online")), ("x/bar", b"1")]


async def test_nothing_is_sent_before_the_birth_message_is_confirmed() -> None:
    """The port is small enough for a hand-written broker, here one that confirms when it is told to."""
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

    async with running(MqttSettings("mqtt://nowhere"), Record(), connect=held) as p:
        p.submit(message("x/bar"))
        p.submit(message("x/event", retain=False))
        await eventually(lambda: len(published) > 0)
        assert (published, p.depth) == ([TOPICS.status], 3)
        confirm.set()
        await eventually(lambda: p.depth == 0)
    assert published == [TOPICS.status, "x/bar", "x/event", TOPICS.status]


async def test_a_broker_killed_in_mid_stream_costs_no_message(mosquitto: Mosquitto) -> None:
    """Every topic ends with its newest message and every event arrives, through a kill and a restart."""
    record = Record()
    async with running(MqttSettings(mosquitto.url), record) as p:
        await eventually(lambda: p.state.connected)
        for number in range(300):
            p.submit(message(f"x/{number % 30}", str(number).encode()))
            p.submit(message("x/event", str(number).encode(), retain=False))
            if number == 150:
                mosquitto.kill()
                await eventually(lambda: not p.state.connected)
            elif number % 10 == 0:
                await asyncio.sleep(0.005)
        await asyncio.to_thread(mosquitto.start)
        await eventually(lambda: p.depth == 0 and p.state.connected)
        async with subscribed(mosquitto.port, "x/+") as subscriber:
            await subscriber.until(30)
    assert {seen.topic.value: seen.payload for seen in subscriber.messages} == {
        f"x/{topic}": str(270 + topic).encode() for topic in range(30)
    }
    events = [payload for payload in record.delivered if payload.isdigit()]
    assert all(str(number).encode() in events for number in range(300))
    assert {reason for _payload, reason in record.dropped} == {DropReason.SUPERSEDED}


async def test_events_survive_an_outage_in_their_order(mosquitto: Mosquitto) -> None:
    """At least once, and in order: a repetition never brings an older event after a newer one is confirmed."""
    async with subscribed(mosquitto.port, "x/#") as subscriber, running(MqttSettings(mosquitto.url), Record()) as p:
        for number in range(100):
            p.submit(message(f"x/event/{number % 3}", str(number).encode(), retain=False))
            if number == 50:
                await subscriber.until(20)
                mosquitto.freeze()
        await eventually(lambda: not p.state.connected)
        mosquitto.thaw()
        await eventually(lambda: p.depth == 0 and p.state.connected)
        await subscriber.until(100)
    first_seen = list(dict.fromkeys(int(bytes(received.payload)) for received in subscriber.messages))
    assert first_seen == list(range(100))


async def test_a_forecast_past_its_time_is_not_sent_when_the_broker_returns(mosquitto: Mosquitto) -> None:
    """An outage longer than a bar does not end in yesterday's forecasts."""
    clock = ManualClock(start_us=0)
    record = Record()
    async with running(MqttSettings(mosquitto.url), record, clock=clock) as p:
        await eventually(lambda: p.state.connected)
        mosquitto.kill()
        await eventually(lambda: not p.state.connected)
        p.submit(message("x/old", b"old", valid_until_us=10 * SECOND_US, expires_at_us=99 * SECOND_US))
        p.submit(message("x/new", b"new", valid_until_us=60 * SECOND_US, expires_at_us=99 * SECOND_US))
        clock.set(11 * SECOND_US)
        await asyncio.to_thread(mosquitto.start)
        await eventually(lambda: p.depth == 0 and p.state.connected)
    assert (b"old", DropReason.EXPIRED) in record.dropped
    assert b"new" in record.delivered
    assert p.state.expired == 1


async def test_a_frozen_broker_is_left_and_found_again(mosquitto: Mosquitto) -> None:
    """A broker that takes bytes and answers nothing is noticed by the missing confirmation."""
    record = Record()
    async with running(MqttSettings(mosquitto.url), record) as p:
        await eventually(lambda: p.state.connected and p.depth == 0)
        mosquitto.freeze()
        p.submit(message("x/bar", b"1"))
        await eventually(lambda: not p.state.connected and bool(record.errors()))
        assert "did not confirm" in record.errors()[0]
        p.submit(message("x/bar", b"2"))
        mosquitto.thaw()
        await eventually(lambda: p.depth == 0 and p.state.connected)
        async with subscribed(mosquitto.port, "x/bar") as subscriber:
            [last] = await subscriber.until(1)
    assert last.payload == b"2"


async def test_the_outbox_is_bounded_while_the_broker_is_away() -> None:
    """Topics and events beyond the bounds are dropped, counted and announced; the oldest go first."""
    record = Record()
    policy = RetryPolicy(answer_s=1, first_retry_s=0.05, longest_retry_s=0.1, max_topics=3, max_events=2)
    async with running(MqttSettings(f"mqtt://127.0.0.1:{free_port()}"), record, retry_policy=policy) as p:
        for number in range(5):
            p.submit(message("x/event", f"e{number}".encode(), retain=False))
            p.submit(message(f"x/{number}", f"t{number}".encode()))
        assert p.depth <= p.capacity
        assert p.state.overflowed == 6
    dropped = [payload for payload, reason in record.dropped if reason is DropReason.OVERFLOW]
    assert sorted(dropped) == [b"e0", b"e1", b"e2", b"t0", b"t1", b"t2"]


_CHILD = """
    import asyncio, sys
    from daemon.publishing.publisher import MqttSettings
    from tests.daemon.publishing.harness import Record, running, eventually

    async def main():
        async with running(MqttSettings(sys.argv[1]), Record()) as publisher:
            await eventually(lambda: publisher.state.connected and publisher.depth == 0)
            print("up", flush=True)
            await asyncio.sleep(30)

    asyncio.run(main())
"""


@pytest.mark.slow
async def test_an_abrupt_death_leaves_the_last_will(mosquitto: Mosquitto) -> None:
    """After kill -9 the broker itself says offline, retained."""
    async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(_CHILD), mosquitto.url, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert child.stdout is not None
            async with asyncio.timeout(20):
                assert await child.stdout.readline() == b"up\n"
        finally:
            os.kill(child.pid, signal.SIGKILL)
            await child.wait()
        await subscriber.until(2)
    assert subscriber.payloads(TOPICS.status) == [status("online"), status("offline")]


async def test_a_cancelled_publisher_leaves_its_last_will(mosquitto: Mosquitto) -> None:
    """Ended without a farewell, the connection is cut, so that nobody believes in a daemon that is gone."""
    async with subscribed(mosquitto.port, TOPICS.status) as subscriber:
        p = publisher(MqttSettings(mosquitto.url), Record())
        task = asyncio.create_task(p.run())
        await subscriber.until(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await subscriber.until(2)
    assert subscriber.payloads(TOPICS.status)[-1] == status("offline")


async def test_a_broker_that_is_not_there_is_named_with_the_cure() -> None:
    """The state tells what to do, attempt after attempt."""
    record = Record()
    port = free_port()
    async with running(MqttSettings(f"mqtt://127.0.0.1:{port}"), record) as p:
        await eventually(lambda: p.state.attempts >= 3)
    assert record.errors()[0] == f"no broker listens at mqtt://127.0.0.1:{port}; start it or correct mqtt.url"


async def test_every_message_is_valid_as_a_subscriber_receives_it(mosquitto: Mosquitto) -> None:
    """What comes out of the broker obeys the schema that its user property names."""
    async with subscribed(mosquitto.port) as subscriber, running(MqttSettings(mosquitto.url), Record()) as p:
        sent = samples.every_payload()
        for number, payload in enumerate(sent):
            p.submit(message(f"x/{number}", payload))
        await subscriber.until(len(sent) + 1)
    for received in subscriber.messages:
        document = json.loads(bytes(received.payload))
        jsonschema.Draft202012Validator(schema(document["schema"])).validate(document)


async def test_an_error_in_a_callback_is_not_swallowed(mosquitto: Mosquitto) -> None:
    """A bug in the application ends the publisher with that bug, not with a retry."""

    class Faulty(Record):
        def on_delivered(self, message: object, seconds: float) -> None:
            raise ZeroDivisionError

    p = publisher(MqttSettings(mosquitto.url), Faulty())
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(p.run(), 5)
    assert caught.group_contains(ZeroDivisionError)


def test_it_publishes_on_uvloop() -> None:
    """The daemon's own event loop is uvloop, with the broker in the same loop."""

    async def publish() -> int:
        broker = EmbeddedBroker()
        settings = MqttSettings("embedded").on_embedded_broker(await broker.start())
        async with running(settings, Record(), retry_policy=QUICK) as p:
            p.submit(message("x/bar"))
            await eventually(lambda: p.depth == 0 and p.state.connected)
        await broker.stop()
        return p.state.published

    assert uvloop.run(publish()) == 3
