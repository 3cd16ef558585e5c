"""The thread that owns the ledger: runs jobs in order and retries them while the disk is full or locked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar, cast

import structlog

from daemon.errors import Retryable
from daemon.store.backlog import Backlog, Record, StoreCall
from daemon.store.progress import FaultKind, StoreFault, StoreProgress, fault_of

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

RETRY_S = 1.0


class StoreThread:
    """Runs ledger calls one after another. A write that raises Retryable (disk full, locked) is retried until it
    succeeds or the thread is closed; later writes wait in a bounded backlog, so that the order on disk is the order of
    events.

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
        self._backlog = Backlog()
        self._more = threading.Condition()
        self._closing = False
        self._last_success_s: float | None = None
        self._busy_since_s: float | None = None
        self._fault: StoreFault | None = None
        self._thread: threading.Thread | None = None
        self._start()

    @property
    def depth(self) -> int:
        return len(self._backlog)

    @property
    def capacity(self) -> int:
        return self._backlog.capacity

    def backlog_bytes(self, record: Record) -> int:
        """The estimated memory of the writes of one kind that wait."""
        return self._backlog.size_bytes(record)

    @property
    def progress(self) -> StoreProgress:
        """The thread's state now; may be read from any thread."""
        return StoreProgress(last_success_s=self._last_success_s, busy_since_s=self._busy_since_s, fault=self._fault)

    def write(
        self, record: Record, size_bytes: int, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        """Queues a write and returns at once; the caller looks at the future's error.

        size_bytes: estimated memory of the arguments. The future fails with BacklogFull where too much waits, and with
        Retryable where the thread was closed before the write succeeded.
        """
        future: Future[R] = Future()
        try:
            self._enqueue(future, record, size_bytes, partial(call, *args, **kwargs))
        except Retryable as error:
            future.set_exception(error)
        return future

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queues a call of no particular record and returns at once; a failure is logged."""
        future = self.write(Record.OTHER, 0, call, *args, **kwargs)
        future.add_done_callback(_log_failure)
        return future

    async def call(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Queues a call, waits for the result and raises the call's error."""
        future: Future[R] = Future()
        self._enqueue(future, Record.OTHER, 0, partial(call, *args, **kwargs))
        return await asyncio.wrap_future(future)

    async def read(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Like ``call``, for a call that changes nothing: it overtakes writes that wait for room on the disk."""
        future: Future[R] = Future()
        self._enqueue(future, Record.OTHER, 0, partial(call, *args, **kwargs), reads=True)
        return await asyncio.wrap_future(future)

    def _enqueue(
        self, future: Future[R], record: Record, size_bytes: int, perform: Callable[[], R], *, reads: bool = False
    ) -> None:
        with self._more:
            if self._closing:
                raise Retryable("the store is closed")
            call = StoreCall(perform, cast("Future[object]", future), record, size_bytes, reads)
            self._backlog.add(call)
            self._more.notify()

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Runs each queued call at most once more and ends the thread."""
        with self._more:
            self._closing = True
            self._more.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            self._perform(call)

    def _perform(self, call: StoreCall) -> None:
        """Runs one call until it succeeds, fails for good, or the thread is closed."""
        if not call.future.set_running_or_notify_cancel():
            return  # the caller cancelled it before its turn
        self._busy_since_s = self._wall_s()
        while not self._attempt(call):
            self._wait_for_retry()
        self._busy_since_s = None

    def _attempt(self, call: StoreCall) -> bool:
        """Runs a call once; False where it must be tried again."""
        try:
            result = call.perform()
        except Exception as error:  # noqa: BLE001  # raised where the future is awaited
            self._note_fault(error)
            if isinstance(error, Retryable) and not self._closing:
                return False
            call.future.set_exception(error)
        else:
            self._note_success()
            call.future.set_result(result)
        return True

    def _wait_for_retry(self) -> None:
        """Waits, and meanwhile answers the calls that only read, once each."""
        with self._more:
            self._more.wait(RETRY_S)
            reads = self._backlog.take_reads()
        self._answer(reads)

    def _answer(self, reads: Sequence[StoreCall]) -> None:
        for read in reads:
            if not read.future.set_running_or_notify_cancel():
                continue
            try:
                read.future.set_result(read.perform())
            except Exception as error:  # noqa: BLE001  # raised where the future is awaited
                read.future.set_exception(error)

    def _next(self) -> StoreCall | None:
        with self._more:
            while not len(self._backlog):
                if self._closing:
                    return None
                self._more.wait()
            return self._backlog.take()

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
