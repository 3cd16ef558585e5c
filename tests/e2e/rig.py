"""A simulated exchange and a daemon on one event loop and one scaled clock, with all messages kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

from daemon.clock import ScaledClock
from daemon.config import Config, load_config
from daemon.forecasting.records import IssuedForecast
from daemon.publishing.schemas import schema
from daemon.runtime.app import App
from daemon.runtime.hooks import Hooks
from daemon.serving.health_limits import HealthLimits
from daemon.simulator.exchange import Addresses, SimulatedExchange
from daemon.simulator.market_data import MarketData
from features.market import Bar, Completeness
from tests.daemon.publishing.harness import eventually
from tests.e2e import demo_market
from tests.limits import LIMIT_S

SPEED = 3000.0  # an hour in 1.2 seconds
SETTLED = (Completeness.PROVEN, Completeness.EMPTY)


class Exchange:
    """A running simulated exchange."""

    def __init__(self, simulated: SimulatedExchange, clock: ScaledClock, at: Addresses) -> None:
        self.simulated = simulated
        self.clock = clock
        self.addresses = at

    async def until_moment(self, share: float) -> None:
        """Waits until ``share`` of the next whole bar is over."""
        moment_us = (self.clock.market_us() // demo_market.HOUR_US + 1 + share) * demo_market.HOUR_US
        while (left_us := moment_us - self.clock.market_us()) > 0:
            await asyncio.sleep(left_us / self.clock.speed / 1e6)


class Daemon:
    """A running daemon; ``bars`` and ``forecasts`` are what it closed, revised and issued."""

    def __init__(
        self,
        config: Config,
        exchange: Exchange,
        environ: dict[str, str],
        *,
        health_limits: HealthLimits | None = None,
        **options: Any,
    ) -> None:
        self.exchange = exchange
        self.bars: list[Bar] = []
        self.forecasts: list[IssuedForecast] = []
        self.payloads: list[bytes] = []
        self.app = App(
            config,
            clock=exchange.clock,
            environ=environ,
            hooks=Hooks(
                on_bar=self.bars.append,
                on_forecast=self._issued,
                health_limits=health_limits or HealthLimits(),
            ),
            **options,
        )
        self.running = asyncio.ensure_future(self.app.run())

    def _issued(self, issued: IssuedForecast, payload: bytes) -> None:
        self.forecasts.append(issued)
        self.payloads.append(payload)

    @property
    def mqtt_port(self) -> int:
        return int(self.app.mqtt_address.rpartition(":")[2])

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = LIMIT_S) -> None:
        """Waits for a condition; raises at once what the daemon raises."""
        waiting = asyncio.ensure_future(eventually(condition, timeout_s=timeout_s))
        await asyncio.wait({waiting, self.running}, return_when=asyncio.FIRST_COMPLETED)
        if self.running.done():
            waiting.cancel()
            self.running.result()
            raise AssertionError("the daemon ended before its time")
        await waiting

    async def until_bars(self, count: int) -> None:
        """Waits for ``count`` more closed bars of each symbol."""
        wanted = {symbol: self.closed_of(symbol) + count for symbol in demo_market.SYMBOLS}
        await self.until(lambda: all(self.closed_of(symbol) >= wanted[symbol] for symbol in wanted))

    @property
    def closed(self) -> int:
        return sum(self.closed_of(symbol) for symbol in demo_market.SYMBOLS)

    def closed_of(self, symbol: str) -> int:
        return sum(1 for bar in self.bars if bar.symbol == symbol and bar.revision == 0)

    @property
    def last_revisions(self) -> list[Bar]:
        """What is known in the end of every bar, in order of symbol and time."""
        newest = {(bar.symbol, bar.open_time_us): bar for bar in self.bars}
        return [newest[key] for key in sorted(newest)]

    async def every_bar_becomes_real(self) -> None:
        """Every bar so far is in the end proven and equal to the market's; none is missing between two of a symbol.

        A bar that closed unproven, because the venue or this machine was slow, is revised later.
        """
        closed = {(bar.symbol, bar.open_time_us) for bar in self.bars}
        assert closed

        def settled() -> bool:
            last = self.last_revisions
            return all(each.completeness in SETTLED for each in last if (each.symbol, each.open_time_us) in closed)

        await self.until(settled)
        last = [bar for bar in self.last_revisions if (bar.symbol, bar.open_time_us) in closed]
        wrong = [bar for bar in last if not demo_market.is_real(bar, self.exchange.simulated.tape.data)]
        assert wrong == []
        for symbol in demo_market.SYMBOLS:
            opens = [bar.open_time_us for bar in last if bar.symbol == symbol]
            assert opens == list(range(opens[0], opens[-1] + 1, demo_market.HOUR_US)), symbol

    async def stop(self) -> None:
        self.app.stop()
        async with asyncio.timeout(LIMIT_S):
            await self.running


@asynccontextmanager
async def exchange(data: MarketData | None = None, *, speed: float = SPEED) -> AsyncIterator[Exchange]:
    """An exchange that starts to trade live now."""
    data = data or demo_market.market()
    clock = ScaledClock(start_us=demo_market.live_from_us(data), speed=speed)
    simulated = SimulatedExchange(data, clock=clock, live_from_us=demo_market.live_from_us(data))
    try:
        yield Exchange(simulated, clock, await simulated.start())
    finally:
        await simulated.stop()


def configured(folder: Path, addresses: Addresses, **keys: Any) -> Config:
    """A configuration for this exchange; ``keys`` are dotted, with ``__`` for the dot."""
    settings = {
        "instance.name": "e2e",
        "instance.state_dir": str(folder),
        "feeds": [{"venue": "binance", "symbols": list(demo_market.SYMBOLS), **addresses._asdict()}],
        "model.kind": "random_walk",
        "retrain.every": "off",
        "retrain.history": "30d",
        "http.listen": "127.0.0.1:0",
        "mqtt.embedded_port": 0,
    }
    return load_config(None, command_line=settings | {k.replace("__", "."): v for k, v in keys.items()}, environ={})


@asynccontextmanager
async def daemon(
    folder: Path, venue: Exchange, *, options: dict[str, Any] | None = None, **keys: Any
) -> AsyncIterator[Daemon]:
    """A daemon on this exchange, from its start to an orderly end."""
    config = configured(folder, venue.addresses, **keys)
    async with running(Daemon(config, venue, {"RUNTIME_DIRECTORY": str(folder)}, **(options or {}))) as made:
        yield made


@asynccontextmanager
async def running(made: Daemon) -> AsyncIterator[Daemon]:
    """The daemon from its start to an orderly end."""
    try:
        await made.until(made.app.started.is_set)
        yield made
        if not made.running.done():
            await made.stop()
    finally:
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)


def valid(payload: Any) -> dict[str, Any]:
    """A message as a document, valid under the schema that it names."""
    document: dict[str, Any] = msgspec.json.decode(payload)
    jsonschema.Draft202012Validator(schema(document["schema"])).validate(document)
    return document
