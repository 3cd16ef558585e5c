"""The thread that owns the ledger: runs jobs in order and retries them while the disk is full or locked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

import structlog

from daemon.errors import Retryable
from daemon.store.progress import FaultKind, StoreFault, StoreProgress, fault_of

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_RETRY_S = 1.0
_CAPACITY = 100_000  # hours of bars, forecasts and flushes of a thousand symbols


class StoreThread:
    """Runs ledger calls one after another. A job that raises Retryable (disk full, locked) is retried until it succeeds
    or the thread is closed; later jobs wait, so that the order on disk is the order of events.

    on_fault: called in this thread with each fault, and with None once writes succeed again. A damaged file stays a
    fault. wall_s: the clock of ``progress``.
    """

    def __init__(
        self,
        *,
        on_fault: Callable[[StoreFault | None], None] = lambda _fault: None,
        wall_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_fault = on_fault
        self._wall_s = wall_s
        self._jobs: deque[tuple[Callable[[], object], Future[object]]] = deque()
        self._more = threading.Condition()
        self._closing = False
        self._last_success_s: float | None = None
        self._busy_since_s: float | None = None
        self._fault: StoreFault | None = None
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        return len(self._jobs)

    @property
    def capacity(self) -> int:
        return _CAPACITY

    @property
    def progress(self) -> StoreProgress:
        """The thread's state now; may be read from any thread."""
        return StoreProgress(last_success_s=self._last_success_s, busy_since_s=self._busy_since_s, fault=self._fault)

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
            self._busy_since_s = self._wall_s()
            self._perform(call, future)
            self._busy_since_s = None

    def _perform(self, call: Callable[[], object], future: Future[object]) -> None:
        """Runs one job until it succeeds, fails for good, or the thread is closed."""
        while True:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001  # raised where the future is awaited
                self._note_fault(error)
                if not isinstance(error, Retryable) or self._closing:
                    future.set_exception(error)
                    return
                with self._more:
                    self._more.wait(_RETRY_S)
            else:
                self._note_success()
                future.set_result(result)
                return

    def _next(self) -> tuple[Callable[[], object], Future[object]] | None:
        with self._more:
            while not self._jobs:
                if self._closing:
                    return None
                self._more.wait()
            return self._jobs.popleft()

    def report_fault(self, error: Exception) -> None:
        """Records a fault of the store that was found outside of this thread; from any thread."""
        self._note_fault(error)

    def _note_fault(self, error: Exception) -> None:
        known = self._fault
        fault = fault_of(error, known.since_s if known else self._wall_s())
        if fault is None or (known is not None and known.kind is FaultKind.DAMAGED):
            return
        if known is None or known.kind is not fault.kind:
            if fault.kind is FaultKind.DAMAGED:
                log.error("store_damaged", reason=fault.reason)
            else:
                log.error("store_waits", reason=fault.reason)
        self._fault = fault
        self._on_fault(fault)

    def _note_success(self) -> None:
        self._last_success_s = self._wall_s()
        if self._fault is None or self._fault.kind is FaultKind.DAMAGED:
            return
        log.info("store_writes_again", blocked_s=round(self._last_success_s - self._fault.since_s, 3))
        self._fault = None
        self._on_fault(None)


def _log_failure(future: Future[R]) -> None:
    """Logs the error of a submitted call, which no caller awaits."""
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("store_write_failed", reason=repr(error))
