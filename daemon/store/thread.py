"""The one thread that touches the ledger: jobs run in order, and a full disk delays them instead of losing them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

import structlog

from daemon.errors import Retryable

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_RETRY_S = 1.0
_MOST_JOBS = 100_000  # hours of bars, forecasts and flushes of a thousand symbols


class StoreThread:
    """Runs ledger calls one after another. A job that meets Retryable (disk full, locked) is tried again until it
    succeeds or the thread is closed; the jobs behind it wait, so that the order on disk is the order of events.
    """

    def __init__(self, *, on_blocked: Callable[[str | None], None] = lambda _reason: None) -> None:
        self._on_blocked = on_blocked
        self._jobs: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._more = threading.Condition()
        self._closing = False
        self._troubled = False
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        return len(self._jobs)

    @property
    def capacity(self) -> int:
        return _MOST_JOBS

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Puts a call in line and returns at once; a failure is logged. Raises Retryable when the line is full."""
        future = self._line_up(call, *args, **kwargs)
        future.add_done_callback(_say_failure)
        return future

    async def call(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Like ``submit``, and waits for the result; a failure is the caller's."""
        return await asyncio.wrap_future(self._line_up(call, *args, **kwargs))

    def _line_up(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        with self._more:
            if len(self._jobs) >= _MOST_JOBS or self._closing:
                raise Retryable(f"the store has {len(self._jobs)} writes waiting; free disk space or see the log")
            self._jobs.append((lambda: call(*args, **kwargs), future))  # type: ignore[arg-type]  # Future[R] as object
            self._more.notify()
        return future

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Runs what is in line, each job once more at most, and ends the thread."""
        with self._more:
            self._closing = True
            self._more.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            call, future = job
            if not future.set_running_or_notify_cancel():
                continue  # whoever waited for it has given up before its turn came
            while True:
                try:
                    result = call()
                except Retryable as error:
                    self._trouble(str(error))
                    if self._closing:
                        future.set_exception(error)
                        break
                    with self._more:
                        self._more.wait(_RETRY_S)
                except Exception as error:  # noqa: BLE001  # handed to whoever waits for the future
                    future.set_exception(error)
                    break
                else:
                    self._trouble(None)
                    future.set_result(result)
                    break

    def _next(self) -> tuple[Callable[[], object], Future[object]] | None:
        with self._more:
            while not self._jobs:
                if self._closing:
                    return None
                self._more.wait()
            return self._jobs.popleft()

    def _trouble(self, reason: str | None) -> None:
        if reason is None and not self._troubled:
            return
        if reason is not None and not self._troubled:
            log.error("store_waits", reason=reason)
        elif reason is None:
            log.info("store_writes_again")
        self._troubled = reason is not None
        self._on_blocked(reason)


def _say_failure(future: Future[R]) -> None:
    """Nobody waits for a submitted write, so its failure must be said."""
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("store_write_failed", reason=repr(error))
