"""Retention of the running daemon's store: age and size, with their announcements."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from daemon.clock import ManualClock
from daemon.config import Config, load_config
from daemon.publishing.message_builder import MessageBuilder
from daemon.publishing.settings import MqttSettings
from daemon.runtime.reporting import Reporting
from daemon.runtime.store_retention import StoreRetention
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from features.market import HOUR_US
from tests.daemon.publishing.harness import TOPICS, Callbacks, make_publisher
from tests.daemon.store.builders import BTC, SCORE, bar
from tests.daemon.store.test_forecasts import save

DAYS = 60
NOW_US = DAYS * 24 * HOUR_US
KEPT_US = 30 * 24 * HOUR_US


def configured(folder: Path, **keys: Any) -> Config:
    return load_config(
        None, command_line={"instance.state_dir": str(folder), "retrain.history": "1d", **keys}, environ={}
    )


class RetentionSetup:
    """A store with 60 days of forecasts and scores, and its retention."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(NOW_US)
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.store = StoreThread()
        self.publisher = make_publisher(MqttSettings(url="mqtt://127.0.0.1:9"), Callbacks(), clock=self.clock)
        self.health = Health(self.clock, ())
        self.metrics = Metrics(version="0", market_us=self.clock.market_us)
        self.config = configured(folder)
        self.retention = StoreRetention(
            self.ledger,
            self.store,
            reporting=Reporting(
                MessageBuilder(self.publisher, TOPICS, self.clock), self.metrics, self.health, self.clock
            ),
            config=lambda: self.config,
            scores_us=KEPT_US,
        )

    def fill(self, *, megabytes: int) -> None:
        """Forecasts of every hour, most of them about ``megabytes`` together, with scores and bars."""
        hours = DAYS * 24
        for hour in range(hours):
            save(self.ledger, hour, payload=bytes(megabytes * 1_000_000 // hours))
        self.ledger.save_scores(msgspec.structs.replace(SCORE, close_time_us=hour * HOUR_US) for hour in range(hours))
        self.ledger.save_bars([bar(open_time_us=hour * HOUR_US) for hour in range(hours)])

    def limited(self, **keys: Any) -> None:
        self.config = configured(self.ledger.path.parent, **keys)

    def events(self) -> list[dict[str, Any]]:
        """The events that wait for the broker, which then has them."""
        found = []
        while (message := self.publisher._outbox.take(self.clock.market_us())) is not None:
            found += [json.loads(message.payload)] if "/event/" in message.topic else []
            self.publisher._outbox.acknowledge(message)
        return found

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"forecastd_{name}", labels)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[RetentionSetup]:
    opened = RetentionSetup(tmp_path)
    yield opened
    opened.store.close()
    opened.ledger.close()


async def test_a_store_at_its_limit_is_pruned_and_announces_it(setup: RetentionSetup) -> None:
    """Log, metric and MQTT event say how many forecasts and scores went and up to when; the file meets the limit."""
    setup.fill(megabytes=30)
    setup.limited(**{"store.max_disk_mb": 20})
    with capture_logs() as logs:
        await setup.retention.prune()
    (event,) = setup.events()
    assert event["kind"] == "store_pruned"
    assert event["forecasts"] > 0
    assert event["scores"] == event["forecasts"]
    (entry,) = [each for each in logs if each["event"] == "store_pruned"]
    assert (entry["reason"], entry["forecasts"], entry["until"]) == ("size", event["forecasts"], event["until"])
    assert setup.sample("store_pruned_total", record="forecasts", reason="size") == event["forecasts"]
    size_bytes = setup.sample("store_size_bytes")
    assert size_bytes is not None
    assert size_bytes <= 20_000_000 == setup.sample("store_size_limit_bytes")
    assert len(setup.ledger.bars(BTC, HOUR_US, 0, NOW_US)) == DAYS * 24
    assert setup.health.condition.reason.count("store size") == 0


async def test_a_limit_that_cannot_be_met_is_a_fault_with_its_cure(setup: RetentionSetup) -> None:
    """What skill needs stays; the log, one event and the health say how large the limit has to be."""
    for hour in range(DAYS * 24):
        save(setup.ledger, hour, payload=bytes(14_000), record=b"pending" if hour > 100 else None)
    setup.limited(**{"store.max_disk_mb": 16})
    with capture_logs() as logs:
        await setup.retention.prune()
        await setup.retention.prune()
    kinds = [event["kind"] for event in setup.events()]
    assert kinds == ["store_pruned", "store_too_large"]
    assert [each["event"] for each in logs].count("store_too_large") == 1
    assert "max_disk_mb" in setup.health.condition.reason
    assert len(setup.ledger.pending()) == DAYS * 24 - 101
    setup.limited(**{"store.max_disk_mb": 100})
    await setup.retention.prune()
    assert "max_disk_mb" not in setup.health.condition.reason


async def test_what_is_too_old_goes_without_an_event(setup: RetentionSetup) -> None:
    """Retention by age is what the configuration asks for: counted and logged, no event."""
    setup.fill(megabytes=1)
    setup.limited(**{"store.keep_forecasts": "10d", "store.keep_bars": "20d"})
    await setup.retention.prune()
    assert setup.events() == []
    assert setup.sample("store_pruned_total", record="forecasts", reason="age") == 50 * 24
    assert setup.sample("store_pruned_total", record="scores", reason="age") == 50 * 24
    assert setup.sample("store_pruned_total", record="bars", reason="age") == 40 * 24
    assert len(setup.ledger.forecasts(0, NOW_US)) == 10 * 24


async def test_a_store_that_cannot_be_pruned_does_not_end_the_daemon(setup: RetentionSetup) -> None:
    """The job goes on after an error of the store."""
    setup.store.close()
    with capture_logs() as logs:
        pruning = setup.retention.run()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pruning
    assert [each["event"] for each in logs] == ["store_not_pruned"]
