"""From a bar's close to the broker's confirmation of its forecasts, with everything that the daemon does in between.

The daemon's own components, wired as in the app: a trade past the hour's end closes the last of three bars; the
pipeline announces the round; bars are stored and published; features, the reference network on the CPU, the
scoreboard, the payloads, the ledger, and a QoS 1 publish follow. A round ends with the last forecast's PUBACK. In
turn with each round goes what cannot be left out: the bare network's forward pass of three windows, and a bare
client's publish of the same three payloads.
"""

from __future__ import annotations

import os

from daemon.runtime.store_opening import open_ledger

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import aiomqtt
import msgspec
import numpy as np
import uvloop

from benchmarks.inference_bench import (
    HISTORY,
    INSTRUMENTS,
    bare_forward,
    busy_process,
    drawn,
    random_bars,
    reference_artifact,
)
from benchmarks.publish_bench import bare_client, bare_properties, mosquitto, mosquitto_path
from benchmarks.table import Row, row
from daemon.clock import ManualClock
from daemon.config import Config, load_config
from daemon.exchanges.binance_wire import AggregateTrade
from daemon.forecasting.records import IssuedForecast
from daemon.logs import start_logging
from daemon.pipeline.answers import SequenceStart
from daemon.publishing import wire
from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.publishing.publisher import MqttSettings, OutboxMessage
from daemon.publishing.settings import EmbeddedAddress
from daemon.runtime.hooks import Hooks
from daemon.runtime.wiring import Components, build
from features.market import HOUR_US, Instrument, Trade
from models.artifacts.artifact import write_artifact
from models.networks.network_forecaster import use_one_thread

ROUNDS = 150
WARM_UP = 20  # rounds that are not counted: caches, allocators and the first scores
_TIMEOUT_S = 30.0
_MINUTE_US = 60_000_000


class Taken(msgspec.Struct, kw_only=True):
    """Wall seconds of one round by stage, and of the bare reference in the same turn."""

    total: float
    features: float
    inference: float
    issuing: float
    delivery: float
    bare_forward: float
    bare_publish: float

    @property
    def bare(self) -> float:
        return self.bare_forward + self.bare_publish


def run() -> list[Row]:
    """The rows of the benchmark table."""
    start_logging(level="error")
    idle = uvloop.run(_measured(busy=False))
    busy = uvloop.run(_measured(busy=True))
    return [
        *_rows("idle", idle),
        *_rows("beside a busy process", busy),
        *(row(f"of it {name}, idle, p50", _ms(idle, name, 50), "ms") for name in Taken.__struct_fields__[1:5]),
    ]


def _rows(when: str, taken: Sequence[Taken]) -> list[Row]:
    return [
        row(f"bar closed to PUBACK, {when}, p50", _ms(taken, "total", 50), "ms"),
        row(f"bar closed to PUBACK, {when}, p99", _ms(taken, "total", 99), "ms", 40),
        row(f"bare forward and publish, {when}, p50", _ms(taken, "bare", 50), "ms"),
        row(f"bare forward and publish, {when}, p99", _ms(taken, "bare", 99), "ms"),
        row(f"bar closed to PUBACK over bare, {when}, p50", _over_bare(taken, 50), "ratio"),
        row(f"bar closed to PUBACK over bare, {when}, p99", _over_bare(taken, 99), "ratio", 1.5),
    ]


def _ms(taken: Sequence[Taken], name: str, percentile: int) -> float:
    return float(np.percentile([getattr(each, name) for each in taken], percentile)) * 1e3


def _over_bare(taken: Sequence[Taken], percentile: int) -> float:
    return _ms(taken, "total", percentile) / _ms(taken, "bare", percentile)


async def _measured(*, busy: bool) -> list[Taken]:
    use_one_thread()
    with tempfile.TemporaryDirectory() as folder:
        async with _broker() as (url, embedded), _daemon(Path(folder), url, embedded) as rounds:
            await rounds.many(WARM_UP)
            with busy_process() if busy else nullcontext():
                return await rounds.many(ROUNDS)


@asynccontextmanager
async def _broker() -> AsyncIterator[tuple[str, EmbeddedAddress | None]]:
    """mosquitto where it is installed, else the embedded broker, which shares our process as it does the daemon's."""
    if mosquitto_path():
        async with mosquitto() as url:
            yield url, None
    else:
        broker = EmbeddedBroker()
        try:
            yield "embedded", await broker.start()
        finally:
            await broker.stop()


@asynccontextmanager
async def _daemon(folder: Path, url: str, embedded: EmbeddedAddress | None) -> AsyncIterator[Rounds]:
    bars = random_bars()
    network = drawn("attention_lstm", "reference")
    clock = MarketByHand(HISTORY * HOUR_US)
    settings = MqttSettings(url) if embedded is None else MqttSettings(url).on_embedded_broker(embedded)
    async with bare_client(settings, mqtt_5=embedded is None) as client:
        rounds = Rounds(clock, bare_forward(network), client, mqtt_5=embedded is None)
        config = _config(folder, url)
        components = build(
            config,
            ledger=await open_ledger(config),
            clock=clock,
            hooks=Hooks(on_forecast=rounds.issued, on_delivered=rounds.delivered),
            embedded=embedded,
        )
        await components.inference.load_history(bars)
        await components.inference.load_champion(write_artifact(folder / "models", reference_artifact(network, bars)))
        gc.collect()
        gc.freeze()  # as the app does
        rounds.begin(components)
        jobs = (components.dispatcher.run(), components.rounds.run(), components.publisher.run())
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            yield rounds
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await components.inference.close()
            components.store.close()
            components.ledger.close()
            for failure in ended:
                if isinstance(failure, Exception):
                    raise failure  # why a round was never confirmed


def _config(folder: Path, url: str) -> Config:
    command_line = {
        "instance.state_dir": str(folder / "state"),
        "feeds": [{"venue": "binance", "symbols": [each.symbol for each in INSTRUMENTS]}],
        "model.preset": "reference",
        "mqtt.url": url,
    }
    return load_config(None, command_line=command_line, environ={})


class MarketByHand(ManualClock):
    """Market time advances when it is set, wall time by itself."""

    def wall_s(self) -> float:
        return time.monotonic()


class Rounds:
    """Closes bars one hour after another, in turn with the bare reference."""

    def __init__(
        self, clock: MarketByHand, forward: Callable[[], object], client: aiomqtt.Client, *, mqtt_5: bool
    ) -> None:
        self._components: Components
        self._clock = clock
        self._forward = forward
        self._client = client
        self._mqtt_5 = mqtt_5
        self._issued: list[tuple[IssuedForecast, bytes, float]] = []
        self._waiting = 0
        self._done = asyncio.Event()
        self._random = np.random.default_rng(1)
        self._prices = np.full(len(INSTRUMENTS), 100.0)
        self._next_id = 0

    def begin(self, components: Components) -> None:
        """Delivers the first trade of every symbol, from which its bars are complete."""
        self._components = components
        now_us, wall_s = self._clock.now_us, self._clock.wall_s()
        for instrument, trade in zip(INSTRUMENTS, self._trades(), strict=True):
            components.pipeline.start_sequence(
                instrument, SequenceStart([trade], None), from_time_us=now_us, now_us=now_us, wall_s=wall_s
            )

    def issued(self, issued: IssuedForecast, payload: bytes) -> None:
        self._issued.append((issued, payload, time.perf_counter()))

    def delivered(self, message: OutboxMessage, _seconds: float) -> None:
        if message.schema == wire.FORECAST_SCHEMA:
            self._waiting -= 1
            if not self._waiting:
                self._done.set()

    async def many(self, count: int) -> list[Taken]:
        return [await self._one() for _ in range(count)]

    async def _one(self) -> Taken:
        self._issued, self._waiting = [], len(INSTRUMENTS)
        self._done.clear()
        for minute in range(1, 60):
            for instrument, trade in zip(INSTRUMENTS, self._trades(minute * _MINUTE_US), strict=True):
                self._take(instrument, trade)
        self._clock.set(self._clock.now_us + HOUR_US)
        trades = self._trades()
        for instrument, trade in zip(INSTRUMENTS[:-1], trades, strict=False):
            self._take(instrument, trade)
        started_s = time.perf_counter()
        self._take(INSTRUMENTS[-1], trades[-1])
        async with asyncio.timeout(_TIMEOUT_S):
            await self._done.wait()
        ended_s = time.perf_counter()
        return await self._beside_bare(ended_s - started_s, ended_s)

    def _take(self, instrument: Instrument, trade: Trade) -> None:
        """Delivers a trade in the format of Binance's stream; every simulated trade is one fill."""
        record = AggregateTrade(
            e="aggTrade",
            s=instrument.symbol.replace("-", ""),
            trade_id=trade.trade_id,
            p=trade.price,
            q=trade.size,
            f=trade.trade_id,
            l=trade.trade_id,
            time=trade.time_us // 1000,
            m=not trade.taker_buys,
        )
        self._components.feeds["binance"].trades_received(instrument.symbol, [record])

    async def _beside_bare(self, total_s: float, ended_s: float) -> Taken:
        await asyncio.sleep(0.02)  # whatever the round left to be done is done
        started_s = time.perf_counter()
        self._forward()
        forwarded_s = time.perf_counter()
        await asyncio.gather(*(self._publish(payload) for _, payload, _ in self._issued))
        published_s = time.perf_counter()
        issued, _, issued_s = self._issued[-1]
        assert issued.source == "model", f"a {issued.forecast.model.kind} stood in for the network"
        spent_s = (issued.latency.features + issued.latency.inference) / 1e3
        delivery_s = ended_s - issued_s
        return Taken(
            total=total_s,
            features=issued.latency.features / 1e3,
            inference=issued.latency.inference / 1e3,
            issuing=total_s - spent_s - delivery_s,
            delivery=delivery_s,
            bare_forward=forwarded_s - started_s,
            bare_publish=published_s - forwarded_s,
        )

    def _trades(self, after_us: int = 0) -> list[Trade]:
        """One trade of every symbol."""
        self._next_id += 1
        self._prices *= np.exp(0.001 * self._random.standard_normal(len(INSTRUMENTS)))
        sizes, buys = self._random.lognormal(size=len(INSTRUMENTS)), self._random.integers(2, size=len(INSTRUMENTS))
        time_us = self._clock.now_us + after_us
        return [
            Trade(self._next_id, time_us, float(price), float(size), bool(bought))
            for price, size, bought in zip(self._prices, sizes, buys, strict=True)
        ]

    async def _publish(self, payload: bytes) -> None:
        properties = bare_properties() if self._mqtt_5 else None
        await self._client.publish("bench/bare", payload, qos=1, retain=True, properties=properties)
