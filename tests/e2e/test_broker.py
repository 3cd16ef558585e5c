"""A real broker that is down when the daemon starts, and again later."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.timestamps import from_iso
from tests.daemon.publishing.brokers import Mosquitto, subscribed
from tests.e2e import rig
from tests.e2e.demo_market import SYMBOLS
from tests.e2e.rig import Daemon, valid

pytestmark = [pytest.mark.slow, pytest.mark.long]

BARS = [f"forecastd/v1/e2e/bar/binance/{symbol}/1h" for symbol in SYMBOLS]
FORECASTS = [f"forecastd/v1/e2e/forecast/binance/{symbol}/1h" for symbol in SYMBOLS]


async def test_the_daemon_goes_on_without_its_broker(tmp_path: Path) -> None:
    """The daemon forecasts without it, the status names the fault, and each topic's newest message comes later."""
    broker = Mosquitto(tmp_path)
    try:
        async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, mqtt__url=broker.url) as daemon:
            await daemon.until_bars(2)
            assert not daemon.app.status().mqtt.connected
            await daemon.until(lambda: "mqtt" in daemon.app.components.health.condition.reason)
            await has_the_newest(broker, daemon)
            broker.kill()
            await daemon.until(lambda: not daemon.app.components.publisher.state.connected)
            await daemon.until_bars(2)
            await has_the_newest(broker, daemon)
            await daemon.until(lambda: daemon.app.components.health.condition.reason == "")
            assert daemon.app.components.publisher.state.superseded >= len(SYMBOLS)
            await daemon.every_bar_becomes_real()
    finally:
        broker.kill()


async def has_the_newest(broker: Mosquitto, daemon: Daemon) -> None:
    """Starts the broker; the first message on each topic is not older than the newest at that moment."""
    closes = {bar.symbol: bar.close_time_us for bar in daemon.bars}
    issued = {each.forecast.symbol: each.forecast.close_time_us for each in daemon.forecasts}
    broker.start()
    async with subscribed(broker.port) as subscriber:
        for topic in [*BARS, *FORECASTS]:
            await subscriber.until(1, topic=topic)
        for topics, newest, key in ((BARS, closes, "close_time"), (FORECASTS, issued, "bar_close")):
            for topic, symbol in zip(topics, SYMBOLS, strict=True):
                first = valid(subscriber.payloads(topic)[0])
                assert from_iso(first[key]) >= newest[symbol]
    await daemon.until(lambda: daemon.app.components.publisher.state.connected)
