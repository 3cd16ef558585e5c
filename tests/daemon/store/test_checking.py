"""Check of a whole store beside its writes, and how a clean stop is recognised."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from daemon.store.checking import StoreCheck, stopped_cleanly
from daemon.store.errors import StoreDamaged
from daemon.store.ledger import Ledger
from tests.daemon.store.builders import BAR, BTC, state, trade
from tests.limits import LIMIT_S


def fill(path: Path, *, chunks: int = 20) -> None:
    with Ledger(path) as ledger:
        for first in range(0, chunks * 1_000, 1_000):
            ledger.save_trades(BTC, [trade(first + number) for number in range(1_000)], state(first + 999))


def damage(path: Path) -> None:
    """Overwrites a page that only a check of the whole file reads."""
    with Ledger(path, check=False) as ledger:
        (page,) = ledger._connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'trade_chunks'"
        ).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(b"\xff" * 4_096)


def test_a_store_that_was_closed_stopped_cleanly(path: Path) -> None:
    """A closed store, and no store, count as a clean stop; a store whose writer was killed does not."""
    assert stopped_cleanly(path)
    with Ledger(path) as ledger:
        ledger.save_bars([BAR])
        killed = path.parent.parent / "killed"
        shutil.copytree(path.parent, killed)
    assert stopped_cleanly(path)
    assert not stopped_cleanly(killed / path.name)


def test_damage_is_found_beside_the_writer(path: Path) -> None:
    """A check on a connection of its own finds what opening without a check does not, while the store is written."""
    fill(path)
    damage(path)
    with Ledger(path, check=False) as ledger:
        assert not ledger.checked
        ledger.save_bars([BAR])
        found = StoreCheck(path).run()
    assert isinstance(found, StoreDamaged)
    assert "is damaged" in str(found)
    with pytest.raises(StoreDamaged):
        Ledger(path)


def test_a_good_store_has_no_damage(path: Path) -> None:
    """A whole file passes, and a check that has ended can be stopped without an error."""
    fill(path)
    check = StoreCheck(path)
    assert check.run() is None
    check.stop()


def test_a_check_can_be_stopped(path: Path) -> None:
    """A stop of the daemon does not wait for a check of gigabytes, and a check cut short finds no damage."""
    fill(path, chunks=200)
    check = StoreCheck(path)
    results: list[StoreDamaged | None] = []
    worker = threading.Thread(target=lambda: results.append(check.run()))
    worker.start()
    check.stop()
    worker.join(LIMIT_S)
    assert results == [None]
