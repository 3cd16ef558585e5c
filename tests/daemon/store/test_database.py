"""Opening the file, and what its errors mean: full, locked, read-only, damaged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from daemon.errors import ErrorHandling, Retryable, Unreachable, classify
from daemon.store import database
from daemon.store.errors import StoreDamaged, StoreFull, StoreUnavailable
from daemon.store.ledger import Ledger
from features.market import HOUR_US
from tests.daemon.store.builders import BAR, BTC, state, trade


def pages(ledger: Ledger) -> int:
    return int(ledger._connection.execute("PRAGMA page_count").fetchone()[0])


def test_a_new_store_is_in_wal_mode_and_private(ledger: Ledger, path: Path) -> None:
    """The folder is made for this user only, the file keeps a write-ahead log and gives pages back."""
    assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert path.parent.stat().st_mode & 0o077 == 0


def test_full_disk_writes_nothing_and_passes(ledger: Ledger) -> None:
    """When the disk is full the write is refused whole; with free space the same write succeeds."""
    ledger.save_trades(BTC, [trade(1)], state(1))
    ledger._connection.execute(f"PRAGMA max_page_count = {pages(ledger) + 2}")
    many = [trade(number) for number in range(2, 5_000)]
    with pytest.raises(StoreFull, match=r"disk is full; free space there or lower store\.max_disk_mb"):
        ledger.save_trades(BTC, many, state(4_999))
    assert (ledger.sequence_state(BTC), ledger.open_trades(BTC, 0)) == (state(1), [trade(1)])
    ledger._connection.execute("PRAGMA max_page_count = 100000")
    ledger.save_trades(BTC, many, state(4_999))
    assert len(ledger.open_trades(BTC, 0)) == 4_999


def test_full_disk_is_worth_another_try() -> None:
    """A full disk is Retryable: the store's thread waits and tries again."""
    assert classify(StoreFull("full")) is ErrorHandling.RETRY


def test_locked_store(ledger: Ledger, path: Path) -> None:
    """While another process holds a transaction the write fails as Retryable, and succeeds afterwards."""
    ledger._connection.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked by another process"):
        ledger.save_bars([BAR])
    other.execute("ROLLBACK")
    other.close()
    assert ledger.save_bars([BAR]) == 1


def test_read_only_disk(ledger: Ledger) -> None:
    """A store that became read-only refuses writes as Retryable and still reads."""
    ledger.save_bars([BAR])
    ledger._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(Retryable, match="cannot be written; make the file and its folder writable"):
        ledger.save_bars([BAR])
    assert ledger.last_bar(BTC, HOUR_US) == BAR


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A path through a file is refused with the folder and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="state cannot be created: Not a directory"):
        Ledger(tmp_path / "file" / "state" / "ledger.db")


READ_ONLY_FOLDER = """
import os, sys
from pathlib import Path
from daemon.store.errors import StoreUnavailable
from daemon.store.ledger import Ledger
if os.getuid() == 0:
    os.setuid(65534)
try:
    Ledger(Path(sys.argv[1]))
except StoreUnavailable as error:
    print(error)
"""


@pytest.mark.slow
def test_read_only_folder() -> None:
    """An ordinary user without write permission gets a clear Retryable, not a traceback."""
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users altogether
    folder.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY_FOLDER, str(folder / "ledger.db")],
            capture_output=True,
            text=True,
            timeout=20,
        )
    finally:
        folder.rmdir()
    assert "cannot be opened; check that its folder exists and is writable for this user" in done.stdout, done.stderr


def test_file_that_is_no_database(path: Path) -> None:
    """Foreign bytes are reported as damage, with the way out, and are left as they are."""
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1_000)
    with pytest.raises(StoreDamaged, match=rf"is damaged .*\(mv {path} {path}.damaged\)"):
        Ledger(path)
    assert path.read_bytes().startswith(b"not a database")


def test_damaged_page(path: Path) -> None:
    """A page overwritten in the middle of the file is found at the next start."""
    with Ledger(path) as ledger:
        for first in range(1, 20_000, 1_000):
            ledger.save_trades(BTC, [trade(first + number) for number in range(1_000)], state(first + 999))
        ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = ledger._connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'trade_chunks'").fetchone()[
            0
        ]
    with path.open("r+b") as file:
        file.seek((root - 1) * 4_096)
        file.write(b"\xff" * 4_096)
    with pytest.raises(StoreDamaged, match="is damaged"):
        Ledger(path)


def test_read_only_open(ledger: Ledger, path: Path) -> None:
    """A reader beside the daemon sees the bars and can change nothing."""
    ledger.save_bars([BAR])
    with Ledger(path, read_only=True) as reader:
        assert reader.last_bar(BTC, HOUR_US) == BAR
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            reader.save_bars([BAR])


def test_read_only_open_makes_no_store(path: Path) -> None:
    """Where there is no store, reading it says what to do and creates nothing."""
    with pytest.raises(Unreachable, match="start forecastd or import history first"):
        Ledger(path, read_only=True)
    assert not path.exists()


def test_read_only_open_of_what_is_no_store(path: Path) -> None:
    """An empty file and another program's database are named, before a query fails on them."""
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(Unreachable, match="is empty; start forecastd or import history first"):
        Ledger(path, read_only=True)
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreDamaged, match="another program's database"):
        Ledger(path, read_only=True)


def test_a_programming_error_is_not_translated(ledger: Ledger) -> None:
    """Wrong SQL stays SQLite's own error: it is a bug, not a state of the disk."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"), ledger._writing() as connection:
        connection.execute("DELETE FROM no_such")
    assert not ledger._connection.in_transaction


def test_the_wait_for_a_lock_is_bounded() -> None:
    """No statement waits longer for another process than a stop of the daemon may take."""
    assert database.BUSY_TIMEOUT_S <= 5.0
