"""Retained topics of instruments that come and go, and the states of symbols at a stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.config import Config, load_config
from daemon.publishing.topics import Topics
from daemon.runtime.broker_link import outbox_bounds
from daemon.runtime.retained_topics import FILE_NAME, RetainedTopics, configured_topics, topics_beside
from tests.daemon.publishing.brokers import Mosquitto, subscribed
from tests.daemon.publishing.conftest import start_mosquitto
from tests.e2e import rig

__all__ = ["start_mosquitto"]  # a fixture


def config(*symbols: str, interval: str = "1h", name: str = "main") -> Config:
    values = {
        "feeds": [{"venue": "binance", "symbols": list(symbols)}],
        "bars.interval": interval,
        "instance.name": name,
    }
    return load_config(None, command_line=values, environ={})


def retained(folder: Path, current: Config) -> RetainedTopics:
    return RetainedTopics(folder, configured_topics(Topics("forecastd/v1", current.instance.name), current))


def test_topics_of_a_removed_symbol_are_left_over_until_they_are_cleared(tmp_path: Path) -> None:
    """Over further starts too, as a broker may be away; then they are forgotten."""
    assert retained(tmp_path, config("BTC-USDT", "ETH-USDT")).leftover == set()
    expected = {
        "forecastd/v1/main/bar/binance/ETH-USDT/1h",
        "forecastd/v1/main/forecast/binance/ETH-USDT/1h",
        "forecastd/v1/main/symbol/binance/ETH-USDT/status",
    }
    assert retained(tmp_path, config("BTC-USDT")).leftover == expected
    second = retained(tmp_path, config("BTC-USDT"))
    assert second.leftover == expected
    for topic in expected:
        second.cleared(topic)
    assert retained(tmp_path, config("BTC-USDT")).leftover == set()


def test_a_symbol_that_returns_is_not_cleared(tmp_path: Path) -> None:
    retained(tmp_path, config("BTC-USDT", "ETH-USDT"))
    retained(tmp_path, config("BTC-USDT"))
    assert retained(tmp_path, config("BTC-USDT", "ETH-USDT")).leftover == set()


def test_another_interval_or_name_leaves_topics_over(tmp_path: Path) -> None:
    """The topics of the old interval; with another name the whole old tree, its status included."""
    retained(tmp_path, config("BTC-USDT"))
    hourly = retained(tmp_path, config("BTC-USDT", interval="15m")).leftover
    assert {topic.rpartition("/")[2] for topic in hourly} == {"1h"}
    renamed = retained(tmp_path, config("BTC-USDT", interval="15m", name="other")).leftover
    assert "forecastd/v1/main/status" in renamed
    assert all(topic.startswith("forecastd/v1/main/") for topic in renamed)


def test_a_state_directory_without_a_record_has_the_topics_of_its_forecasts(tmp_path: Path) -> None:
    """What an earlier version left: forecast, bar and symbol state; only once, then there is a record."""
    stored = ["forecastd/v1/main/forecast/binance/OLD-USDT/1h", "forecastd/v1/main/forecast/binance/BTC-USDT/1h"]
    current = config("BTC-USDT")

    def load() -> RetainedTopics:
        topics = configured_topics(Topics("forecastd/v1", "main"), current)
        return RetainedTopics(tmp_path, topics, unrecorded=lambda: topics_beside(stored))

    first = load()
    assert first.leftover == {
        "forecastd/v1/main/forecast/binance/OLD-USDT/1h",
        "forecastd/v1/main/bar/binance/OLD-USDT/1h",
        "forecastd/v1/main/symbol/binance/OLD-USDT/status",
    }
    for topic in list(first.leftover):
        first.cleared(topic)
    assert load().leftover == set()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"#\nforecastd/+/x\n", b"\n\n"])
def test_a_damaged_record_clears_nothing(tmp_path: Path, content: bytes) -> None:
    """A wildcard is no topic: publishing to it would end the connection."""
    (tmp_path / FILE_NAME).write_bytes(content)
    assert retained(tmp_path, config("BTC-USDT")).leftover == set()


def test_a_record_that_cannot_be_written_is_no_fault_of_the_daemon(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert retained(tmp_path, config("BTC-USDT")).leftover == set()


def test_the_outbox_holds_every_topic(tmp_path: Path) -> None:
    """Its bound follows the instruments: 2,000 symbols have 6,002 topics, besides those of removed symbols."""
    symbols = [f"A{number}-USDT" for number in range(2000)]
    topics = retained(tmp_path, config(*symbols))
    assert outbox_bounds(len(topics), 2000).max_topics == 6002
    assert outbox_bounds(len(topics), 2000).max_events == 8000
    assert outbox_bounds(5, 1).max_events == 1000


@pytest.mark.slow
async def test_a_stop_and_a_removed_symbol_leave_no_live_state(
    tmp_path: Path, start_mosquitto: Callable[..., Mosquitto]
) -> None:
    """At the stop every symbol is stale; at the next start the removed one's topics are empty."""
    broker = start_mosquitto()
    async with rig.exchange() as exchange:
        async with rig.daemon(tmp_path, exchange, mqtt__url=broker.url) as daemon:
            await daemon.until_bars(1)
        stopped = await states(broker)
        assert {key: state["state"] for key, state in stopped.items()} == {"BTC-USDT": "stale", "ETH-USDT": "stale"}
        assert all(state["reason"].startswith("forecastd stopped") for state in stopped.values())
        feed = {"venue": "binance", "symbols": ["BTC-USDT"], **exchange.addresses._asdict()}
        async with (
            subscribed(broker.port) as subscriber,
            rig.daemon(tmp_path, exchange, mqtt__url=broker.url, feeds=[feed]) as daemon,
        ):
            await daemon.until(lambda: not daemon.app.components.retained.leftover)
            # Confirmed by the broker is not yet delivered to the subscriber.
            await daemon.until(lambda: len({seen.topic.value for seen in subscriber.messages if not seen.payload}) >= 3)
            cleared = {seen.topic.value for seen in subscriber.messages if not seen.payload}
            assert {topic.split("/")[3] for topic in cleared} == {"bar", "forecast", "symbol"}
            assert all("ETH-USDT" in topic for topic in cleared)
            assert set(await states(broker)) == {"BTC-USDT"}


async def states(broker: Mosquitto) -> dict[str, dict[str, str]]:
    """The retained state of each symbol."""
    async with subscribed(broker.port, "forecastd/v1/e2e/#") as subscriber:
        await subscriber.until(1, topic="forecastd/v1/e2e/status")
        await asyncio.sleep(0.3)  # a broker sends retained messages in an order of its own
        documents = [json.loads(seen.payload) for seen in subscriber.messages if "/symbol/" in seen.topic.value]
    return {document["symbol"]: document for document in documents}
