"""Life of one daemon: a venue that is down, reload, a full disk, and the stop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from daemon.config import Config, load_config
from daemon.errors import ConfigError, ForecastdError, Retryable
from daemon.simulator.exchange import Addresses
from daemon.store.ledger import Ledger
from features.market import Bar
from tests.daemon.publishing.brokers import Mosquitto, subscribed
from tests.daemon.publishing.conftest import start_mosquitto
from tests.daemon.publishing.harness import eventually
from tests.e2e import demo_market, rig
from tests.e2e.rig import Daemon, Exchange
from tests.limits import LIMIT_S, SLACK_S

__all__ = ["start_mosquitto"]  # a fixture

NOWHERE = Addresses("ws://127.0.0.1:9", "http://127.0.0.1:9")


async def ending(daemon: Daemon) -> BaseException | None:
    """The error with which a daemon ends by itself."""
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait({daemon.running})
    return daemon.running.exception()


def started(folder: Path, exchange: Exchange, **keys: Any) -> Daemon:
    return Daemon(rig.configured(folder, exchange.addresses, **keys), exchange, {"RUNTIME_DIRECTORY": str(folder)})


@pytest.mark.slow
async def test_the_final_status_names_the_error(tmp_path: Path, start_mosquitto: Callable[..., Mosquitto]) -> None:
    """The retained status has the state stopped and the reason."""
    broker = start_mosquitto()
    async with rig.exchange() as exchange, subscribed(broker.port, "forecastd/v1/e2e/status") as subscriber:
        daemon = started(tmp_path, exchange, mqtt__url=broker.url)
        await daemon.until(lambda: bool(subscriber.messages))
        daemon.app.components.pipeline.time_advanced = fail  # type: ignore[method-assign]  # a defect of ours
        error = await ending(daemon)
        assert isinstance(error, ZeroDivisionError)
        async with asyncio.timeout(LIMIT_S):
            while rig.valid(subscriber.messages[-1].payload)["state"] != "stopped":
                await asyncio.sleep(0.01)
    assert "a defect" in rig.valid(subscriber.messages[-1].payload)["reason"]


def fail(now_us: int, wall_s: float) -> None:
    raise ZeroDivisionError("a defect")


@pytest.mark.slow
async def test_a_venue_that_is_down_does_not_end_the_daemon(tmp_path: Path) -> None:
    """The other components run, and readiness names the missing venue."""
    async with rig.exchange() as exchange:
        exchange.simulated.rest_failing(503)
        exchange.simulated.refuse_connections()
        async with rig.daemon(tmp_path, exchange) as daemon:
            await asyncio.sleep(0.5)
            assert not daemon.running.done()
            assert daemon.app.components.health.readiness_problems()
            exchange.simulated.rest_failing(None)
            exchange.simulated.refuse_connections(refusing=False)
            await daemon.until_bars(1)
            await daemon.every_bar_becomes_real()


@pytest.mark.slow
async def test_a_hanging_venue_and_broker_do_not_delay_the_stop(
    tmp_path: Path, start_mosquitto: Callable[..., Mosquitto]
) -> None:
    """A half-open websocket and a frozen broker delay a stop by their short timeouts at most."""
    broker = start_mosquitto()
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, mqtt__url=broker.url) as daemon:
        app = daemon.app.components
        await daemon.until(lambda: app.publisher.state.connected and exchange.simulated.connections == 1)
        exchange.simulated.stall()
        broker.freeze()
        stopped_s = time.monotonic()
        await daemon.stop()
        assert time.monotonic() - stopped_s < 6.0 + SLACK_S


async def test_a_second_daemon_on_the_same_state_is_refused(tmp_path: Path) -> None:
    """Two daemons would write one ledger: the second is refused, and the first continues."""
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange) as first:
        error = await ending(started(tmp_path, exchange))
        assert isinstance(error, Retryable)
        assert "another forecastd" in str(error)
        assert not first.running.done()


async def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    """An HTTP address in use is an error with the key to change, not a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with rig.exchange() as exchange:
            error = await ending(started(tmp_path, exchange, http__listen=f"127.0.0.1:{port}"))
    assert isinstance(error, ForecastdError)
    assert str(port) in str(error)


class Reading:
    """The current content of the configuration file."""

    def __init__(self) -> None:
        self.levels: list[str] = []
        self.config: Config
        self.broken = False

    def read(self) -> Config:
        if self.broken:
            return load_config(None, command_line={"bars.interval": "7s"}, environ={})
        return self.config


async def test_a_reload_applies_what_it_can_and_names_the_rest(tmp_path: Path) -> None:
    """The log's level, grace and retraining change at once; feeds wait for a restart and are named."""
    reading = Reading()
    options = {"read_config": reading.read, "set_log_level": reading.levels.append}
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, options=options) as daemon:
        app = daemon.app
        reading.config = rig.configured(
            tmp_path,
            NOWHERE,
            log__level="debug",
            bars__grace_s=0.01,
            retrain__every="6h",
        )
        changes = app.reload()
        assert set(changes.applied) == {"log.level", "bars.grace_s", "retrain.every"}
        assert changes.refused == ("feeds",)
        assert reading.levels == ["debug"]
        assert app.config.feeds[0].ws_url == exchange.addresses.ws_url
        assert app.config.bars.grace_s == 0.01
        series = app.components.pipeline.instruments[app.config.instruments[0]]
        assert series.timeouts.grace_us == int(0.01 * rig.SPEED * 1e6)
        assert app.components.retrainer.config.retrain.every is not None


async def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    """Every problem is raised, and the configuration stays as it was."""
    reading = Reading()
    reading.broken = True
    options = {"read_config": reading.read, "set_log_level": reading.levels.append}
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, options=options) as daemon:
        before = daemon.app.config
        with pytest.raises(ConfigError, match=r"bars\.interval"):
            daemon.app.reload()
        assert daemon.app.config is before
        assert reading.levels == []


async def test_without_a_file_a_reload_is_refused(tmp_path: Path) -> None:
    """There is nothing to read again."""
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange) as daemon:
        with pytest.raises(ConfigError, match="no configuration file"):
            daemon.app.reload()


@pytest.mark.slow
async def test_a_full_disk_delays_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the ledger cannot be written the status is degraded; afterwards every bar and forecast is in it."""
    full = True
    save = Ledger.save_bars

    def save_bars(ledger: Ledger, bars: Iterable[Bar]) -> int:
        if full:
            raise Retryable("disk full")
        return save(ledger, bars)

    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange) as daemon:
        await daemon.until_bars(1)
        monkeypatch.setattr(Ledger, "save_bars", save_bars)
        await daemon.until_bars(2)
        await daemon.until(lambda: "disk full" in daemon.app.components.health.condition.reason)
        assert daemon.app.status().state == "degraded"
        full = False
        await daemon.until(lambda: daemon.app.status().state == "online")
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        for bar in daemon.last_revisions:
            stored = ledger.bars_frame([bar.instrument], bar.interval_us, bar.open_time_us, bar.close_time_us)
            assert stored["close"].to_list() == [bar.close]
        payloads = {ledger.forecast_payload(issued.id) for issued in daemon.forecasts}
    assert payloads == set(daemon.payloads)


@pytest.mark.slow
async def test_a_stop_publishes_pending_forecasts(tmp_path: Path, start_mosquitto: Callable[..., Mosquitto]) -> None:
    """A forecast is published once it is stored: where the store is busy at the stop, the stop waits for it."""
    broker, topics = start_mosquitto(), "forecastd/v1/e2e/forecast/#"
    async with (
        rig.exchange() as exchange,
        rig.daemon(tmp_path, exchange, mqtt__url=broker.url) as daemon,
        subscribed(broker.port, topics) as subscriber,
    ):
        await daemon.until_bars(1)
        free = threading.Event()
        daemon.app.components.store.submit(free.wait, 20.0)
        before = len(daemon.forecasts)
        await daemon.until(lambda: len(daemon.forecasts) >= before + len(demo_market.SYMBOLS))
        asyncio.get_running_loop().call_later(0.5, free.set)
        await daemon.stop()
        issued = {each.id for each in daemon.forecasts}
        await eventually(lambda: {rig.valid(each.payload)["id"] for each in subscriber.messages} == issued)
