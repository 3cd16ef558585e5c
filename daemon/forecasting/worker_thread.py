"""One daemon thread that performs jobs in order, knows what it does since when, and never keeps the process alive."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Activity(NamedTuple):
    """The job that a thread performs now, and the wall time at which it began."""

    name: str
    since_s: float


class WorkerThread:
    """Performs jobs for one event loop. ``hung`` while it performs a job whose caller gave up.

    activity: the current job; None while the thread waits for one. It is read from any thread.
    """

    def __init__(self, name: str, *, wall_s: Callable[[], float] = time.monotonic) -> None:
        self.hung = False
        self.activity: Activity | None = None
        self._wall_s = wall_s
        # A round, a revision and a swap may wait at one time. A caller that times out marks the thread hung, and a hung
        # thread gets no more jobs.
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(maxsize=8)
        self._pending = 0
        self._thread = threading.Thread(target=self._work, name=f"forecasting-{name}", daemon=True)
        self._thread.start()

    async def run(self, activity: str, job: Callable[[], T]) -> T:
        """The job's result. After a cancellation the job continues in the thread and its result is dropped."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._pending += 1
        self._jobs.put_nowait(lambda: self._do(activity, job, answer, loop))
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

    def _do(
        self, activity: str, job: Callable[[], T], answer: asyncio.Future[T], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Runs in the thread; the event loop alone touches the future and the state."""
        outcome: Callable[[], None]
        self.activity = Activity(activity, self._wall_s())
        try:
            outcome = partial(answer.set_result, job())
        except Exception as error:  # noqa: BLE001  # raised where the answer is awaited
            outcome = partial(answer.set_exception, error)
        finally:
            self.activity = None
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._done, answer, outcome)

    def _done(self, answer: asyncio.Future[T], outcome: Callable[[], None]) -> None:
        self._pending -= 1
        if self._pending == 0:
            self.hung = False
        if not answer.done():
            outcome()
