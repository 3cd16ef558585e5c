"""What the outbox costs: submit to confirmation through the Publisher, beside a bare QoS 1 publish of aiomqtt.

One message at a time, both ways in turn in one run, on the embedded broker (in this process, as in the daemon)
and on mosquitto where it is installed. The payload is a forecast of six horizons and nine levels.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import numpy as np
import uvloop
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.table import Row, row
from daemon.clock import SystemClock
from daemon.forecasting.records import DataQuality, IssuedForecast, Latency
from daemon.publishing import payloads, wire
from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.publishing.observer import PublisherObserver
from daemon.publishing.publisher import MqttSettings, OutboxMessage, Publisher
from daemon.publishing.topics import Topics
from features.market import HOUR_US, Completeness
from models.forecast import Forecast, ModelInfo

ROUND_TRIPS = 300
ROUNDS = 4
FAN_OUT = 1000
TOPICS = Topics("forecastd/v1", "bench")

RoundTrip = Callable[[], Awaitable[None]]


def run() -> list[Row]:
    """The rows of the benchmark table: name, value, unit, guide."""
    rows = uvloop.run(_on_embedded_broker())
    return rows + (uvloop.run(_on_mosquitto()) if mosquitto_path() else [])


def mosquitto_path() -> str | None:
    """The path of mosquitto; Debian installs it outside some users' PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


async def _on_embedded_broker() -> list[Row]:
    broker = EmbeddedBroker()
    address = await broker.start()
    rows = await _measure("embedded broker", MqttSettings("embedded").on_embedded_broker(address))
    await broker.stop()
    return rows


async def _on_mosquitto() -> list[Row]:
    async with mosquitto() as url:
        return await _measure("mosquitto", MqttSettings(url))


@asynccontextmanager
async def mosquitto() -> AsyncIterator[str]:
    """The address of a mosquitto of our own on a free port."""
    path = mosquitto_path()
    assert path is not None, "mosquitto is not installed"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        # Without set_tcp_nodelay the second of two confirmations waits 40 ms for our acknowledgement of the first.
        lines = (f"listener {port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true")
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        broker = subprocess.Popen([path, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220  # started once, before anything is measured
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):  # noqa: ASYNC110  # it says nowhere that it is up
                await asyncio.sleep(0.01)
            yield f"mqtt://127.0.0.1:{port}"
        finally:
            broker.kill()
            broker.wait()


async def _measure(broker: str, settings: MqttSettings) -> list[Row]:
    payload = payloads.forecast(_forecast())
    async with _published(settings) as (publisher, confirmed):
        mqtt_5 = publisher.state.protocol == "5"
        async with bare_client(settings, mqtt_5) as client:
            bare_trip = _bare_trip(client, payload, mqtt_5)
            publisher_trip = _publisher_trip(publisher, confirmed, payload)
            bare, through = await _alternating(bare_trip, publisher_trip)
        fan_out_s = await _fan_out(publisher, confirmed, payload)
    return [
        row(f"bare QoS 1 round trip, {broker}, p50", _ms(bare, 50), "ms"),
        row(f"bare QoS 1 round trip, {broker}, p99", _ms(bare, 99), "ms"),
        row(f"submit to confirmation, {broker}, p50", _ms(through, 50), "ms"),
        row(f"submit to confirmation, {broker}, p99", _ms(through, 99), "ms"),
        row(f"submit to confirmation over bare, {broker}, p50", _ms(through, 50) / _ms(bare, 50), "ratio", 1.5),
        row(f"{FAN_OUT} topics confirmed, {broker}", fan_out_s, "s", 1.0),
    ]


class _Confirmations(PublisherObserver):
    """Sets an event at each confirmation."""

    def __init__(self, confirmed: asyncio.Event) -> None:
        self._confirmed = confirmed

    def message_delivered(self, message: OutboxMessage, seconds: float) -> None:  # noqa: ARG002  # the observer's
        self._confirmed.set()


@asynccontextmanager
async def _published(settings: MqttSettings) -> AsyncIterator[tuple[Publisher, asyncio.Event]]:
    """A publisher that is connected, and the event that its confirmations set."""
    clock, confirmed = SystemClock(), asyncio.Event()
    status = payloads.status("online", since_us=clock.market_us(), version="bench", reason="")
    publisher = Publisher(
        settings,
        topics=TOPICS,
        clock=clock,
        status=status,
        last_will=lambda: status,
        observer=_Confirmations(confirmed),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publisher.run())
        await asyncio.wait_for(confirmed.wait(), 10)
        yield publisher, confirmed
        await publisher.stop(status)


@asynccontextmanager
async def bare_client(settings: MqttSettings, mqtt_5: bool) -> AsyncIterator[aiomqtt.Client]:
    protocol = aiomqtt.ProtocolVersion.V5 if mqtt_5 else aiomqtt.ProtocolVersion.V311
    async with aiomqtt.Client(
        settings.endpoint.host,
        settings.endpoint.port,
        protocol=protocol,
        username=settings.username or None,
        password=settings.password or None,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    ) as client:
        yield client


def _bare_trip(client: aiomqtt.Client, payload: bytes, mqtt_5: bool) -> RoundTrip:
    async def trip() -> None:
        properties = bare_properties() if mqtt_5 else None
        await client.publish("bench/bare", payload, qos=1, retain=True, properties=properties)

    return trip


def bare_properties() -> Properties:
    """The properties that the contract requires of a message, built for each message because the expiry differs."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.PayloadFormatIndicator = 1
    properties.ContentType = "application/json"
    properties.UserProperty = [("schema", wire.FORECAST_SCHEMA), ("model", "bench")]
    return properties


def _publisher_trip(publisher: Publisher, confirmed: asyncio.Event, payload: bytes) -> RoundTrip:
    async def trip() -> None:
        confirmed.clear()
        publisher.submit(_message("bench/publisher", payload))
        await confirmed.wait()

    return trip


async def _alternating(*trips: RoundTrip) -> list[list[float]]:
    """Seconds of each round trip, the kinds measured in turn so that both see the same machine."""
    seconds: list[list[float]] = [[] for _ in trips]
    for trip in trips:
        await _timed(trip, 20)
    for _ in range(ROUNDS):
        for trip, measured in zip(trips, seconds, strict=True):
            measured.extend(await _timed(trip, ROUND_TRIPS))
    return seconds


async def _timed(trip: RoundTrip, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        started_s = time.perf_counter()
        await trip()
        seconds.append(time.perf_counter() - started_s)
    return seconds


async def _fan_out(publisher: Publisher, confirmed: asyncio.Event, payload: bytes) -> float:
    """Seconds until every one of many retained topics is confirmed."""
    started_s = time.perf_counter()
    for number in range(FAN_OUT):
        publisher.submit(_message(f"bench/fan/{number}", payload))
    async with asyncio.timeout(30):
        while publisher.depth:
            confirmed.clear()
            await confirmed.wait()
    return time.perf_counter() - started_s


def _message(topic: str, payload: bytes) -> OutboxMessage:
    return OutboxMessage(
        topic=topic,
        payload=payload,
        retain=True,
        expires_at_us=None,
        schema=wire.FORECAST_SCHEMA,
        model="bench",
        submitted_s=time.monotonic(),
    )


def _forecast() -> IssuedForecast:
    levels = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
    horizons = (1, 2, 3, 6, 12, 24)
    return IssuedForecast(
        forecast=Forecast(
            venue="binance",
            symbol="BTC-USDT",
            close_time_us=500_000 * HOUR_US,
            interval_us=HOUR_US,
            horizons=horizons,
            levels=levels,
            quantiles=np.outer(np.sqrt(horizons), np.linspace(-0.0081234, 0.0081234, len(levels))),
            volatility=0.0041 * np.sqrt(horizons),
            prob_up=np.full(len(horizons), 0.503),
            attention=np.full(48, 1 / 48),
            model=ModelInfo(id="bench", kind="attention_lstm", trained_until_us=None),
        ),
        source="model",
        reference_price=93250.1,
        issued_at_us=500_000 * HOUR_US + 2_000_000,
        quality=DataQuality(
            completeness=Completeness.PROVEN, missing_trades=0, window_bars_missing=0, clock_skew_ms=None
        ),
        skill=None,
        latency=Latency(bar_close_to_publish=2000, features=3.0, inference=6.0),
    )


def _ms(seconds: list[float], percentile: int) -> float:
    return 1000 * statistics.quantiles(seconds, n=100)[percentile - 1]
