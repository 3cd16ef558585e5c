"""Tests of the migrations: applied once, all or none, and a newer schema is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from daemon.store.errors import StoreDamaged, StoreTooNew
from daemon.store.ledger import Ledger
from daemon.store.schema import MIGRATIONS, Migration, migrate
from features.market import Instrument
from tests.daemon.store.builders import BAR

NEXT = Migration("a column", ("ALTER TABLE bars ADD COLUMN note TEXT", "UPDATE bars SET note = 'old'"))
BROKEN = Migration("broken", ("ALTER TABLE bars ADD COLUMN other TEXT", "UPDATE no_such SET x = 1"))


def test_a_second_start_applies_nothing(path: Path) -> None:
    """Each step is noted once, by number and name."""
    Ledger(path).close()
    with Ledger(path) as ledger:
        rows = ledger._connection.execute("SELECT version, name FROM migrations ORDER BY version").fetchall()
    assert rows == [(number, step.name) for number, step in enumerate(MIGRATIONS, start=1)]


def test_an_older_store_is_brought_forward(ledger: Ledger, path: Path) -> None:
    """A new migration reaches the existing rows, and the older program refuses the newer file."""
    ledger.save_bars([BAR])
    migrate(ledger._connection, path, (*MIGRATIONS, NEXT))
    assert ledger._connection.execute("SELECT note FROM bars").fetchall() == [("old",)]
    ledger.close()
    with pytest.raises(
        StoreTooNew, match=rf"schema {len(MIGRATIONS) + 1}, this one knows {len(MIGRATIONS)}\); upgrade"
    ):
        Ledger(path)


def test_bars_of_the_first_schema_are_kept(path: Path) -> None:
    """A store of the first version is migrated with all its bars."""
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, path, MIGRATIONS[:1])
    old.execute("INSERT INTO instruments VALUES (1, 'binance', 'BTC-USDT')")
    values = "1, 3600000000, 0, 1, 2, 0.5, 1.5, 9, 12, 3, 4, 5, 'proven', 7, 10, 12, 0, 0, 0, 'equal'"
    old.execute(f"INSERT INTO bars VALUES ({values})")  # noqa: S608  # fixed text
    old.close()
    with Ledger(path) as ledger:
        (bar,) = ledger.bars(Instrument("binance", "BTC-USDT"), 3_600_000_000, 0, 1)
    assert (bar.high, bar.last_trade_id, bar.missing_trades, bar.missing_ranges) == (2.0, 12, 0, ())


def test_scores_of_the_second_schema_are_kept(path: Path) -> None:
    """They have no CRPS and no calibration states."""
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, path, MIGRATIONS[:2])
    old.execute("INSERT INTO instruments VALUES (1, 'binance', 'BTC-USDT')")
    values = "1, 3600000000, 1, 'issued', 'har', 'har-1', 0.01, 0, 0.002, 0.0001, 1, 0, 0.004, 7200000000"
    old.execute(f"INSERT INTO scores VALUES ({values})")  # noqa: S608  # fixed text
    old.close()
    with Ledger(path) as ledger:
        [score] = ledger.scores(0)
        assert ledger.calibrations(3_600_000_000) == []
    assert (score.pinball, score.inside_80, score.scored_at_us, score.crps) == (0.002, True, 7_200_000_000, None)


def test_a_failed_step_leaves_the_old_schema(ledger: Ledger, path: Path) -> None:
    """All steps or none: after an error the store is as it was and opens again."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        migrate(ledger._connection, path, (*MIGRATIONS, NEXT, BROKEN))
    columns = [row[1] for row in ledger._connection.execute("PRAGMA table_info(bars)")]
    assert "note" not in columns
    ledger.close()
    Ledger(path).close()


def test_another_program_s_database_is_left_alone(path: Path) -> None:
    """A database without forecastd's application id is refused and not changed."""
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(StoreDamaged, match="another program's database"):
        Ledger(path)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    other.close()
