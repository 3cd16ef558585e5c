"""The daemon's threads as timers of the event loop: the store's, and those of the inference."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from daemon.forecasting.worker_thread import Activity, WorkerThread
from daemon.store.backlog import StoreCall
from daemon.store.progress import StoreFault
from daemon.store.thread import RETRY_S, StoreThread
from tests.simulation.disk import Disk
from tests.simulation.network import SimulatedProcess, current_process

T = TypeVar("T")

_WRITE_S = 0.002
_JOB_S = 0.005


@dataclass
class Device:
    """``hung_until_s``: no forward pass, no load and no feature ends before."""

    hung_until_s: float = 0.0


class SimulatedStoreThread(StoreThread):
    """Performs the calls of the store one after the other on the event loop; none after its process has died."""

    def __init__(
        self,
        *,
        disk: Disk,
        rng: random.Random,
        on_fault: Callable[[StoreFault | None], None],
        wall_s: Callable[[], float],
    ) -> None:
        self._disk = disk
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._process: SimulatedProcess = current_process.get()
        self._current: StoreCall | None = None
        self._timer: asyncio.TimerHandle | None = None
        super().__init__(on_fault=on_fault, wall_s=wall_s)

    def _start(self) -> None:
        self._more = _Notifying(self._work_soon)  # type: ignore[assignment]

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Performs what is left, unless the process has died."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        while not self._process.dead and (self._current is not None or len(self._backlog)):
            self._work()
        del timeout_s

    def _work_soon(self) -> None:
        if self._timer is None and not self._closing:
            self._busy_since_s = self._wall_s()
            self._timer = self._loop.call_later(self._takes_s(), self._work)

    def _takes_s(self) -> float:
        takes_s = _WRITE_S + self._disk.slow_s * self._rng.random()
        return max(takes_s, self._disk.stalled_until_s - self._loop.time())

    def _work(self) -> None:
        """Tries the oldest call, and comes again for the next one, or for this one."""
        self._timer = None
        if self._process.dead:
            return
        if self._current is None:
            self._current = self._backlog.take()
            if not self._current.future.set_running_or_notify_cancel():
                self._current = None
        if self._current is not None and not self._attempt(self._current):
            self._answer(self._backlog.take_reads())
            self._again(RETRY_S)
            return
        self._current = None
        if len(self._backlog):
            self._again(self._takes_s())
        else:
            self._busy_since_s = None

    def _again(self, after_s: float) -> None:
        if not self._closing:
            self._timer = self._loop.call_later(after_s, self._work)


class _Notifying:
    """Stands for the thread's condition: a notification starts the work."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self.notify = notify

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class SimulatedWorkerThread(WorkerThread):
    """Performs each job after a moment, on the event loop; jobs wait while the device hangs."""

    def __init__(self, name: str, *, device: Device, wall_s: Callable[[], float]) -> None:
        self.hung = False
        self.activity = None
        self._name = name
        self._device = device
        self._clock_s = wall_s
        self._waiting = 0
        self._free_s = 0.0

    async def run(self, activity: str, job: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting += 1
        self._free_s = max(self._free_s, loop.time(), self._device.hung_until_s) + _JOB_S
        self.activity = self.activity or Activity(activity, self._clock_s())
        process = current_process.get()

        def perform() -> None:
            self._waiting -= 1
            self.activity = None if not self._waiting else Activity(activity, self._clock_s())
            self.hung = self.hung and self._waiting > 0
            if process.dead:
                return
            try:
                result = job()
            except Exception as error:  # noqa: BLE001  # raised where the answer is awaited
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        loop.call_at(self._free_s, perform)
        try:
            return await answer
        except asyncio.CancelledError:
            self.hung = self._waiting > 0
            raise

    def stop(self) -> None:
        """No thread runs."""

    def join(self, timeout_s: float) -> None:
        """No thread runs."""
