"""Errors of the store, by whether a retry can succeed, and their translation from SQLite's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from daemon.errors import DataFault, Fatal, ForecastdError, Retryable


class StoreUnavailable(Retryable):
    """The store cannot be read or written now; no transaction is half-written."""


class StoreFull(StoreUnavailable):
    """The disk is full; no transaction is half-written."""


class StoreDamaged(Fatal):
    """The file is corrupt or is not a store of forecastd."""


class StoreTooNew(Fatal):
    """The store was written by a newer version of forecastd."""


class ForecastConflict(DataFault):
    """Another forecast is already stored under this id; the stored one is kept."""


_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "is locked by another process; it is tried again",
    sqlite3.SQLITE_LOCKED: "is locked by another process; it is tried again",
    sqlite3.SQLITE_READONLY: "cannot be written; make the file and its folder writable for this user",
    sqlite3.SQLITE_PERM: "cannot be opened; make the file and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its folder exists and is writable for this user",
    sqlite3.SQLITE_IOERR: "met a disk error; check the disk",
}


def store_error(path: Path, error: sqlite3.Error) -> ForecastdError | sqlite3.Error:
    """The store's error for SQLite's ``error``; a programming error is returned unchanged."""
    # The low byte is the primary result code, the other bytes refine it.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"{path}: the disk is full; free space there or lower store.max_disk_mb")
    if code in _DAMAGED:
        return damaged_error(path, str(error))
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path} {_UNAVAILABLE[code]} ({error})")
    return error


def damaged_error(path: Path, detail: str) -> StoreDamaged:
    one_line = " ".join(detail.split())  # SQLite's checks answer in several
    return StoreDamaged(
        f"{path} is damaged ({one_line}); stop forecastd, move the file away (mv {path} {path}.damaged) and start "
        "again: bars come back from the venue's history, past forecasts and scores do not"
    )
