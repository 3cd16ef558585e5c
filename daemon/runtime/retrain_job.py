"""Retrains on schedule, and pauses training around bar closes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from daemon.clock import Clock
from daemon.config import Config
from daemon.retraining.schedule import RetrainSchedule
from daemon.runtime.retrainer import Retrainer

_CHECK_S = 0.5


class RetrainJob:
    """``next_at_us`` is the market time of the next run; None where none is planned."""

    def __init__(self, retrainer: Retrainer, clock: Clock) -> None:
        self._retrainer = retrainer
        self._clock = clock
        self._started_us = clock.market_us()
        self._jitter = random.random()
        self._model_needed = False
        self.next_at_us: int | None = None

    @property
    def _config(self) -> Config:
        return self._retrainer.config

    def request_model(self) -> None:
        """No champion can be served: the schedule trains one at once."""
        self._model_needed = True

    async def run_schedule(self) -> None:
        """Retrains when a run is due or a model is missing, without end."""
        while True:
            due_us = self.next_at_us = await self.next_run_us()
            if self._model_needed and not self._retrainer.running:
                self._model_needed = False
                await self._retrainer.retrain("there is no model to serve yet")
            elif due_us is not None and self._clock.market_us() >= due_us and not self._retrainer.running:
                await self._retrainer.retrain("it is due")
            await asyncio.sleep(_CHECK_S)

    async def next_run_us(self) -> int | None:
        """The market time of the next run; None where none is planned."""
        retrain = self._config.retrain
        schedule = RetrainSchedule(
            every_s=retrain.every.seconds if retrain.every else None,
            at=retrain.at,
            jitter_s=min(60.0, self._config.bars.interval_us / 1e6 / 10),
        )
        past_runs = await self._retrainer.reporter.past_runs()
        return schedule.next_run_us(past_runs, started_us=self._started_us, jitter=self._jitter)

    async def pause_around_closes(self, next_close_us: Callable[[], int]) -> None:
        """Pauses training from shortly before each bar's end until its forecast is issued, without end."""
        bar_wall_s = self._config.bars.interval_us / 1e6 / self._clock.speed
        supervisor = self._retrainer.supervisor
        while True:
            quiet_s = min(self._config.retrain.quiet_before_close_s, bar_wall_s / 10)
            left_s = (next_close_us() - self._clock.market_us()) / 1e6 / self._clock.speed
            if left_s <= quiet_s:
                supervisor.pause()
            else:
                supervisor.resume()
            await asyncio.sleep(min(max(left_s - quiet_s, 0.02), 1.0))
