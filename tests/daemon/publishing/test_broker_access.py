"""Access to the broker: protocol versions, TLS, passwords, and errors that name the cure."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.publishing.publisher import MqttSettings
from daemon.publishing.settings import EmbeddedAddress
from tests.daemon.publishing.brokers import Mosquitto, free_port
from tests.daemon.publishing.certificates import Authority
from tests.daemon.publishing.harness import Callbacks, eventually, running
from tests.daemon.publishing.samples import message
from tests.programs import program


async def test_auto_falls_back_where_mqtt_5_is_refused(embedded: EmbeddedAddress) -> None:
    """The refusal is reported once, then the publisher connects with MQTT 3.1.1."""
    callbacks = Callbacks()
    settings = replace(MqttSettings("embedded").on_embedded_broker(embedded), protocol="auto")
    async with running(settings, callbacks) as publisher:
        await eventually(lambda: publisher.state.connected)
        assert publisher.state.protocol == "311"
    assert any("trying 3.1.1" in error for error in callbacks.errors())


async def test_protocol_5_does_not_fall_back(embedded_port: int) -> None:
    """With protocol 5 the error names mqtt.protocol and the publisher keeps trying MQTT 5."""
    callbacks = Callbacks()
    async with running(MqttSettings(f"mqtt://127.0.0.1:{embedded_port}", protocol="5"), callbacks) as publisher:
        await eventually(lambda: publisher.state.attempts > 1)
        assert not publisher.state.connected
    assert "mqtt.protocol" in callbacks.errors()[0]


async def test_tls_with_a_trusted_authority_connects(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    """mqtt.ca_file and, where the broker requires it, a client certificate suffice for TLS."""
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
    async with running(settings, Callbacks()) as publisher:
        publisher.submit(message("x/bar"))
        await eventually(lambda: publisher.depth == 0 and publisher.state.connected)


async def test_a_certificate_of_another_authority_is_refused(
    start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    """The publisher keeps running and retrying, and its state names mqtt.ca_file."""
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue(tmp_path, "broker")
    broker = start_mosquitto(f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}")
    stranger = Authority.make(tmp_path, "stranger")
    callbacks = Callbacks()
    settings = MqttSettings(f"mqtts://127.0.0.1:{broker.port}", ca_file=str(stranger.file))
    async with running(settings, callbacks) as publisher:
        await eventually(lambda: publisher.state.attempts >= 2)
        assert not publisher.state.connected
    assert "mqtt.ca_file" in callbacks.errors()[0]


@pytest.fixture
def password_broker(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    """A broker that requires the password "correct horse" of the user "forecastd"."""
    passwords = tmp_path / "passwords"
    subprocess.run([program("mosquitto_passwd"), "-c", "-b", passwords, "forecastd", "correct horse"], check=True)
    return start_mosquitto("allow_anonymous false", f"password_file {passwords}")


@pytest.mark.parametrize("protocol", ["5", "311"])
async def test_a_password_corrected_while_running_is_used(
    password_broker: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    """The error of a wrong password does not contain it, and the next attempt reads the file again."""
    secret = tmp_path / "secret"
    secret.write_text("wrong donkey\n")
    callbacks = Callbacks()
    settings = MqttSettings(password_broker.url, protocol=protocol, username="forecastd", password_file=str(secret))
    async with running(settings, callbacks) as publisher:
        await eventually(lambda: publisher.state.attempts > 0)
        secret.write_text("correct horse\n")
        await eventually(lambda: publisher.state.connected)
    assert "mqtt.password_file" in callbacks.errors()[0]
    assert "donkey" not in "".join(callbacks.errors())


async def test_a_refused_anonymous_client_is_reported_with_mqtt_username(password_broker: Mosquitto) -> None:
    """Without a user name the error says to set mqtt.username."""
    callbacks = Callbacks()
    async with running(MqttSettings(password_broker.url), callbacks) as publisher:
        await eventually(lambda: publisher.state.attempts > 0)
    assert "set mqtt.username" in callbacks.errors()[0]


async def test_a_missing_password_file_is_named(password_broker: Mosquitto, tmp_path: Path) -> None:
    """A missing password file is a reported failure, not the end of the publisher."""
    callbacks = Callbacks()
    settings = MqttSettings(password_broker.url, username="forecastd", password_file=str(tmp_path / "absent"))
    async with running(settings, callbacks) as publisher:
        await eventually(lambda: publisher.state.attempts > 0)
    assert "absent cannot be read" in callbacks.errors()[0]


async def test_an_unreachable_broker_is_named_with_the_cure() -> None:
    """The state names the URL and the cure after each attempt."""
    callbacks = Callbacks()
    port = free_port()
    async with running(MqttSettings(f"mqtt://127.0.0.1:{port}"), callbacks) as publisher:
        await eventually(lambda: publisher.state.attempts >= 3)
    assert callbacks.errors()[0] == f"no broker listens at mqtt://127.0.0.1:{port}; start it or correct mqtt.url"
