"""Forecast rounds: one after the other on the device, with changes of the model between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from daemon.clock import Clock
from daemon.forecasting.inference import Inference
from daemon.forecasting.worker_thread import Activity
from daemon.pipeline.events import RoundClosed
from daemon.pipeline.pipeline import Pipeline
from daemon.publishing import payloads
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from daemon.timestamps import iso
from features.market import Bar, Instrument
from models.forecast import ModelInfo

log = structlog.get_logger(__name__)

CHANGING_MODEL = "a change of the model"
_MAX_ROUNDS = 1024  # bar closes waiting for the device: an outage of a day at one-minute bars is caught up with


class ForecastRounds:
    """A queue of rounds, revised bars and model changes. ``on_forecasts`` is called when a round has its forecasts.

    deadline_s: wall time after which a baseline forecasts in the place of the model.
    activity: what is performed now; None while nothing is.
    """

    capacity = _MAX_ROUNDS

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        inference: Inference,
        metrics: Metrics,
        health: Health,
        clock: Clock,
        deadline_s: float,
        on_forecasts: Callable[[], None],
    ) -> None:
        self._pipeline = pipeline
        self._inference = inference
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._deadline_s = deadline_s
        self._on_forecasts = on_forecasts
        self._queue: asyncio.Queue[_Work] = asyncio.Queue(_MAX_ROUNDS)
        self.forecast_until_us = 0
        self.activity: Activity | None = None

    @property
    def depth(self) -> int:
        return self._queue.qsize()

    def submit(self, item: RoundClosed | Bar) -> None:
        """Adds a round to forecast, or a revised bar for the features; a full queue drops it with an error."""
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            # The forecast would be stale; the bar itself is stored, and the next history load brings it back.
            log.error("round_dropped", reason="inference is far behind", waiting=_MAX_ROUNDS)  # noqa: TRY400
            if isinstance(item, RoundClosed):
                self._pipeline.round_done(item)

    async def run(self) -> None:
        """Performs what is queued, without end."""
        following: _Work | None = None
        while True:
            self.activity = None
            item, following = following or await self._queue.get(), None
            if isinstance(item, _ModelChange):
                self._begin(CHANGING_MODEL)
                await item.perform()
            elif isinstance(item, Bar) or self._is_outdated(item):
                following = await self._update_features(item)
            else:
                following = await self._perform_round(item)

    async def _update_features(self, first: RoundClosed | Bar) -> _Work | None:
        """Takes all queued bars that are not forecast, since each update computes the features of all instruments.

        They are revised bars and those of rounds that are out of date. Returns the item after them.
        """
        self._begin("a revised bar")
        bars: list[Bar] = []
        item: _Work | None = first
        while isinstance(item, Bar) or (isinstance(item, RoundClosed) and self._is_outdated(item)):
            if isinstance(item, Bar):
                bars.append(item)
            else:
                log.warning("round_too_old", close_time=iso(item.close_time_us), instruments=len(item.bars))
                bars += item.bars
                self._pipeline.round_done(item)
            item = None if self._queue.empty() else self._queue.get_nowait()
        await self._inference.revise(*bars)
        return item

    async def _perform_round(self, closed: RoundClosed) -> _Work | None:
        """Forecasts a round together with those of the same close that wait behind it. Returns the item after them."""
        self._begin("a round of forecasts")
        following: _Work | None = None
        while following is None and not self._queue.empty():
            following = self._queue.get_nowait()
            if isinstance(following, RoundClosed) and following.close_time_us == closed.close_time_us:
                closed = RoundClosed(closed.close_time_us, closed.bars + following.bars)
                following = None
        await self._forecast(closed)
        self._pipeline.round_done(closed)
        return following

    def _is_outdated(self, closed: RoundClosed) -> bool:
        """Whether a forecast of this round would be out of date when it is published."""
        until_us = closed.close_time_us + closed.bars[0].interval_us + payloads.VALIDITY_MARGIN_US
        return self._clock.market_us() >= until_us

    def _begin(self, activity: str) -> None:
        self.activity = Activity(activity, self._clock.wall_s())

    async def between_bars(self, change: Callable[[], Awaitable[ModelInfo | None]]) -> ModelInfo | None:
        """Performs a change of the model between two rounds, and raises its error; the old model then stays."""
        queued = _ModelChange(change)
        await self._queue.put(queued)
        return await queued.done

    async def _forecast(self, closed: RoundClosed) -> None:
        made = await self._inference.round(closed.close_time_us, closed.bars, deadline_s=self._deadline_s)
        if made.failure is not None:
            log.error("model_failed", reason=made.failure)
            self._health.fault("model", made.failure)
        else:
            self._health.clear_fault("model")
        for instrument, reason in made.unforecast:
            log.warning("not_forecast", instrument=str(instrument), reason=reason)
        made = made.without(self._withheld(closed))
        self.forecast_until_us = max(self.forecast_until_us, closed.close_time_us)
        now_us = self._clock.market_us()
        if made.forecasts and now_us >= payloads.valid_until_us(made.forecasts[0].issued):
            log.warning("round_too_old", close_time=iso(closed.close_time_us))
            return
        for instrument in self._pipeline.forecasts_made(made, now_us=now_us):
            log.warning("not_forecast", instrument=str(instrument), reason="no price of it is known yet")
        for instrument in {bar.instrument for bar in closed.bars}:
            self._metrics.bar_to_publish_last.labels(*instrument, "features").set(made.features_ms / 1000)
            self._metrics.bar_to_publish_last.labels(*instrument, "inference").set(made.inference_ms / 1000)
            self._metrics.inference.labels(instrument.venue).observe(made.inference_ms / 1000)
        self._on_forecasts()

    def _withheld(self, closed: RoundClosed) -> set[Instrument]:
        """The instruments of whose bar nothing is known: a forecast from it would claim a quiet market."""
        pipelines = self._pipeline.instruments
        blind = {bar.instrument for bar in closed.bars if pipelines[bar.instrument].knows_nothing_of(bar)}
        for instrument in blind:
            self._metrics.forecasts_withheld.labels(*instrument).inc()
            log.warning(
                "forecast_withheld",
                instrument=str(instrument),
                close_time=iso(closed.close_time_us),
                reason=f"no trade of its bar is known: {pipelines[instrument].state_reason}",
            )
        return blind


class _ModelChange:
    """A change of the model that waits for its turn between two rounds."""

    def __init__(self, change: Callable[[], Awaitable[ModelInfo | None]]) -> None:
        self.done: asyncio.Future[ModelInfo | None] = asyncio.get_running_loop().create_future()
        self._change = change

    async def perform(self) -> None:
        try:
            info = await self._change()
        except Exception as error:  # noqa: BLE001  # raised where between_bars waits
            if not self.done.cancelled():
                self.done.set_exception(error)
        else:
            if not self.done.cancelled():
                self.done.set_result(info)


_Work = RoundClosed | Bar | _ModelChange
