"""The schema of the store as a list of migrations, and their application to an older file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from daemon.errors import Unreachable
from daemon.store.errors import StoreDamaged, StoreTooNew

# "fcst": marks the file as forecastd's, so that another program's database is never migrated.
APPLICATION_ID = 0x66637374


class Migration(NamedTuple):
    """One step of the schema; a published step is never edited, only followed by another."""

    name: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "first tables",
        (
            """CREATE TABLE instruments (
                id INTEGER PRIMARY KEY,
                venue TEXT NOT NULL,
                symbol TEXT NOT NULL,
                UNIQUE (venue, symbol)
            )""",
            """CREATE TABLE bars (
                instrument_id INTEGER NOT NULL REFERENCES instruments (id),
                interval_us INTEGER NOT NULL,
                open_time_us INTEGER NOT NULL,
                open REAL, high REAL, low REAL, close REAL,
                volume REAL NOT NULL,
                quote_volume REAL,
                trades INTEGER,
                taker_buy_volume REAL,
                taker_buy_quote_volume REAL,
                completeness TEXT NOT NULL,
                known_at_us INTEGER NOT NULL,
                first_trade_id INTEGER,
                last_trade_id INTEGER,
                missing_trades INTEGER NOT NULL,
                late_trades INTEGER NOT NULL,
                revision INTEGER NOT NULL,
                audit TEXT NOT NULL,
                PRIMARY KEY (instrument_id, interval_us, open_time_us)
            ) WITHOUT ROWID""",
            """CREATE TABLE trade_chunks (
                id INTEGER PRIMARY KEY,
                instrument_id INTEGER NOT NULL REFERENCES instruments (id),
                first_time_us INTEGER NOT NULL,
                last_time_us INTEGER NOT NULL,
                trades BLOB NOT NULL
            )""",
            "CREATE INDEX trade_chunks_by_time ON trade_chunks (instrument_id, last_time_us)",
            """CREATE TABLE sequence_states (
                instrument_id INTEGER PRIMARY KEY REFERENCES instruments (id),
                state BLOB NOT NULL
            )""",
            """CREATE TABLE forecasts (
                id TEXT PRIMARY KEY,
                instrument_id INTEGER NOT NULL REFERENCES instruments (id),
                interval_us INTEGER NOT NULL,
                close_time_us INTEGER NOT NULL,
                valid_until_us INTEGER NOT NULL,
                topic TEXT NOT NULL,
                payload BLOB NOT NULL
            )""",
            "CREATE INDEX forecasts_by_time ON forecasts (close_time_us)",
            "CREATE INDEX forecasts_by_instrument ON forecasts (instrument_id, interval_us, close_time_us)",
            """CREATE TABLE pending (
                forecast_id TEXT PRIMARY KEY REFERENCES forecasts (id) ON DELETE CASCADE,
                shadow BLOB NOT NULL
            ) WITHOUT ROWID""",
            """CREATE TABLE scores (
                instrument_id INTEGER NOT NULL REFERENCES instruments (id),
                close_time_us INTEGER NOT NULL,
                horizon_bars INTEGER NOT NULL,
                role TEXT NOT NULL,
                kind TEXT NOT NULL,
                model_id TEXT NOT NULL,
                log_return REAL NOT NULL,
                median REAL NOT NULL,
                pinball REAL NOT NULL,
                squared_error REAL NOT NULL,
                inside_80 INTEGER NOT NULL,
                inside_95 INTEGER NOT NULL,
                volatility REAL NOT NULL,
                scored_at_us INTEGER NOT NULL,
                PRIMARY KEY (close_time_us, instrument_id, horizon_bars, role, kind)
            ) WITHOUT ROWID""",
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        ),
    ),
    Migration(
        "bars of venues whose ids prove nothing: missing trades may be unknown, and say where they are missing",
        (
            """CREATE TABLE bars_2 (
                instrument_id INTEGER NOT NULL REFERENCES instruments (id),
                interval_us INTEGER NOT NULL,
                open_time_us INTEGER NOT NULL,
                open REAL, high REAL, low REAL, close REAL,
                volume REAL NOT NULL,
                quote_volume REAL,
                trades INTEGER,
                taker_buy_volume REAL,
                taker_buy_quote_volume REAL,
                completeness TEXT NOT NULL,
                known_at_us INTEGER NOT NULL,
                first_trade_id INTEGER,
                last_trade_id INTEGER,
                missing_trades INTEGER,
                late_trades INTEGER NOT NULL,
                revision INTEGER NOT NULL,
                audit TEXT NOT NULL,
                missing_ranges BLOB,
                PRIMARY KEY (instrument_id, interval_us, open_time_us)
            ) WITHOUT ROWID""",
            "INSERT INTO bars_2 SELECT *, NULL FROM bars",
            "DROP TABLE bars",
            "ALTER TABLE bars_2 RENAME TO bars",
        ),
    ),
    Migration(
        "what a network had before it when it made a forecast",
        (
            "CREATE TABLE feature_lists (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE)",
            "ALTER TABLE forecasts ADD COLUMN feature_list INTEGER REFERENCES feature_lists (id)",
            "ALTER TABLE forecasts ADD COLUMN known BLOB",
            "ALTER TABLE forecasts ADD COLUMN importance BLOB",
        ),
    ),
    Migration(
        "online calibration, and the CRPS by which it is judged",
        (
            """CREATE TABLE calibrations (
                instrument_id INTEGER NOT NULL REFERENCES instruments (id),
                interval_us INTEGER NOT NULL,
                kind TEXT NOT NULL,
                state TEXT NOT NULL,
                PRIMARY KEY (instrument_id, interval_us, kind)
            ) WITHOUT ROWID""",
            "ALTER TABLE scores ADD COLUMN crps REAL",
        ),
    ),
)


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Applies the steps that the file lacks, all of them or none.

    Raises:
        StoreDamaged: the file is another program's database.
        StoreTooNew: the file has steps that this forecastd does not know.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _version(connection, path, len(migrations))
        for number, migration in enumerate(migrations[done:], start=done + 1):
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations (version, name) VALUES (?, ?)", (number, migration.name))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def require_store(connection: sqlite3.Connection, path: Path) -> None:
    """Raises Unreachable for an empty file, and as ``migrate`` for another program's or a newer forecastd's."""
    if _is_empty(connection):
        raise Unreachable(f"{path} is empty; start forecastd or import history first")
    _version(connection, path, len(MIGRATIONS))


def _is_empty(connection: sqlite3.Connection) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return bool(application == 0 and tables == 0)


def _version(connection: sqlite3.Connection, path: Path, known: int) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if _is_empty(connection):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    elif application != APPLICATION_ID:
        raise StoreDamaged(f"{path} is another program's database; point instance.state_dir to a folder of its own")
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
    if version > known:
        raise StoreTooNew(
            f"{path} was written by a newer forecastd (schema {version}, this one knows {known}); upgrade forecastd "
            "or point instance.state_dir to another folder"
        )
    return int(version)
