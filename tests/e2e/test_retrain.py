"""Training, serving, retraining and refusing a model, with a daemon and without one."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import pytest_asyncio

from daemon.serving.control import ControlClient, ControlRefused
from daemon.simulator.market_data import MarketData
from tests.daemon.publishing.brokers import subscribed
from tests.daemon.publishing.harness import eventually
from tests.daemon.retraining.programs import HANG, OBEDIENT, command
from tests.e2e import demo_market, rig
from tests.e2e.processes import configuration, process
from tests.e2e.rig import Daemon, valid
from tests.limits import LIMIT_S

pytestmark = [pytest.mark.slow, pytest.mark.long]
in_module_loop = pytest.mark.asyncio(loop_scope="module")


SPEED = rig.SPEED / 3  # an hour in 3.6 seconds, in which a network has to answer beside a training process


class Trained(NamedTuple):
    """A state folder with a champion, and the command's output that put it there."""

    folder: Path
    market: MarketData
    replies: list[dict[str, Any]]

    @property
    def champion(self) -> str:
        return (self.folder / "state" / "models" / "champion").read_text("utf-8").strip()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Klines imported and a network trained in the foreground: no daemon runs."""
    folder = tmp_path_factory.mktemp("retrain")
    market = demo_market.recent_market(history_bars=1400)
    klines(market).write_parquet(folder / "klines.parquet")
    nowhere = {"ws_url": "ws://127.0.0.1:9", "rest_url": "http://127.0.0.1:9"}
    file = configuration(folder, interval="1h", kind="attention_lstm", **nowhere)
    file.write_text(file.read_text("utf-8").replace('history = "1h"', 'history = "365d"'), encoding="utf-8")
    with process(folder, "history", "import", str(folder / "klines.parquet"), "-c", str(file)) as importing:
        assert importing.popen.wait(LIMIT_S) == 0, importing.log
    with process(folder, "retrain", "--now", "--json", "-c", str(file)) as training:
        assert training.popen.wait(LIMIT_S) == 0, training.log
        replies = [json.loads(line) for line in training.out.splitlines()]
    return Trained(folder, market, replies)


def klines(market: MarketData) -> pl.DataFrame:
    """The past bars of a market as the columns that Binance's klines have."""
    history = range(len(market) - demo_market.LIVE_BARS)
    rows = []
    for symbol, series in market.series.items():
        tick, lot = 10.0**-series.price_decimals, 10.0**-series.size_decimals
        for index in history:
            figures = series.figures(index)._asdict()
            scales = {"trades": 1, "volume": lot, "taker_buy_volume": lot}
            scales |= dict.fromkeys(("quote_volume", "taker_buy_quote_volume"), tick * lot)
            scaled = {name: value * scales.get(name, tick) for name, value in figures.items()}
            rows.append({"symbol": symbol, "open_time": market.open_us(index) // 1000} | scaled)
    return pl.DataFrame(rows)


@asynccontextmanager
async def serving(trained: Trained, program: str, *, state: Path) -> AsyncIterator[Daemon]:
    """A daemon on this state whose training processes run ``program``, and whose model may take long to answer."""
    async with (
        rig.exchange(trained.market, speed=SPEED) as exchange,
        rig.daemon(state, exchange, model__kind="attention_lstm", retrain__history="60d") as daemon,
    ):
        daemon.app.components.retrainer.supervisor._command = tuple(command(state, program))
        daemon.app.components.rounds._deadline_s = LIMIT_S
        yield daemon


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """A daemon that serves the champion; its training processes run until they are cancelled."""
    state = tmp_path_factory.mktemp("serving")
    shutil.copytree(trained.folder / "state", state, dirs_exist_ok=True)
    async with serving(trained, OBEDIENT, state=state) as made:
        await made.until(lambda: len(made.forecasts) >= len(demo_market.SYMBOLS))
        yield made


def client(daemon: Daemon) -> ControlClient:
    return ControlClient([daemon.app.config.instance.state_dir / "control.sock"])


def training_pid(daemon: Daemon) -> int:
    child = daemon.app.components.retrainer.supervisor._child
    assert child is not None
    assert child._process is not None
    return child._process.pid


async def until_progress(daemon: Daemon) -> asyncio.Task[list[dict[str, Any]]]:
    """Orders a retraining; returns when it is under way, with the task that collects its replies."""
    replies: list[dict[str, Any]] = []

    async def follow() -> list[dict[str, Any]]:
        async for reply in client(daemon).stream("retrain", wait=True):
            replies.append(reply)  # noqa: PERF401  # looked at while they come
        return replies

    task = asyncio.create_task(follow())
    await eventually(lambda: any("progress" in reply for reply in replies))
    return task


def test_without_a_daemon_it_trains_in_the_foreground(trained: Trained) -> None:
    """The progress rises to the end, the artifact becomes the champion of the next start."""
    ratios = [reply["progress"]["ratio"] for reply in trained.replies if "progress" in reply]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1.0
    assert trained.replies[-1]["outcome"] == "promoted"
    assert trained.replies[-1]["model_id"] == trained.champion
    assert not (trained.folder / "state" / "retraining" / "bars.parquet").exists()


@in_module_loop
async def test_the_champion_is_served_from_the_first_bar(trained: Trained, daemon: Daemon) -> None:
    """A start with a champion needs no baseline: source is the model, with its attention."""
    for payload in daemon.payloads:
        document = valid(payload)
        assert document["source"] == "model"
        assert document["model"]["id"] == trained.champion
        assert len(document["attention"]) == 48
        assert math.isclose(sum(document["attention"]), 1.0, abs_tol=1e-4)


@in_module_loop
async def test_a_running_retraining_can_be_cancelled(daemon: Daemon) -> None:
    """A cancel command ends the run, and a process that watches it sees that."""
    following = await until_progress(daemon)
    with pytest.raises(ControlRefused, match="running already"):
        await anext(client(daemon).stream("retrain", wait=True))
    assert [reply async for reply in client(daemon).stream("cancel_retrain")] == [{"cancelled": True}]
    outcome = (await asyncio.wait_for(following, LIMIT_S))[-1]
    assert outcome["outcome"] == "cancelled"
    assert [reply async for reply in client(daemon).stream("cancel_retrain")] == [{"cancelled": False}]


@in_module_loop
async def test_a_killed_training_process_does_not_touch_the_daemon(trained: Trained, daemon: Daemon) -> None:
    """kill -9 of the child: the run has failed, the champion goes on forecasting."""
    following = await until_progress(daemon)
    os.kill(training_pid(daemon), signal.SIGKILL)
    outcome = (await asyncio.wait_for(following, LIMIT_S))[-1]
    assert outcome["outcome"] == "failed"
    assert "SIGKILL" in outcome["reason"]
    before = len(daemon.forecasts)
    await daemon.until(lambda: len(daemon.forecasts) >= before + len(demo_market.SYMBOLS))
    assert daemon.forecasts[-1].source == "model"
    assert daemon.forecasts[-1].forecast.model.id == trained.champion
    retrain = daemon.app.status().retrain
    assert retrain is not None
    assert retrain.last_result == "failed"


@in_module_loop
async def test_a_client_that_leaves_does_not_end_the_run(daemon: Daemon) -> None:
    """The run belongs to the daemon; --no-wait returns at once."""
    assert [reply async for reply in client(daemon).stream("retrain", wait=False)] == [{"started": True}]
    await daemon.until(lambda: daemon.app.components.retrainer.supervisor.status.progress is not None)
    assert daemon.app.components.retrainer.running
    daemon.app.components.retrainer.cancel()
    await daemon.until(lambda: not daemon.app.components.retrainer.running)


@in_module_loop
async def test_a_finished_model_takes_over_between_two_bars(trained: Trained, tmp_path: Path) -> None:
    """Without a champion a baseline forecasts and training starts at once; from one bar on the model does."""
    (tmp_path / "ledger.sqlite").write_bytes((trained.folder / "state" / "ledger.sqlite").read_bytes())
    artifact = trained.folder / "state" / "models" / "artifacts" / trained.champion
    forecast = tmp_path / "forecast"
    program = f"""
import shutil
progress(0.5)
while not os.path.exists({str(forecast)!r}):
    time.sleep(0.05)
folder = os.path.join(spec["output_dir"], {trained.champion!r})
shutil.copytree({str(artifact)!r}, folder)
say(type="finished", artifact=folder, scores={{}})
"""
    async with (
        serving(trained, program, state=tmp_path) as daemon,
        subscribed(daemon.mqtt_port, "forecastd/v1/e2e/#", version="311") as subscriber,
    ):
        await daemon.until(lambda: bool(daemon.forecasts))
        forecast.touch()
        await daemon.until(lambda: daemon.forecasts[-1].source == "model")
        await daemon.until(lambda: daemon.closed % len(demo_market.SYMBOLS) == 0)
        (model,) = await subscriber.until(1, topic="forecastd/v1/e2e/model")
        promoted, *_ = await subscriber.until(1, topic="forecastd/v1/e2e/event/model_promoted")
        finished, *_ = await subscriber.until(1, topic="forecastd/v1/e2e/event/retrain_finished")
    assert valid(model.payload)["id"] == valid(promoted.payload)["model"]["id"] == trained.champion
    assert valid(finished.payload)["result"] == "promoted"
    sources = [each.source for each in daemon.forecasts]
    assert sources[0] == "baseline"
    assert sources == sorted(sources)  # "baseline" before "model", and never back
    rounds = {each.forecast.close_time_us: set[str]() for each in daemon.forecasts}
    for each in daemon.forecasts:
        rounds[each.forecast.close_time_us].add(each.source)
    assert all(len(sources) == 1 for sources in rounds.values())


@in_module_loop
async def test_a_champion_with_other_features_is_not_served(trained: Trained, tmp_path: Path) -> None:
    """After an upgrade a baseline stands in, the status says why, and a retraining starts at once."""
    shutil.copytree(trained.folder / "state", tmp_path, dirs_exist_ok=True)
    forge(tmp_path / "models" / "artifacts" / trained.champion, lambda manifest: manifest | {"schema_hash": "0" * 64})
    async with serving(trained, HANG, state=tmp_path) as daemon:
        await daemon.until(lambda: daemon.app.components.retrainer.supervisor.status.running)
        await daemon.until(lambda: len(daemon.forecasts) >= len(demo_market.SYMBOLS))
        assert {each.source for each in daemon.forecasts} == {"baseline"}
        assert {each.forecast.model.kind for each in daemon.forecasts} == {"har"}
        status = daemon.app.status()
        assert status.state == "degraded"
        assert "champion" in status.reason
        assert status.retrain is not None
        assert status.retrain.running


@in_module_loop
async def test_a_champion_for_other_horizons_is_not_served(trained: Trained, tmp_path: Path) -> None:
    """The configuration changed since training: the daemon starts all the same, on a baseline."""
    shutil.copytree(trained.folder / "state", tmp_path, dirs_exist_ok=True)
    forge(tmp_path / "models" / "artifacts" / trained.champion, lambda manifest: manifest | {"horizons": [1, 2]})
    async with serving(trained, HANG, state=tmp_path) as daemon:
        await daemon.until(lambda: daemon.app.components.retrainer.supervisor.status.running)
        assert daemon.app.status().state == "degraded"


def forge(artifact: Path, change: Any) -> None:
    """Rewrites an artifact's manifest, with its sum."""
    import hashlib

    manifest, sums = artifact / "manifest.json", artifact / "SHA256SUMS"
    manifest.write_text(json.dumps(change(json.loads(manifest.read_text("utf-8")))), encoding="utf-8")
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    sums.write_text(re.sub(r"\w+  manifest.json", f"{digest}  manifest.json", sums.read_text("utf-8")))
