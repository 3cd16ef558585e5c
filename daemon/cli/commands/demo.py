"""``forecastd demo``: the whole system in one process tree on real market hours, with nothing to configure."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from daemon.cli.commands.demo_tally import DemoTally
from daemon.cli.commands.demo_view import HeadlessView, LiveView, View
from daemon.cli.commands.status import DEMO_INSTANCE
from daemon.clock import ScaledClock
from daemon.config import Config, load_config
from daemon.errors import EXIT_USAGE, ConfigError, Fatal
from daemon.forecasting.records import IssuedForecast
from daemon.logs import start_logging
from daemon.runtime.app import App
from daemon.runtime.hooks import Hooks
from daemon.serving.control import SOCKET_NAME, serving_path
from daemon.simulator.exchange import Addresses, SimulatedExchange
from daemon.simulator.loading import load_sample
from daemon.simulator.market_data import MarketData
from features.market import Bar, Instrument

log = structlog.get_logger(__name__)

_LIVE_DAYS = 60.0
_TRAINING_BUDGET_S = 80.0
_SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")


class DemoRefused(Fatal):
    """The demo's arguments do not fit the sample."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """``speed``: market seconds per wall second. ``hours``: live bars after which the demo ends by itself.

    http_port, mqtt_port: 0 for any free port; None for the usual one, or a free one where that is taken.
    """

    speed: float
    hours: int | None
    headless: bool
    json: bool
    state_dir: Path | None
    http_port: int | None
    mqtt_port: int | None


def run_demo(options: DemoOptions) -> None:
    """Runs until Ctrl-C, the end of the sample, or the asked number of hours; prints a summary."""
    market = load_sample()
    if options.hours is not None and options.hours > _LIVE_DAYS * 24:
        raise DemoRefused(f"--hours was {options.hours}; the sample holds {_LIVE_DAYS * 24:.0f} live hours")
    if options.speed <= 0:
        raise DemoRefused(f"--speed was {options.speed}; it must be above 0")
    folder = options.state_dir or Path(tempfile.mkdtemp(prefix="forecastd-demo-"))
    try:
        uvloop.run(Demo(options, market, folder).run())
    finally:
        if options.state_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


class Demo:
    """The simulated exchange, the daemon and the view, on one scaled clock."""

    def __init__(self, options: DemoOptions, market: MarketData, folder: Path, view: View | None = None) -> None:
        self._options = options
        self._market = market
        self._folder = folder
        self._live_index = market.live_index(live_days=_LIVE_DAYS)
        self._tally = DemoTally()
        self._view: View = view or (HeadlessView(json=options.json) if options.headless else LiveView())

    async def run(self) -> None:
        start_logging(level="warning", stream=self._view.log_stream)
        clock = ScaledClock(start_us=self._market.open_us(self._live_index), speed=self._options.speed)
        exchange = SimulatedExchange(self._market, clock=clock, live_from_us=self._market.open_us(self._live_index))
        addresses = await exchange.start()
        self._app = App(
            demo_config(self._options, addresses, self._folder),
            clock=clock,
            environ=os.environ,
            hooks=Hooks(
                on_bar=self._on_bar,
                on_forecast=self._on_forecast,
                on_progress=self._view.progress,
                on_delivered=lambda message, _seconds: self._view.published(message.payload),
                training_budget_s=_TRAINING_BUDGET_S,
            ),
            control_path=control_path(self._folder),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._app.stop)
        ending = asyncio.create_task(self._stop_at_the_end(exchange))
        showing = asyncio.create_task(self._show())
        try:
            await self._app.run()
        finally:
            ending.cancel()
            showing.cancel()
            await asyncio.gather(ending, showing, return_exceptions=True)
            self._view.close()
            await exchange.stop()
        self._view.summary(self._app, self._tally)

    async def _stop_at_the_end(self, exchange: SimulatedExchange) -> None:
        await exchange.ended.wait()
        self._app.stop()

    async def _show(self) -> None:
        await self._app.started.wait()
        self._view.started(self._app, self._folder)
        while True:
            self._view.refresh(self._app)
            await asyncio.sleep(0.25)

    # ---------------------------------------------------------------- hooks of the daemon

    def _on_bar(self, bar: Bar) -> None:
        self._tally.count_bar(bar, self._market)

    def _on_forecast(self, issued: IssuedForecast, _payload: bytes) -> None:
        instrument = Instrument(issued.forecast.venue, issued.forecast.symbol)
        self._tally.count_forecast(instrument, issued.source)
        self._view.forecast(issued)
        hours = self._options.hours
        if hours is not None and min(self._tally.forecasts[each] for each in self._app.config.instruments) >= hours:
            asyncio.get_running_loop().call_later(1.0, self._app.stop)  # the last message still has to be confirmed


def demo_config(options: DemoOptions, addresses: Addresses, folder: Path) -> Config:
    """The configuration that the demo stands for; everything else is the default."""
    feed = {
        "venue": "binance",
        "symbols": list(_SYMBOLS),
        "ws_url": addresses.ws_url,
        "rest_url": addresses.rest_url,
    }
    try:
        return load_config(
            None,
            command_line={
                "instance.name": DEMO_INSTANCE,
                "instance.state_dir": str(folder),
                "feeds": [feed],
                "http.listen": f"127.0.0.1:{usual_or_free(9464) if options.http_port is None else options.http_port}",
                "model.preset": "small",
                "mqtt.embedded_port": usual_or_free(1883) if options.mqtt_port is None else options.mqtt_port,
            },
            environ={},
        )
    except ConfigError as error:
        raise DemoRefused(str(error)) from error


def usual_or_free(port: int) -> int:
    """``port`` if it is free, else 0 for any free port; the address is printed at the start either way."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def control_path(folder: Path) -> Path:
    """Where ``forecastd retrain --now`` looks for a demo, or the demo's own folder beside another running demo."""
    usual = serving_path(DEMO_INSTANCE, folder, os.environ)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(usual))
        except OSError:
            return usual
    return folder / SOCKET_NAME
