"""Writes whose trades are lost: counted, announced, and never taken for stored by a restart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from daemon.errors import Retryable
from daemon.pipeline.events import BarClosed
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime.restore import restore_pipeline
from daemon.store import backlog
from daemon.store.backlog import Record
from daemon.store.errors import StoreDamaged
from daemon.store.ledger import Ledger
from features.market import HOUR_US, Bar, Completeness
from tests.daemon.forecasting.forecast_builders import START_US
from tests.daemon.pipeline.builders import BTC, feed, make_pipeline, trade
from tests.daemon.publishing.harness import eventually
from tests.daemon.runtime.dispatching import DispatcherSetup, dispatcher_setup
from tests.daemon.runtime.test_forecast_delivery import FailingStore


def receive(at: DispatcherSetup, first_id: int, *tenths: int) -> None:
    """Trades with ids from ``first_id`` at these tenths of hours; their batch goes to the store."""
    for trade_id, tenth in enumerate(tenths, start=first_id):
        at.clock.set(START_US + tenth * HOUR_US // 10)
        feed(at.pipeline, BTC, trade(trade_id, tenth / 10))
    at.dispatcher.drain()
    at.dispatcher.save_trades()


async def stored(at: DispatcherSetup) -> None:
    await at.store.call(lambda: None)


def resumed(ledger: Ledger, first_id: int, *tenths: int) -> tuple[Pipeline, list[Bar]]:
    """A restarted pipeline that gets these trades from its stream and no answer from the venue; its closed bars."""
    pipeline = make_pipeline()
    now_us = START_US + tenths[0] * HOUR_US // 10
    restore_pipeline(pipeline, ledger, (BTC,), now_us)
    pipeline.subscribed(BTC, now_us)
    for trade_id, tenth in enumerate(tenths, start=first_id):
        feed(pipeline, BTC, trade(trade_id, tenth / 10))
    end_us = START_US + tenths[-1] * HOUR_US // 10
    for later_us in (0, 600_000_000, 1_200_000_000):
        pipeline.time_advanced(end_us + later_us, (end_us + later_us) / 1e6)
    return pipeline, [event.bar for event in pipeline.events() if isinstance(event, BarClosed)]


@pytest.mark.parametrize("loss", ["refused", "failed"])
async def test_a_bar_whose_trades_were_lost_is_not_proven_after_a_restart(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restart continues from before the loss, and knows which trades the store lacks."""
    async with dispatcher_setup(tmp_path) as at:
        disk = FailingStore(at, monkeypatch, "save_trades_of")
        receive(at, 2, 2, 3)
        await stored(at)
        if loss == "failed":
            disk.error = StoreDamaged("a page is damaged")
            receive(at, 4, 4, 5)
            await stored(at)
        else:
            busy = threading.Event()
            at.store.submit(busy.wait)
            monkeypatch.setattr(backlog, "CAPACITY_BYTES", {Record.TRADES: 1})
            receive(at, 4, 4)
            receive(at, 5, 5)
            busy.set()
        disk.error = None
        await stored(at)
        receive(at, 6, 6)
        await stored(at)
        lost = sum(
            at.sample("store_lost_total", record="trades", reason=each) or 0 for each in ("backlog_full", "failed")
        )
        state = at.ledger.sequence_state(BTC)
        _, bars = resumed(at.ledger, 7, 7, 8, 11)
    assert state is not None
    assert state.last_id < 5
    assert lost == 3 if loss == "failed" else lost == 2
    assert [bar.completeness for bar in bars] == [Completeness.GAP]
    assert bars[0].missing_trades == 6 - state.last_id


async def test_the_bar_after_a_loss_is_stored_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the next bar on a restart can prove bars again."""
    async with dispatcher_setup(tmp_path) as at:
        disk = FailingStore(at, monkeypatch, "save_trades_of")
        disk.error = StoreDamaged("a page is damaged")
        receive(at, 2, 2, 3)
        await stored(at)
        disk.error = None
        receive(at, 4, 5)
        receive(at, 5, 11, 12)
        receive(at, 7, 13)
        await stored(at)
        pipeline, bars = resumed(at.ledger, 8, 14, 21)
    assert pipeline.instruments[BTC].first_open_us == START_US + HOUR_US
    (bar,) = bars
    assert (bar.open_time_us, bar.trades, bar.completeness) == (START_US + HOUR_US, 4, Completeness.PROVEN)


async def test_lost_bars_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that could not be stored is counted, and its MQTT event names it."""
    async with dispatcher_setup(tmp_path) as at:
        FailingStore(at, monkeypatch, "save_bars").error = StoreDamaged("a page is damaged")
        at.close_hours(1)
        await eventually(lambda: at.sample("store_lost_total", record="bars", reason="failed") == 1)


async def test_a_blocked_store_keeps_order_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the bounds of the backlog everything is stored once there is room."""
    async with dispatcher_setup(tmp_path) as at:
        disk = FailingStore(at, monkeypatch)
        disk.error = Retryable("locked")
        receive(at, 2, 2, 3, 4)
        receive(at, 5, 11, 12)
        await eventually(lambda: at.store.progress.fault is not None)
        disk.error = None
        await stored(at)
        assert len(at.ledger.open_trades(BTC, START_US)) == 6
        last = at.ledger.last_bar(BTC, HOUR_US)
    assert last is not None
    assert last.trades == 4
