"""Runs the forecast engine for asyncio: a thread for bars and features, a thread for the device, and a deadline.

A network can fail, return invalid values or hang. In each case baselines replace it in time, with the reason. A hung
device thread gets no work until it returns; its late result is dropped.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl

from daemon.errors import Retryable
from daemon.forecasting.engine import ForecastEngine, describe_error
from daemon.forecasting.rounds import PreparedRound, RoundForecasts
from features.market import Bar
from models.forecast import Forecast, ModelInfo

T = TypeVar("T")

DEFAULT_DEADLINE_S = 2.0
HUNG = "the device thread has not returned from an earlier round"


class DeviceHung(Retryable):
    """The device thread still runs a call that timed out."""


class Inference:
    """Forecasts of one engine. All its methods belong to one event loop."""

    def __init__(
        self, engine: ForecastEngine, *, device: str = "cpu", monotonic_s: Callable[[], float] = time.perf_counter
    ) -> None:
        self._engine = engine
        self._device_name = device
        self._monotonic_s = monotonic_s
        self._lock = asyncio.Lock()  # one engine method at a time, rounds in order
        self._features = _WorkerThread("features")
        self._device = _WorkerThread("device")

    @property
    def model(self) -> ModelInfo | None:
        """See ``ForecastEngine.model``."""
        return self._engine.model

    @property
    def hung(self) -> bool:
        """Whether the device thread still runs a call whose caller gave up."""
        return self._device.hung

    async def load_history(self, bars: pl.DataFrame) -> None:
        """See ``ForecastEngine.load_history``."""
        async with self._lock:
            await self._features.run(lambda: self._engine.load_history(bars))

    async def load_champion(self, path: Path) -> ModelInfo:
        """Loads an artifact in the device thread and serves it from the next round on.

        Raises ArtifactError or ValueError where it must not be served, and the previous champion stays; DeviceHung
        where the thread is hung.
        """
        if self._device.hung:
            raise DeviceHung(HUNG)
        champion = await self._device.run(lambda: self._engine.load_champion(path, device=self._device_name))
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
            prepared = await self._features.run(lambda: self._engine.prepare(close_time_us, bars))
            started_s = self._monotonic_s()
            answers, failure = await self._predict(prepared, deadline_s)
            inference_ms = (self._monotonic_s() - started_s) * 1000.0
            return self._engine.finish(prepared, answers, failure=failure, inference_ms=inference_ms)

    async def revise(self, bar: Bar) -> None:
        """See ``ForecastEngine.revise``."""
        async with self._lock:
            await self._features.run(lambda: self._engine.revise(bar))

    async def close(self, timeout_s: float = 2.0) -> None:
        """Ends both threads; one that hangs for ``timeout_s`` is abandoned, as a daemon thread."""
        for worker in (self._features, self._device):
            worker.stop()
        await asyncio.gather(*(asyncio.to_thread(w.join, timeout_s) for w in (self._features, self._device)))

    async def _predict(self, prepared: PreparedRound, deadline_s: float) -> tuple[list[Forecast], str | None]:
        """The network's forecasts, and the reason where there are none."""
        if not prepared.accepted_inputs:
            return [], None
        if self._device.hung:
            return [], HUNG
        try:
            async with asyncio.timeout(deadline_s):
                return await self._device.run(lambda: self._engine.predict(prepared)), None
        except TimeoutError:
            return [], f"the network did not answer within {deadline_s:g} s"
        except Exception as error:  # noqa: BLE001  # baselines replace a network that raises anything
            return [], describe_error(error)


class _WorkerThread:
    """One daemon thread that runs jobs in order and never keeps the process alive."""

    def __init__(self, name: str) -> None:
        self.hung = False
        # A round, a revision and a swap may wait at one time. A caller that times out marks the thread hung, and a hung
        # thread gets no more jobs.
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(maxsize=8)
        self._pending = 0
        self._thread = threading.Thread(target=self._work, name=f"forecasting-{name}", daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """The job's result. After a cancellation the job continues in the thread and its result is dropped."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._pending += 1
        self._jobs.put_nowait(lambda: self._do(job, answer, loop))
        try:
            return await answer
        except asyncio.CancelledError:
            self.hung = self._pending > 0
            raise

    def stop(self) -> None:
        """Ends the thread after the queued jobs."""
        self._jobs.put_nowait(None)

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _do(self, job: Callable[[], T], answer: asyncio.Future[T], loop: asyncio.AbstractEventLoop) -> None:
        """Runs in the thread; the event loop alone touches the future and the state."""
        outcome: Callable[[], None]
        try:
            outcome = partial(answer.set_result, job())
        except Exception as error:  # noqa: BLE001  # raised where the answer is awaited
            outcome = partial(answer.set_exception, error)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._done, answer, outcome)

    def _done(self, answer: asyncio.Future[T], outcome: Callable[[], None]) -> None:
        self._pending -= 1
        if self._pending == 0:
            self.hung = False
        if not answer.done():
            outcome()
