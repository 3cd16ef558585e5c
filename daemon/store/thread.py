"""The thread that owns the ledger: runs jobs in order and retries them while the disk is full or locked."""

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
_CAPACITY = 100_000  # hours of bars, forecasts and flushes of a thousand symbols


class StoreThread:
    """Runs ledger calls one after another. A job that raises Retryable (disk full, locked) is retried until it succeeds
    or the thread is closed; later jobs wait, so that the order on disk is the order of events.

    on_blocked: called in this thread with the reason while a job is retried, and with None once a job succeeds.
    """

    def __init__(self, *, on_blocked: Callable[[str | None], None] = lambda _reason: None) -> None:
        self._on_blocked = on_blocked
        self._jobs: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._more = threading.Condition()
        self._closing = False
        self._blocked = False
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        return len(self._jobs)

    @property
    def capacity(self) -> int:
        return _CAPACITY

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queues a call and returns at once; a failure is logged. Raises Retryable when the queue is full."""
        future = self._enqueue(call, *args, **kwargs)
        future.add_done_callback(_log_failure)
        return future

    async def call(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Like ``submit``, but waits for the result and raises the call's error."""
        return await asyncio.wrap_future(self._enqueue(call, *args, **kwargs))

    def _enqueue(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        with self._more:
            if len(self._jobs) >= _CAPACITY or self._closing:
                raise Retryable(f"the store has {len(self._jobs)} writes waiting; free disk space or see the log")
            self._jobs.append((lambda: call(*args, **kwargs), future))  # type: ignore[arg-type]  # Future[R] as object
            self._more.notify()
        return future

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Runs each queued job at most once more and ends the thread."""
        with self._more:
            self._closing = True
            self._more.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            call, future = job
            if not future.set_running_or_notify_cancel():
                continue  # the caller cancelled it before its turn
            while True:
                try:
                    result = call()
                except Retryable as error:
                    self._report_blocked(str(error))
                    if self._closing:
                        future.set_exception(error)
                        break
                    with self._more:
                        self._more.wait(_RETRY_S)
                except Exception as error:  # noqa: BLE001  # raised where the future is awaited
                    future.set_exception(error)
                    break
                else:
                    self._report_blocked(None)
                    future.set_result(result)
                    break

    def _next(self) -> tuple[Callable[[], object], Future[object]] | None:
        with self._more:
            while not self._jobs:
                if self._closing:
                    return None
                self._more.wait()
            return self._jobs.popleft()

    def _report_blocked(self, reason: str | None) -> None:
        if reason is None and not self._blocked:
            return
        if reason is not None and not self._blocked:
            log.error("store_waits", reason=reason)
        elif reason is None:
            log.info("store_writes_again")
        self._blocked = reason is not None
        self._on_blocked(reason)


def _log_failure(future: Future[R]) -> None:
    """Logs the error of a submitted call, which no caller awaits."""
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("store_write_failed", reason=repr(error))
