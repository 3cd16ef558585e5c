"""Tests of the store's thread: order, retries while blocked, and closing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from daemon.errors import Retryable
from daemon.store.thread import StoreThread

DISK_FULL = "disk full"


@pytest.fixture
def store() -> Iterator[StoreThread]:
    made = StoreThread()
    yield made
    made.close()


class Disk:
    """A disk that is full for the first ``refusals`` writes."""

    def __init__(self, refusals: int) -> None:
        self.written: list[int] = []
        self.refusals = refusals

    def write(self, value: int) -> int:
        if self.refusals:
            self.refusals -= 1
            raise Retryable(DISK_FULL)
        self.written.append(value)
        return value


async def test_jobs_run_in_the_order_in_which_they_were_submitted(store: StoreThread) -> None:
    """What is submitted first is on disk first, and each future holds its own result."""
    disk = Disk(refusals=0)
    futures = [store.submit(disk.write, value) for value in range(100)]
    assert await store.call(disk.write, 100) == 100
    assert disk.written == list(range(101))
    assert [future.result() for future in futures] == list(range(100))


async def test_a_full_disk_delays_and_loses_nothing() -> None:
    """A write to a full disk is retried, later writes wait, and the start and end of the blockage are reported."""
    disk, reasons = Disk(refusals=1), list[str | None]()
    store = StoreThread(on_blocked=reasons.append)
    for value in range(5):
        store.submit(disk.write, value)
    await store.call(disk.write, 5)
    store.close()
    assert disk.written == [0, 1, 2, 3, 4, 5]
    assert reasons == [DISK_FULL, None]


async def test_a_cancelled_call_does_not_end_the_thread(store: StoreThread) -> None:
    """Cancelling a call, before its turn or in the middle of it, leaves the thread serving the others."""
    started, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        go_on.wait(5)

    disk = Disk(refusals=0)
    under_way = asyncio.ensure_future(store.call(slow))
    in_line = asyncio.ensure_future(store.call(disk.write, 1))
    await asyncio.to_thread(started.wait, 5)
    for task in (under_way, in_line):
        task.cancel()
    await asyncio.gather(under_way, in_line, return_exceptions=True)
    go_on.set()
    async with asyncio.timeout(5):
        await store.call(disk.write, 2)
    assert disk.written == [2]


async def test_an_error_of_a_job_is_raised_in_its_caller(store: StoreThread) -> None:
    """An error other than Retryable is raised in the caller, and the thread continues."""

    def broken() -> None:
        raise ValueError("wrong argument")

    with pytest.raises(ValueError, match="wrong argument"):
        await store.call(broken)
    assert await store.call(lambda: 7) == 7


def test_the_failure_of_a_submitted_write_is_logged() -> None:
    """A submitted write that fails is logged, as no caller awaits its future."""

    def broken() -> None:
        raise ValueError("wrong argument")

    store = StoreThread()
    with capture_logs() as logs:
        store.submit(broken)
        store.close()
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        ("store_write_failed", "ValueError('wrong argument')")
    ]


def test_closing_runs_queued_jobs() -> None:
    """Everything submitted before the end is written; what comes after it is refused."""
    disk = Disk(refusals=0)
    store = StoreThread()
    for value in range(1000):
        store.submit(disk.write, value)
    store.close()
    assert disk.written == list(range(1000))
    with pytest.raises(Retryable, match="writes waiting"):
        store.submit(disk.write, 1)


def test_closing_does_not_wait_for_a_disk_that_stays_full() -> None:
    """With the disk still full each write is tried once more, and its future says what was lost."""
    disk = Disk(refusals=1_000_000)
    store = StoreThread()
    futures = [store.submit(disk.write, value) for value in range(3)]
    store.close(timeout_s=5.0)
    for future in futures:
        with pytest.raises(Retryable, match=DISK_FULL):
            future.result(timeout=0)
