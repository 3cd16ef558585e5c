"""The environment of a soak: seven exchanges, a broker, a subscriber, and the daemon, which is killed and restarted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import aiomqtt
import msgspec
import psutil

from daemon.simulator.exchange import Addresses, SimulatedExchange
from daemon.simulator.faults.plan import FaultPlan, Kind
from daemon.simulator.loading import load_sample
from daemon.simulator.market_data import MarketData, Timeline
from tests.daemon.publishing.brokers import Mosquitto
from tests.limits import LIMIT_S
from tests.paths import ROOT
from tests.soak.clock import SharedClock
from tests.soak.unserved import Unserved, unserved

INTERVAL_US = 60_000_000
HISTORY_BARS = 1_100
STALL_S = 1.0


@dataclass
class DaemonProcess:
    """One process of the daemon: monotonic seconds of its start and its end, and samples of its memory in bytes.

    up_s: when it was first seen connected to an exchange.
    """

    began_s: float
    up_s: float | None = None
    ended_s: float | None = None
    memory: list[tuple[float, int]] = field(default_factory=list)


@dataclass
class Received:
    """Received messages: the payloads of a forecast by its id, and of a bar by its topic, time and revision."""

    forecasts: dict[str, set[bytes]] = field(default_factory=dict)
    bars: dict[tuple[str, str, int], set[bytes]] = field(default_factory=dict)
    messages: int = 0

    def take(self, topic: str, payload: bytes) -> None:
        self.messages += 1
        kind = topic.split("/")[3]
        if kind == "forecast":
            self.forecasts.setdefault(msgspec.json.decode(payload)["id"], set()).add(payload)
        elif kind == "bar":
            bar = msgspec.json.decode(payload)
            del bar["audit"]  # set by reconciliation, after the bar was published
            key = (topic, bar["open_time"], bar["revision"])
            self.bars.setdefault(key, set()).add(msgspec.json.encode(bar, order="sorted"))


class SoakEnvironment:
    """``exchanges`` by venue; ``daemon_runs``: the daemon's processes, oldest first. data: default the sample's.

    stalls: monotonic times between which this machine ran nothing for longer than STALL_S.
    """

    def __init__(
        self,
        folder: Path,
        *,
        venues: Sequence[str],
        symbols: Sequence[str],
        bars: int,
        bar_s: float,
        seed: int,
        faults_per_hour: Mapping[Kind, float],
        data: MarketData | None = None,
    ) -> None:
        self.folder, self.venues, self.bars, self.seed = folder, tuple(venues), bars, seed
        self.bar_s = bar_s
        self.symbols = tuple(symbols)
        self.received = Received()
        self.daemon_runs: list[DaemonProcess] = []
        self.stalls: list[tuple[float, float]] = []
        self.broker_restarts = 0
        self.clock = SharedClock(
            start_us=1_767_225_600_000_000, origin_s=time.monotonic(), speed=INTERVAL_US / 1e6 / bar_s
        )
        data = data or market(symbols, bars)
        timeline = Timeline.retimed(interval_us=INTERVAL_US, live_index=HISTORY_BARS, live_from_us=self.clock.start_us)
        self.first_open_us = timeline.open_us(HISTORY_BARS)
        self.exchanges = {
            venue: SimulatedExchange(
                data,
                clock=self.clock,
                venue=venue,
                timeline=timeline,
                live_from_us=self.clock.start_us,
                faults=FaultPlan(
                    seed=seed + number,
                    per_hour=faults_per_hour,
                    from_s=2 * bar_s,
                    until_s=(bars - 14) * bar_s,
                ),
            )
            for number, venue in enumerate(venues)
        }
        self._random = random.Random(seed)
        self._broker = Mosquitto(folder, "set_tcp_nodelay true")
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def ends_s(self) -> float:
        """Monotonic time at which the last bar has closed."""
        return self.wall_s(self.first_open_us) + self.bars * self.bar_s

    @property
    def ended_us(self) -> int:
        """Market time at which the last daemon ended; only after ``run``."""
        ended_s = self.daemon_runs[-1].ended_s
        assert ended_s is not None
        return self.market_us(ended_s)

    def market_us(self, wall_s: float) -> int:
        """The market time of a monotonic time."""
        return self.clock.start_us + round((wall_s - self.clock.origin_s) * self.clock.speed * 1e6)

    def wall_s(self, market_us: int) -> float:
        """The monotonic time of a market time."""
        return self.clock.origin_s + (market_us - self.clock.start_us) / 1e6 / self.clock.speed

    def unserved(self, venue: str, symbol: str) -> list[Unserved]:
        """The times in which the exchange did not serve the symbol."""
        entries, native = self.exchanges[venue].log.entries, symbol.replace("-", "")
        return unserved(entries, native, speed=self.clock.speed, end_us=self.clock.market_us())

    async def run(self) -> None:
        """Plays every bar, with faults up to a quiet end in which every repair can finish."""
        self._broker.start()
        addresses = {venue: await exchange.start() for venue, exchange in self.exchanges.items()}
        config = self._configuration(addresses)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._listen()), group.create_task(self._restart_broker())]
            try:
                await self._run_daemon(config)
            finally:
                for task in tasks:
                    task.cancel()
        self._broker.kill()
        for exchange in self.exchanges.values():
            await exchange.stop()

    async def _run_daemon(self, config: Path) -> None:
        """The daemon, killed at random times and started again, with the wrong time on its clock now and then.

        Every second kill, from the first on, comes at the moment a bar is published, when the ledger may lag behind.
        """
        quiet_from_s = self.ends_s - 14 * self.bar_s
        while time.monotonic() < self.ends_s:
            self._start(config, wrong_us=self._random.choice((0, 0, -1, 1)) * 3_600_000_000)
            run_s = self._random.uniform(12, 40) * self.bar_s
            until_s = time.monotonic() + run_s
            await self._watch(until_s if until_s < quiet_from_s else self.ends_s)
            last = time.monotonic() >= self.ends_s
            if not last and len(self.daemon_runs) % 2:
                await self._until_a_bar_is_published()
            self._end(signal.SIGTERM if last else signal.SIGKILL)
            if not last:
                await asyncio.sleep(self._random.uniform(0.1, 1.2) * self.bar_s)

    def _start(self, config: Path, *, wrong_us: int) -> None:
        clock = json.dumps(
            {
                "start_us": self.clock.start_us,
                "origin_s": self.clock.origin_s,
                "speed": self.clock.speed,
                "wrong_us": wrong_us,
            }
        )
        with (self.folder / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.child", str(config), clock],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "RUNTIME_DIRECTORY": str(self.folder)},
                start_new_session=True,
            )
        self.daemon_runs.append(DaemonProcess(time.monotonic()))

    async def _until_a_bar_is_published(self) -> None:
        """Waits for the next bar over MQTT, at most two bars long, since the broker may be down."""
        before, until_s = len(self.received.bars), time.monotonic() + 2 * self.bar_s
        while len(self.received.bars) == before and time.monotonic() < until_s:
            await asyncio.sleep(0.005)

    async def _watch(self, until_s: float) -> None:
        assert self._daemon is not None
        process = psutil.Process(self._daemon.pid)
        while time.monotonic() < until_s:
            if (code := self._daemon.poll()) is not None:
                tail = (self.folder / "daemon.log").read_text("utf-8", "replace")[-3000:]
                raise RuntimeError(f"the daemon ended by itself with {code}:\n{tail}")
            before_s, run = time.monotonic(), self.daemon_runs[-1]
            run.memory.append((before_s, process.memory_info().rss))
            if run.up_s is None and any(exchange.connections for exchange in self.exchanges.values()):
                run.up_s = before_s
            await asyncio.sleep(1.0)
            if time.monotonic() - before_s > 1.0 + STALL_S:
                self.stalls.append((before_s, time.monotonic()))

    def _end(self, number: signal.Signals) -> None:
        assert self._daemon is not None
        self._daemon.send_signal(number)
        self._daemon.wait(LIMIT_S)
        self.daemon_runs[-1].ended_s = time.monotonic()

    async def _restart_broker(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(25, 60) * self.bar_s)
            if time.monotonic() > self.ends_s - 14 * self.bar_s:
                return
            self._broker.kill()
            await asyncio.sleep(self._random.uniform(0.1, 1.0) * self.bar_s)
            self._broker.start()
            self.broker_restarts += 1

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    "127.0.0.1", self._broker.port, protocol=aiomqtt.ProtocolVersion.V5
                ) as client:
                    await client.subscribe("forecastd/v1/soak/#", qos=1)
                    async for message in client.messages:
                        self.received.take(message.topic.value, bytes(message.payload))
            await asyncio.sleep(0.1)

    def _configuration(self, addresses: Mapping[str, Addresses]) -> Path:
        feeds = "".join(
            f"""
            [[feeds]]
            venue = "{venue}"
            symbols = {json.dumps(self.symbols)}
            ws_url = "{at.ws_url}"
            rest_url = "{at.rest_url}"
            """
            for venue, at in addresses.items()
        )
        file = self.folder / "forecastd.toml"
        file.write_text(
            f"""
            [instance]
            name = "soak"
            state_dir = "{self.folder / "state"}"
            {feeds}
            [bars]
            interval = "1m"
            [model]
            kind = "har"
            [retrain]
            every = "off"
            history = "12h"
            [mqtt]
            url = "{self._broker.url}"
            [http]
            listen = "127.0.0.1:0"
            [log]
            level = "info"
            format = "json"
            """,
            encoding="utf-8",
        )
        return file


def market(symbols: Sequence[str], bars: int) -> MarketData:
    """The newest hours of the sample, to be played as minutes: history first, then ``bars`` live ones."""
    data = load_sample()
    first = len(data) - HISTORY_BARS - bars - 8
    if first < 0:
        raise ValueError(f"the sample has {len(data)} bars, too few for {bars} live ones")
    series = {}
    for symbol in symbols:
        whole = data.series[symbol.replace("-", "")]
        names = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume")
        columns = {name: getattr(whole, name)[first:] for name in (*names, "taker_buy_quote_volume", "present")}
        series[whole.symbol] = replace(whole, **columns)
    return MarketData(data.open_us(first), data.interval_us, MappingProxyType(series), data.notes)


@asynccontextmanager
async def finished(soak: SoakEnvironment) -> AsyncIterator[SoakEnvironment]:
    """The soak after its run; ends its processes on every path."""
    try:
        await soak.run()
        yield soak
    finally:
        soak._broker.kill()
        if soak._daemon is not None and soak._daemon.poll() is None:
            os.killpg(soak._daemon.pid, signal.SIGKILL)
