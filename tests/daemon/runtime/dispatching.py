"""A dispatcher with real components, without network and broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from daemon.clock import ManualClock
from daemon.forecasting.inference import Inference
from daemon.forecasting.records import IssuedForecast
from daemon.forecasting.rounds import RoundForecasts
from daemon.pipeline.events import Request
from daemon.pipeline.pipeline import Pipeline
from daemon.publishing.message_builder import MessageBuilder
from daemon.publishing.publisher import Publisher
from daemon.publishing.settings import MqttSettings
from daemon.runtime.dispatcher import Dispatcher
from daemon.runtime.forecast_delivery import ForecastDelivery
from daemon.runtime.forecast_rounds import ForecastRounds
from daemon.runtime.reporting import Reporting
from daemon.runtime.store_losses import StoreLosses
from daemon.runtime.store_writer import StoreWriter
from daemon.runtime.venue_feed import VenueFeed
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from features.market import HOUR_US, Bar
from models.forecast import WindowReading
from tests.daemon.forecasting.forecast_builders import START_US
from tests.daemon.pipeline.builders import BTC, ETH, feed, make_pipeline, round_forecasts, start_sequences, trade
from tests.daemon.publishing.harness import TOPICS, Callbacks, eventually, make_publisher


class FakeInference:
    """Answers rounds with prepared forecasts; records the order of the calls, and the number of bars of each round."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bars: list[int] = []
        self.failure: str | None = None
        self.reading: WindowReading | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def round(self, close_time_us: int, bars: Sequence[Bar], deadline_s: float) -> RoundForecasts:
        await self.go_on.wait()
        hour = (close_time_us - START_US) // HOUR_US
        self.asked.append(f"round {hour}")
        self.bars.append(len(bars))
        answer = round_forecasts(hour, *(bar.symbol for bar in bars))
        return RoundForecasts(
            close_time_us=answer.close_time_us,
            forecasts=tuple(
                replace(each, issued=replace(each.issued, reading=self.reading)) for each in answer.forecasts
            ),
            unforecast=(),
            failure=self.failure,
            features_ms=1.0,
            inference_ms=2.0,
        )

    async def revise(self, *bars: Bar) -> None:
        hours = ", ".join(str((bar.close_time_us - START_US) // HOUR_US) for bar in bars)
        self.asked.append(f"revision of {hours}")


class FakeFeed:
    """Records the requests of the pipeline and answers none."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def request(self, request: Request) -> None:
        self.requests.append(request)

    def cancel(self, request: Request) -> None:
        self.requests.remove(request)


class DispatcherSetup:
    """A dispatcher with real components, without network and broker."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(START_US)
        self.pipeline: Pipeline = make_pipeline()
        self.inference = FakeInference()
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.store = StoreThread()
        self.publisher: Publisher = make_publisher(
            MqttSettings(url="mqtt://127.0.0.1:9"), Callbacks(), clock=self.clock
        )
        self.messages = MessageBuilder(self.publisher, TOPICS, self.clock)
        self.health = Health(self.clock, (BTC, ETH))
        self.metrics = Metrics(version="0", market_us=self.clock.market_us)
        self.reporting = Reporting(self.messages, self.metrics, self.health, self.clock)
        losses = StoreLosses(self.reporting)
        self.forecasts: list[IssuedForecast] = []
        self.feed = FakeFeed()
        feeds = {"binance": cast("VenueFeed", self.feed)}
        self.rounds = ForecastRounds(
            pipeline=self.pipeline,
            inference=cast("Inference", self.inference),
            metrics=self.metrics,
            health=self.health,
            clock=self.clock,
            deadline_s=1.0,
            on_forecasts=lambda: self.dispatcher.drain(),  # noqa: PLW0108  # it is made below
        )
        self.dispatcher = Dispatcher(
            pipeline=self.pipeline,
            feeds=feeds,
            writer=StoreWriter(self.ledger, self.store, losses, interval_us=HOUR_US),
            rounds=self.rounds,
            delivery=ForecastDelivery(
                self.ledger,
                self.store,
                losses,
                scoreboard=self.pipeline.scoreboard,
                reporting=self.reporting,
                on_published=lambda issued, _payload: self.forecasts.append(issued),
            ),
            reporting=self.reporting,
            reconciler=None,
            on_bar=lambda _bar: None,
        )

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"forecastd_{name}", labels)

    def close_hours(self, *hours: int) -> None:
        """Closes the bars of BTC that end at these hours, one after another."""
        for hour in hours:
            self.clock.set(START_US + hour * HOUR_US + 1_000_000)
            feed(self.pipeline, BTC, trade(hour + 1, hour + 0.1, 100.0 + hour))
            self.dispatcher.drain()

    def waiting(self) -> dict[str, bytes]:
        """The unconfirmed messages by topic, which are then confirmed."""
        messages = {}
        while (message := self.publisher._outbox.take(self.clock.market_us())) is not None:
            messages[message.topic] = message.payload
            self.publisher._outbox.acknowledge(message)
        return messages

    async def settled(self, count: int) -> None:
        """Waits until ``count`` forecasts were issued, and stored."""
        await eventually(lambda: len(self.forecasts) >= count)
        await self.store.call(lambda: None)
        await asyncio.sleep(0)


@asynccontextmanager
async def dispatcher_setup(folder: Path) -> AsyncIterator[DispatcherSetup]:
    """A dispatcher that runs its rounds."""
    opened = DispatcherSetup(folder)
    start_sequences(opened.pipeline, BTC)
    opened.dispatcher.drain()
    working = [asyncio.create_task(opened.dispatcher.run()), asyncio.create_task(opened.rounds.run())]
    try:
        yield opened
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        opened.store.close()
        opened.ledger.close()
