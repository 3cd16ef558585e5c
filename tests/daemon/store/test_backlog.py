"""Backlog of the store: bounded in bytes for each kind of record, in order, and reads that overtake blocked writes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from daemon.store import backlog
from daemon.store.backlog import Backlog, BacklogFull, Record, StoreCall
from daemon.store.errors import StoreFull
from daemon.store.thread import StoreThread
from tests.limits import LIMIT_S


def call(record: Record, size_bytes: int, *, reads: bool = False) -> StoreCall:
    return StoreCall(lambda: None, Future(), record, size_bytes, reads)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CAPACITY_BYTES", {Record.TRADES: 100, Record.FORECASTS: 100})
    monkeypatch.setattr(backlog, "_CAPACITY", 10)


def test_each_kind_has_its_own_bound() -> None:
    """Trades that fill their part leave room for forecasts, and what is taken makes room again."""
    waiting = Backlog()
    waiting.add(call(Record.TRADES, 60))
    with pytest.raises(BacklogFull, match="trades wait"):
        waiting.add(call(Record.TRADES, 60))
    waiting.add(call(Record.FORECASTS, 100))
    waiting.add(call(Record.TRADES, 40))
    assert (waiting.size_bytes(Record.TRADES), waiting.size_bytes(Record.FORECASTS)) == (100, 100)
    assert waiting.take().size_bytes == 60
    waiting.add(call(Record.TRADES, 60))
    assert [waiting.take().size_bytes for _ in range(3)] == [100, 40, 60]
    assert waiting.size_bytes(Record.TRADES) == 0


def test_one_large_call_is_taken() -> None:
    """A repair larger than the bound can be stored while nothing of its kind waits."""
    waiting = Backlog()
    waiting.add(call(Record.TRADES, 1_000))
    with pytest.raises(BacklogFull):
        waiting.add(call(Record.TRADES, 1))


def test_the_number_of_calls_is_bounded() -> None:
    """Calls without a size are bounded by their number."""
    waiting = Backlog()
    for _ in range(10):
        waiting.add(call(Record.OTHER, 0))
    with pytest.raises(BacklogFull, match="10 writes"):
        waiting.add(call(Record.OTHER, 0))


def test_reads_are_taken_out_of_order() -> None:
    """Reads leave, writes stay in order."""
    waiting = Backlog()
    for reads in (False, True, False, True):
        waiting.add(call(Record.OTHER, 0, reads=reads))
    assert [each.reads for each in waiting.take_reads()] == [True, True]
    assert len(waiting) == 2
    assert waiting.take_reads() == []


async def test_a_full_disk_does_not_hold_back_reads() -> None:
    """The schedule and the status can read while writes wait; an error of a read reaches its caller."""
    store, room = StoreThread(), threading.Event()

    def write() -> str:
        if not room.is_set():
            raise StoreFull("disk full")
        return "written"

    def broken() -> None:
        raise ValueError("no such row")

    writing = store.write(Record.TRADES, 10, write)
    async with asyncio.timeout(LIMIT_S):
        assert await store.read(lambda: 7) == 7
        with pytest.raises(ValueError, match="no such row"):
            await store.read(broken)
        assert not writing.done()
        room.set()
        assert await asyncio.wrap_future(writing) == "written"
    store.close()


def test_a_refused_write_fails_its_future() -> None:
    """The caller is not raised at, as it cannot wait; the future says that the backlog is full."""
    store, go_on = StoreThread(), threading.Event()
    store.submit(go_on.wait, 5)
    kept = [store.write(Record.TRADES, 50, lambda: None) for _ in range(2)]
    refused = store.write(Record.TRADES, 50, lambda: None)
    assert isinstance(refused.exception(timeout=0), BacklogFull)
    go_on.set()
    store.close()
    assert [each.result(timeout=0) for each in kept] == [None, None]
