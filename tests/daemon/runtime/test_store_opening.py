"""Opening of the store: off the event loop, checked first after an unclean stop, and beside the writes else."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from pathlib import Path

import pytest

from daemon.config import Config, load_config
from daemon.errors import ConfigError
from daemon.runtime.store_opening import check_store, open_ledger
from daemon.store.errors import StoreDamaged
from daemon.store.ledger import LEDGER_NAME, Ledger
from daemon.store.progress import FaultKind
from daemon.store.thread import StoreThread
from tests.daemon.store.builders import BAR
from tests.daemon.store.test_checking import damage, fill
from tests.limits import LIMIT_S


def configured(folder: Path) -> Config:
    return load_config(None, command_line={"instance.state_dir": str(folder)}, environ={})


def killed(path: Path, folder: Path) -> Path:
    """A copy of the store at ``path`` as a killed writer leaves it."""
    with Ledger(path, check=False) as ledger:
        ledger.save_bars([BAR])
        shutil.copytree(path.parent, folder)
    return folder


async def test_after_a_kill_the_whole_file_is_checked_first(tmp_path: Path) -> None:
    """A damaged store is refused before anything is read from it or written to it."""
    path = tmp_path / "state" / LEDGER_NAME
    fill(path)
    damage(path)
    with pytest.raises(StoreDamaged, match="is damaged"):
        await open_ledger(configured(killed(path, tmp_path / "killed")))


async def test_a_check_before_the_start_does_not_stop_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop turns while a large file is opened and checked."""
    opened_by: list[int] = []
    prepare = Ledger._prepare

    def slow(self: Ledger, **options: bool) -> None:
        opened_by.append(threading.get_ident())
        time.sleep(0.5)
        prepare(self, **options)

    monkeypatch.setattr(Ledger, "_prepare", slow)
    opening = asyncio.create_task(open_ledger(configured(tmp_path)))
    turns = 0
    while not opening.done():
        await asyncio.sleep(0.01)
        turns += 1
    (await opening).close()
    assert turns > 20
    assert opened_by != [threading.get_ident()]


async def test_after_a_clean_stop_the_check_is_made_beside_the_writes(tmp_path: Path) -> None:
    """The start does not wait for it; the damage that it finds is a fault of the store."""
    path = tmp_path / LEDGER_NAME
    fill(path)
    damage(path)
    store, ledger = StoreThread(), await open_ledger(configured(tmp_path))
    assert not ledger.checked
    await check_store(path, store)
    fault = store.progress.fault
    store.close()
    ledger.close()
    assert fault is not None
    assert fault.kind is FaultKind.DAMAGED


async def test_a_cancelled_check_ends_at_once(tmp_path: Path) -> None:
    """A stop of the daemon interrupts the check, which then reports nothing."""
    path, store = tmp_path / LEDGER_NAME, StoreThread()
    fill(path, chunks=200)
    checking = asyncio.create_task(check_store(path, store))
    await asyncio.sleep(0)
    checking.cancel()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(checking, return_exceptions=True)
    store.close()
    assert store.progress.fault is None


async def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The message has the key and the cure."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"state_dir .*file/state: Not a directory; make it writable"):
        await open_ledger(configured(tmp_path / "file" / "state"))
