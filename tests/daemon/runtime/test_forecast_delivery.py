"""Delivery of forecasts while the store works, is full, hangs, is damaged, or cannot keep what waits."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.runtime import forecast_delivery
from daemon.store import backlog
from daemon.store.backlog import Record
from daemon.store.errors import StoreDamaged, StoreFull
from features.market import HOUR_US
from tests.daemon.pipeline.builders import BTC
from tests.daemon.publishing.harness import TOPICS, eventually
from tests.daemon.runtime.dispatching import DispatcherSetup, dispatcher_setup
from tests.limits import LIMIT_S

TOPIC = TOPICS.forecast(BTC, HOUR_US)


class FailingStore:
    """Replaces a ledger's saves by ones that raise ``error`` while it is set, or wait for ``go_on``."""

    def __init__(self, at: DispatcherSetup, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        for name in names or ("save_forecast", "save_bars", "save_trades_of", "save_scores"):
            monkeypatch.setattr(at.ledger, name, self._failing(getattr(at.ledger, name)))

    def _failing(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*values: object, **named: object) -> object:
            result = None
            if self.error is not None:
                raise self.error
            result = save(*values, **named)
            self.go_on.wait(LIMIT_S)
            return result

        return failing


def counted(at: DispatcherSetup, name: str, **labels: str) -> float | None:
    return at.sample(name, **BTC._asdict(), **labels)


async def published(at: DispatcherSetup) -> dict[str, bytes]:
    """What waits for the broker, once a forecast is among it."""
    messages: dict[str, bytes] = {}
    async with asyncio.timeout(LIMIT_S):
        while TOPIC not in messages:
            messages |= at.waiting()
            await asyncio.sleep(0.01)
    return messages


async def test_with_room_a_forecast_is_stored_before_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the wait nothing is published that is not stored, and nothing is counted as issued."""
    monkeypatch.setattr(forecast_delivery, "STORE_WAIT_S", LIMIT_S)
    async with dispatcher_setup(tmp_path) as at:
        disk = FailingStore(at, monkeypatch, "save_forecast")
        disk.error = StoreFull("disk full")
        at.close_hours(1)
        await eventually(lambda: at.store.progress.fault is not None)
        await asyncio.sleep(0.05)
        assert TOPIC not in at.waiting()
        assert counted(at, "forecasts_total", source="model") is None
        assert at.dispatcher.latest == {}
        disk.error = None
        sent = await published(at)
        payload = at.ledger.forecast_payload(at.forecasts[0].id)
    assert sent[TOPIC] == payload
    assert json.loads(sent[TOPIC])["stored"] is True
    assert counted(at, "forecasts_total", source="model") == 1


async def test_a_full_disk_does_not_stop_forecasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are published as not stored, counted as such, and stored byte for byte once there is room."""
    monkeypatch.setattr(forecast_delivery, "STORE_WAIT_S", 0.05)
    async with dispatcher_setup(tmp_path) as at:
        disk = FailingStore(at, monkeypatch)
        disk.error = StoreFull("disk full")
        with capture_logs() as logs:
            at.close_hours(1)
            sent = await published(at)
            at.close_hours(2)
            later = await published(at)
        assert [json.loads(each[TOPIC])["stored"] for each in (sent, later)] == [False, False]
        assert counted(at, "forecasts_unstored_total", reason="waiting") == 2
        assert counted(at, "forecasts_total", source="model") is None
        assert [entry["event"] for entry in logs].count("forecast_not_stored") == 2
        assert at.dispatcher.latest[BTC] is at.forecasts[1]
        disk.error = None
        await at.store.call(lambda: None)
        await asyncio.sleep(0)
        stored = [at.ledger.forecast_payload(each.id) for each in at.forecasts]
        last = at.ledger.last_bar(BTC, HOUR_US)
        assert at.waiting().get(TOPIC) is None  # published once
    assert stored == [sent[TOPIC], later[TOPIC]]
    assert counted(at, "forecasts_total", source="model") == 2
    assert last is not None


async def test_a_disk_that_hangs_does_not_stop_forecasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that returns after the forecast was published as not stored leaves the published bytes in the store."""
    monkeypatch.setattr(forecast_delivery, "STORE_WAIT_S", 0.05)
    async with dispatcher_setup(tmp_path) as at:
        disk = FailingStore(at, monkeypatch, "save_forecast")
        disk.go_on.clear()
        at.close_hours(1)
        sent = await published(at)
        disk.go_on.set()
        await at.store.call(lambda: None)
        stored = at.ledger.forecast_payload(at.forecasts[0].id)
    assert json.loads(sent[TOPIC])["stored"] is False
    assert stored == sent[TOPIC]


async def test_a_save_that_fails_is_no_issued_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a damaged store the forecast is published as not stored; metric, log and MQTT event say why."""
    async with dispatcher_setup(tmp_path) as at:
        disk = FailingStore(at, monkeypatch, "save_forecast")
        disk.error = StoreDamaged("the file is damaged")
        with capture_logs() as logs:
            at.close_hours(1)
            sent = await published(at)
        event = json.loads(sent[TOPICS.event("store_lost")])
    assert json.loads(sent[TOPIC])["stored"] is False
    assert counted(at, "forecasts_total", source="model") is None
    assert counted(at, "forecasts_unstored_total", reason="failed") == 1
    assert at.sample("store_lost_total", record="forecasts", reason="failed") == 1
    assert (event["record"], event["count"], event["reason"]) == ("forecasts", 1, "failed")
    (entry,) = [each for each in logs if each["event"] == "store_lost"]
    assert entry["detail"] == "the file is damaged"
    assert "forecast_issued" not in [each["event"] for each in logs]


async def test_what_exceeds_the_backlog_is_counted_and_the_rest_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backlog is bounded in bytes; a forecast beyond it is published, and lost for the store."""
    monkeypatch.setattr(forecast_delivery, "STORE_WAIT_S", 0.0)
    monkeypatch.setattr(backlog, "CAPACITY_BYTES", {Record.FORECASTS: 12_000})
    async with dispatcher_setup(tmp_path) as at:
        disk = FailingStore(at, monkeypatch)
        disk.error = StoreFull("disk full")
        for hour in range(1, 6):
            at.close_hours(hour)
            await published(at)
        assert 0 < at.store.backlog_bytes(Record.FORECASTS) <= 12_000
        lost = counted(at, "forecasts_unstored_total", reason="backlog_full")
        disk.error = None
        await at.store.call(lambda: None)
        stored = [at.ledger.forecast_payload(each.id) is not None for each in at.forecasts]
    assert lost is not None
    assert 0 < lost < 5
    assert stored == [True] * (5 - int(lost)) + [False] * int(lost)
    assert at.sample("store_lost_total", record="forecasts", reason="backlog_full") == lost
