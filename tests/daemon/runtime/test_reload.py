"""Effect of every reloadable key on the components of a daemon: what a reload reports as applied is in force."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from daemon.clock import ManualClock
from daemon.config import Config, load_config
from daemon.config.reload import RELOADABLE_KEYS
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime import periodic_jobs
from daemon.runtime.app import App
from daemon.runtime.hooks import Hooks
from daemon.runtime.wiring import build
from daemon.store.ledger import LEDGER_NAME, Ledger
from features.market import HOUR_US
from tests.daemon.publishing.harness import eventually
from tests.daemon.store.builders import BTC, SCORE, bar, state, trade
from tests.daemon.store.test_forecasts import save

DAY_US = 24 * HOUR_US
NOW_US = 20_000 * DAY_US


class Reloaded:
    """An app with all its components, none of which runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys: dict[str, Any] = {}
        self.levels: list[str] = []
        self.clock = ManualClock(NOW_US)
        self.app = App(
            self.config(),
            clock=self.clock,
            environ={},
            read_config=self.config,
            set_log_level=self.levels.append,
        )
        self.app.components = build(
            self.app.config, ledger=Ledger(folder / LEDGER_NAME), clock=self.clock, hooks=Hooks(), embedded=None
        )

    def config(self) -> Config:
        keys = {
            "instance.state_dir": str(self.folder),
            "model.kind": "har",
            "mqtt.url": "mqtt://127.0.0.1:9",
            **self.keys,
        }
        return load_config(None, command_line=keys, environ={})

    def reload(self, key: str, value: Any) -> None:
        """Reloads with one key changed, which has to be reported as applied."""
        self.keys[key] = value
        assert key in self.app.reload().applied

    async def close(self) -> None:
        await self.app.components.inference.close()
        self.app.components.store.close()
        self.app.components.ledger.close()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Reloaded]:
    opened = Reloaded(tmp_path)
    yield opened
    await opened.close()


async def running_for(seconds: float, job: Awaitable[None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await job


async def grace(daemon: Reloaded) -> object:
    """The grace of an instrument, and whether time advances several times in fifty milliseconds."""
    pipeline = daemon.app.components.pipeline
    pauses_us: list[int] = []

    def recording(due_us: int, *, slack_us: int) -> None:
        pauses_us.append(due_us - daemon.clock.market_us())
        Pipeline.expect_tick(pipeline, due_us, slack_us=slack_us)

    pipeline.expect_tick = recording  # type: ignore[method-assign]
    ticking = asyncio.create_task(periodic_jobs.tick(daemon.app.components, lambda: daemon.app.config))
    await eventually(lambda: bool(pauses_us))
    ticking.cancel()
    del pipeline.expect_tick
    return pipeline.instruments[BTC].timeouts.grace_us, pauses_us[0] < 25_000


async def next_run(daemon: Reloaded) -> object:
    """The hours until the next retraining."""
    daemon.app.components.ledger.set_meta("retrain_last_success_us", str(NOW_US))
    next_us = await daemon.app.components.retrain_job.next_run_us()
    return None if next_us is None else round((next_us - NOW_US) / HOUR_US)


async def history(daemon: Reloaded) -> object:
    """How many bars training reads, and how many are asked for of the venue."""
    components = daemon.app.components
    asked: list[int] = []

    async def candles(symbol: str, interval_us: int, first_us: int, after_us: int) -> list[object]:
        asked.append((after_us - first_us) // HOUR_US)
        return []

    for feed in components.feeds.values():
        feed.rest.candles = candles  # type: ignore[method-assign, assignment]
    if not components.history._ends_us:
        components.ledger.save_bars(bar(open_time_us=NOW_US - hour * HOUR_US) for hour in range(1, 2_501))
        await components.history.complete({BTC: NOW_US})
    await running_for(0.3, components.history.follow_length())
    return (await components.history.recent_frame((BTC,), NOW_US)).height, sum(asked)


async def pause(daemon: Reloaded) -> object:
    """Whether training pauses 100 s before a close."""
    calls: list[str] = []
    supervisor = daemon.app.components.retrainer.supervisor
    supervisor.pause = lambda: calls.append("pause")  # type: ignore[method-assign]
    supervisor.resume = lambda: calls.append("resume")  # type: ignore[method-assign]
    watching: asyncio.Task[None] = getattr(daemon, "watching", None) or asyncio.create_task(
        daemon.app.components.retrain_job.pause_around_closes(lambda: daemon.clock.market_us() + 100_000_000)
    )
    daemon.watching = watching  # type: ignore[attr-defined]  # the same job before and after the reload
    await asyncio.sleep(1.2)
    return calls[-1]


async def kept(daemon: Reloaded) -> object:
    """The days of bars, forecasts and scores, and the hours of trades, that a pass of the retention leaves."""
    ledger = daemon.app.components.ledger
    if ledger.last_bar(BTC, HOUR_US) is None:
        days = range(1, 800)
        ledger.save_bars(bar(open_time_us=NOW_US - day * DAY_US) for day in days)
        ledger.save_scores(msgspec.structs.replace(SCORE, close_time_us=NOW_US - day * DAY_US) for day in days)
        for day in days:
            save(ledger, (NOW_US - day * DAY_US) // HOUR_US, bytes(40_000))
        for hour in range(1, 9):
            ledger.save_trades(BTC, [trade(hour, NOW_US - hour * HOUR_US + 1)], state(1))
    await daemon.app._retention().prune()
    bars, forecasts = ledger.bars(BTC, HOUR_US, 0, NOW_US), ledger.forecasts(0, NOW_US)
    return len(bars), len(forecasts), len(ledger.open_trades(BTC, 0))


async def level(daemon: Reloaded) -> object:
    return daemon.levels[-1:]


class Effect(NamedTuple):
    """What ``probe`` finds before and after a reload of the key with ``value``. ``first``: keys at the start."""

    value: Any
    probe: Callable[[Reloaded], Awaitable[object]]
    before: object
    after: object
    first: Mapping[str, Any] = {}


EFFECTS = {
    "bars.grace_s": Effect(0.1, grace, (2_000_000, False), (100_000, True)),
    "retrain.every": Effect("6h", next_run, 24, 6),
    "retrain.at": Effect("07:00", next_run, None, 7, {"retrain.every": "off"}),
    "retrain.history": Effect("100d", history, (1_200, 0), (2_400, 0), {"retrain.history": "50d"}),
    "retrain.quiet_before_close_s": Effect(150, pause, "resume", "pause"),
    "store.keep_bars": Effect("600d", kept, (799, 730, 2), (600, 730, 2), {"retrain.history": "1d"}),
    "store.keep_forecasts": Effect("100d", kept, (799, 730, 2), (799, 100, 2)),
    "store.keep_open_bar_trades": Effect(
        "5h", kept, (799, 730, 7), (799, 730, 5), {"store.keep_open_bar_trades": "7h"}
    ),
    "store.max_disk_mb": Effect(16, kept, (799, 730, 2), (799, 330, 2)),
    "log.level": Effect("debug", level, [], ["debug"]),
}


def test_every_reloadable_key_has_a_test_of_its_effect() -> None:
    """A key that is made reloadable needs an owner, and its effect a test here."""
    assert set(EFFECTS) == set(RELOADABLE_KEYS)


@pytest.mark.parametrize("key", RELOADABLE_KEYS)
async def test_a_reloaded_key_takes_effect(key: str, daemon: Reloaded) -> None:
    """The component that owns the key behaves by its new value."""
    effect = EFFECTS[key]
    for first, value in effect.first.items():
        daemon.reload(first, value)
    daemon.levels.clear()
    assert await effect.probe(daemon) == effect.before
    daemon.reload(key, effect.value)
    assert await effect.probe(daemon) == effect.after
