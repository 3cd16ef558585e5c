"""The ledger: one SQLite file with all state that outlives the process."""

from __future__ import annotations

from daemon.store.bars import BarTable
from daemon.store.forecasts import ForecastTable
from daemon.store.future import FutureTables
from daemon.store.retention import RetentionTables
from daemon.store.trades import TradeTable

LEDGER_NAME = "ledger.sqlite"  # in the state directory


class Ledger(BarTable, TradeTable, ForecastTable, RetentionTables, FutureTables):
    """Bars, open trades and their sequence states, forecasts, scores and a few named values.

    Synchronous, for one dedicated thread: the connection may be handed from thread to thread, never shared.
    """

    def meta(self, key: str) -> str | None:
        """The value stored under ``key``, None where there is none."""
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
