"""The disk of a simulated machine: real SQLite files in memory, with transactions that stall, fail or find no room."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_FULL = "database or disk is full"
_FAILURES = {
    sqlite3.SQLITE_IOERR: "disk I/O error",
    sqlite3.SQLITE_BUSY: "database is locked",
    sqlite3.SQLITE_CONSTRAINT: "constraint failed",  # of no kind that passes: what is written is lost
}


@dataclass
class Disk:
    """``stalled_until_s``: no call ends before. ``slow_s``: how long one takes at most. ``full``: no transaction
    succeeds. ``failing``: the SQLite codes with which the next transactions fail, one each.
    """

    rng: random.Random
    stalled_until_s: float = 0.0
    slow_s: float = 0.0
    full: bool = False
    failing: list[int] = field(default_factory=list)

    def fail_once(self) -> None:
        """The next transaction fails, at its begin or its end."""
        self.failing.append(self.rng.choice(list(_FAILURES)))

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Every connection to SQLite is on this disk meanwhile."""
        disk, connect = self, sqlite3.connect

        class Connection(sqlite3.Connection):
            """A connection whose write-ahead log is never synced, so that a power cut may lose its end."""

            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                super().execute("PRAGMA wal_autocheckpoint = 0")

            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql in {"BEGIN IMMEDIATE", "COMMIT"}:
                    disk._check(sql)
                return super().execute(sql, *args)

        def connect_here(*args: Any, **options: Any) -> sqlite3.Connection:
            return connect(*args, factory=Connection, **options)

        sqlite3.connect = connect_here  # type: ignore[assignment]
        try:
            yield
        finally:
            sqlite3.connect = connect

    def _check(self, sql: str) -> None:
        if self.full:
            raise _error(sqlite3.SQLITE_FULL, _FULL)
        if self.failing and (sql == "COMMIT" or self.rng.random() < 0.5):
            code = self.failing.pop()
            raise _error(code, _FAILURES[code])


def _error(code: int, text: str) -> sqlite3.Error:
    error = (sqlite3.IntegrityError if code == sqlite3.SQLITE_CONSTRAINT else sqlite3.OperationalError)(text)
    error.sqlite_errorcode = code
    return error
