"""The SQLite connection: opens and checks the file, runs transactions, translates errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from daemon.errors import Unreachable
from daemon.store.errors import StoreUnavailable, damaged_error, store_error
from daemon.store.schema import migrate, require_store
from features.market import Instrument

# How long a statement waits for another process, such as `history import`, to end its transaction.
BUSY_TIMEOUT_S = 5.0
# Past this size the write-ahead log is cut back after a checkpoint.
WAL_LIMIT_BYTES = 64 * 1024 * 1024


class Database:
    """One connection to one store. Every method is synchronous and belongs to one thread at a time.

    checked: whether the whole file was read and found good when it was opened.

    The write-ahead log makes every transaction atomic, also when the process is killed. ``synchronous=NORMAL`` does not
    wait for the disk at each commit: a power cut (not a crash of the process) may lose the newest transactions. The
    daemon recovers from that: trade ids continue from the stored watermark, the trades after it are repaired through
    REST, and a lost forecast is issued again.
    """

    def __init__(self, path: Path, *, read_only: bool = False, check: bool = True) -> None:
        """Opens ``path``, creating and migrating it; ``read_only`` does neither.

        check: reads the whole file and refuses a damaged one; a gigabyte takes about ten seconds.

        Raises:
            StoreUnavailable: the file or its folder cannot be opened or written.
            StoreDamaged, StoreTooNew: an operator must act.
            Unreachable: read only, and there is no store, or an empty file.
        """
        self.path = path
        self.checked = check
        if read_only and not _is_there(path):
            raise Unreachable(f"{path} is not there; start forecastd or import history first")
        with self._errors():
            self._connection = self._connect(read_only=read_only)
        try:
            with self._errors():
                self._prepare(read_only=read_only, check=check)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def _connect(self, *, read_only: bool) -> sqlite3.Connection:
        if not read_only:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise StoreUnavailable(f"{self.path.parent} cannot be created: {error.strerror}") from error
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )

    def _prepare(self, *, read_only: bool, check: bool) -> None:
        execute = self._connection.execute
        execute("PRAGMA foreign_keys = ON")
        if not read_only:
            # Freed pages return to the file system; this can only be chosen before the first table exists.
            execute("PRAGMA auto_vacuum = INCREMENTAL")
            execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = NORMAL")
            execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        if check:
            (verdict,) = execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise damaged_error(self.path, verdict)
        if read_only:
            require_store(self._connection, self.path)
        else:
            migrate(self._connection, self.path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raises SQLite's errors as the store's own."""
        try:
            yield
        except sqlite3.Error as error:
            translated = store_error(self.path, error)
            if translated is error:
                raise
            raise translated from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, rolled back on any error."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _instrument_id(self, instrument: Instrument) -> int:
        """The id of ``instrument``, whose row is created where it is new; inside a transaction only.

        Not cached: a rollback removes the row again.
        """
        self._connection.execute("INSERT OR IGNORE INTO instruments (venue, symbol) VALUES (?, ?)", instrument)
        return self._known_instrument_id(instrument) or 0

    def _known_instrument_id(self, instrument: Instrument) -> int | None:
        row = self._connection.execute(
            "SELECT id FROM instruments WHERE venue = ? AND symbol = ?", instrument
        ).fetchone()
        return None if row is None else int(row[0])


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError as error:
        raise StoreUnavailable(f"{path} cannot be read by this user; ask as the user who writes it") from error
