"""Runs the forecast engine for asyncio: threads for features, for the device and for loading models, with deadlines.

A network can fail, return invalid values or hang. In each case baselines replace it in time, with the reason. A hung
thread gets no work until it returns; its late result is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from daemon.errors import Retryable
from daemon.forecasting.engine import ForecastEngine, describe_error
from daemon.forecasting.rounds import PreparedRound, RoundForecasts
from daemon.forecasting.worker_thread import Activity, WorkerThread
from features.market import Bar
from models.forecast import Forecast, ModelInfo

DEFAULT_DEADLINE_S = 2.0
LOAD_DEADLINE_S = 120.0
LOADING_HISTORY = "loading history"  # takes minutes for thousands of instruments
HUNG = "the device thread has not returned from an earlier round"


class DeviceHung(Retryable):
    """A thread still runs a call that timed out."""


class Inference:
    """Forecasts of one engine. All its methods belong to one event loop."""

    def __init__(
        self,
        engine: ForecastEngine,
        *,
        device: str = "cpu",
        monotonic_s: Callable[[], float] = time.perf_counter,
        wall_s: Callable[[], float] = time.monotonic,
        worker_thread: Callable[..., WorkerThread] = WorkerThread,
    ) -> None:
        self._engine = engine
        self._device_name = device
        self._monotonic_s = monotonic_s
        self._lock = asyncio.Lock()  # one engine method at a time, rounds in order
        self._features = worker_thread("features", wall_s=wall_s)
        self._device = worker_thread("device", wall_s=wall_s)
        self._loader = worker_thread("loader", wall_s=wall_s)

    @property
    def model(self) -> ModelInfo | None:
        """See ``ForecastEngine.model``."""
        return self._engine.model

    @property
    def hung(self) -> bool:
        """Whether the device thread still runs a call whose caller gave up."""
        return self._device.hung

    @property
    def activities(self) -> Mapping[str, Activity | None]:
        """What each thread does now, by the thread's name; None while it waits for work."""
        return {
            "features": self._features.activity,
            "device": self._device.activity,
            "loader": self._loader.activity,
        }

    async def load_history(self, bars: pl.DataFrame) -> None:
        """See ``ForecastEngine.load_history``."""
        async with self._lock:
            await self._features.run(LOADING_HISTORY, lambda: self._engine.load_history(bars))

    async def load_champion(self, path: Path, deadline_s: float = LOAD_DEADLINE_S) -> ModelInfo:
        """Loads an artifact in a thread of its own, beside the rounds, and serves it from the next round on.

        Raises ArtifactError or ValueError where it must not be served, DeviceHung where it is not loaded within
        ``deadline_s`` of wall time or an earlier load still hangs; the previous champion stays.
        """
        if self._loader.hung or self._device.hung:
            raise DeviceHung(HUNG)
        try:
            async with asyncio.timeout(deadline_s):
                champion = await self._loader.run(
                    f"loading {path.name}", lambda: self._engine.load_champion(path, device=self._device_name)
                )
        except TimeoutError:
            raise DeviceHung(f"{path.name} was not loaded within {deadline_s:g} s") from None
        async with self._lock:
            self._engine.serve(champion)
        return champion.info

    async def round(
        self, close_time_us: int, bars: Sequence[Bar], deadline_s: float = DEFAULT_DEADLINE_S
    ) -> RoundForecasts:
        """The forecasts of one bar close. The network has ``deadline_s`` of wall time.

        Raises ValueError for bars that do not fit the engine's grid or instruments.
        """
        async with self._lock:
            prepared = await self._features.run("a round", lambda: self._engine.prepare(close_time_us, bars))
            started_s = self._monotonic_s()
            answers, failure = await self._predict(prepared, deadline_s)
            inference_ms = (self._monotonic_s() - started_s) * 1000.0
            return self._engine.finish(prepared, answers, failure=failure, inference_ms=inference_ms)

    async def revise(self, *bars: Bar) -> None:
        """See ``ForecastEngine.revise``."""
        async with self._lock:
            await self._features.run("a revised bar", lambda: self._engine.revise(*bars))

    async def close(self, timeout_s: float = 2.0) -> None:
        """Ends the threads; one that hangs for ``timeout_s`` is abandoned, as a daemon thread."""
        workers = (self._features, self._device, self._loader)
        for worker in workers:
            worker.stop()
        await asyncio.gather(*(asyncio.to_thread(worker.join, timeout_s) for worker in workers))

    async def _predict(self, prepared: PreparedRound, deadline_s: float) -> tuple[list[Forecast], str | None]:
        """The network's forecasts, and the reason where there are none."""
        if not prepared.accepted_inputs:
            return [], None
        if self._device.hung:
            return [], HUNG
        try:
            async with asyncio.timeout(deadline_s):
                return await self._device.run("a forward pass", lambda: self._engine.predict(prepared)), None
        except TimeoutError:
            return [], f"the network did not answer within {deadline_s:g} s"
        except Exception as error:  # noqa: BLE001  # baselines replace a network that raises anything
            return [], describe_error(error)
