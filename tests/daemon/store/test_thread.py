"""Tests of the store's thread: order, retries while blocked, and closing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.errors import Retryable
from daemon.store.database import Database
from daemon.store.errors import StoreDamaged, StoreFull
from daemon.store.progress import FaultKind, StoreFault, StoreProgress
from daemon.store.thread import StoreThread
from tests.limits import LIMIT_S

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
    disk, faults = Disk(refusals=1), list[StoreFault | None]()
    store = StoreThread(on_fault=faults.append)
    for value in range(5):
        store.submit(disk.write, value)
    await store.call(disk.write, 5)
    store.close()
    assert disk.written == [0, 1, 2, 3, 4, 5]
    assert [fault.reason if fault else None for fault in faults] == [DISK_FULL, None]


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
    async with asyncio.timeout(LIMIT_S):
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
    with pytest.raises(Retryable, match="closed"):
        store.submit(disk.write, 1).result(timeout=0)


def test_closing_does_not_wait_for_a_disk_that_stays_full() -> None:
    """With the disk still full each write is tried once more, and its future says what was lost."""
    disk = Disk(refusals=1_000_000)
    store = StoreThread()
    futures = [store.submit(disk.write, value) for value in range(3)]
    store.close(timeout_s=5.0)
    for future in futures:
        with pytest.raises(Retryable, match=DISK_FULL):
            future.result(timeout=0)


async def test_progress_names_the_last_success_and_the_fault() -> None:
    """A full disk is a fault with its kind and since when; the write that succeeds ends it and is the last success."""
    now_s, release = [5.0], threading.Event()

    def full() -> None:
        if not release.is_set():
            raise StoreFull(DISK_FULL)

    store = StoreThread(wall_s=lambda: now_s[0])
    assert store.progress == StoreProgress()
    future = store.submit(full)
    while store.progress.fault is None:
        await asyncio.sleep(0.01)
    assert store.progress == StoreProgress(
        busy_since_s=5.0, fault=StoreFault(kind=FaultKind.FULL, reason=DISK_FULL, since_s=5.0)
    )
    now_s[0] = 9.0
    release.set()
    await asyncio.wrap_future(future)
    store.close()
    assert store.progress == StoreProgress(last_success_s=9.0)


async def test_progress_shows_a_call_that_hangs(store: StoreThread) -> None:
    """A call that never returns is busy since its begin, while an idle thread is not busy."""
    go_on = threading.Event()
    before_s = time.monotonic()
    future = store.submit(go_on.wait, 5)
    while store.progress.busy_since_s is None:
        await asyncio.sleep(0.01)
    assert before_s <= store.progress.busy_since_s <= time.monotonic()
    go_on.set()
    await asyncio.wrap_future(future)
    await store.call(lambda: None)
    assert store.progress.fault is None


async def test_a_damaged_file_is_a_fault_that_lasts(tmp_path: Path) -> None:
    """SQLite's "malformed" reaches the health of the daemon, and a later success does not hide it."""
    path, faults = tmp_path / "ledger.sqlite", list[StoreFault | None]()
    store = StoreThread(on_fault=faults.append)
    with Database(path) as database, database._writing() as connection:
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [(str(n), "x" * 500) for n in range(20_000)]
        )  # past the page cache
    content = bytearray(path.read_bytes())
    content[4_000_000:] = bytes(len(content) - 4_000_000)
    with Database(path) as database:
        path.write_bytes(content)

        def read_all() -> None:
            with database._reading() as connection:
                connection.execute("SELECT sum(length(value)) FROM meta").fetchall()

        with pytest.raises(StoreDamaged):
            await store.call(read_all)
    await store.call(lambda: None)
    store.close()
    assert [fault.kind for fault in faults if fault] == [FaultKind.DAMAGED]
    assert store.progress.fault is not None
    assert "is damaged" in store.progress.fault.reason
