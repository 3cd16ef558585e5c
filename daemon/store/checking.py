"""Integrity check of a store that is in use, on a connection of its own."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from daemon.store.errors import StoreDamaged, damaged_error, store_error


def stopped_cleanly(path: Path) -> bool:
    """Whether the last program that wrote the store closed it: SQLite then removes its write-ahead log.

    True where there is no store.
    """
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size == 0
    except OSError:
        return True


class StoreCheck:
    """One check of the whole file, which reads all of it and delays no write.

    ``run`` is called in a thread of its own, ``stop`` from any other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._stopped = False

    def run(self) -> StoreDamaged | None:
        """The damage, None where there is none or the check was stopped or could not be made."""
        try:
            (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            found = store_error(self._path, error)
            return found if isinstance(found, StoreDamaged) else None
        finally:
            self._connection.close()
        return None if verdict == "ok" or self._stopped else damaged_error(self._path, verdict)

    def stop(self) -> None:
        """Makes ``run`` return soon."""
        self._stopped = True
        with suppress(sqlite3.ProgrammingError):  # it has ended, and closed its connection
            self._connection.interrupt()
