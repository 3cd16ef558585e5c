"""The ledger: one SQLite file with all state that outlives the process."""

from __future__ import annotations

import msgspec

from daemon.store.bars import BarTable
from daemon.store.forecasts import ForecastTable
from daemon.store.trades import TradeTable

# Forecasts deleted per step while the file is too large: about 1 MB, so that few are deleted needlessly.
_FORECASTS_PER_STEP = 200

LEDGER_NAME = "ledger.sqlite"  # in the state directory


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of rows deleted. ``too_large``: the file still exceeds its limit."""

    bars: int = 0
    forecasts: int = 0
    scores: int = 0
    forecasts_until_us: int | None = None
    too_large: bool = False

    @property
    def anything(self) -> bool:
        return bool(self.bars or self.forecasts or self.scores)


class Ledger(BarTable, TradeTable, ForecastTable):
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

    def prune(self, now_us: int, *, keep_bars_us: int, keep_forecasts_us: int) -> Pruned:
        """Deletes bars, and forecasts with their scores, that are older than their retention."""
        bars_until_us, forecasts_until_us = now_us - keep_bars_us, now_us - keep_forecasts_us
        with self._writing() as connection:
            bars = connection.execute("DELETE FROM bars WHERE open_time_us < ?", (bars_until_us,)).rowcount
            scores = connection.execute("DELETE FROM scores WHERE close_time_us < ?", (forecasts_until_us,)).rowcount
            forecasts = connection.execute(
                "DELETE FROM forecasts WHERE close_time_us < ?", (forecasts_until_us,)
            ).rowcount
        if bars or scores or forecasts:
            self._release_free_pages()
        return Pruned(
            bars=bars,
            forecasts=forecasts,
            scores=scores,
            forecasts_until_us=forecasts_until_us if forecasts else None,
        )

    def shrink(self, max_bytes: int, now_us: int) -> Pruned:
        """Deletes the oldest forecasts until the file fits ``max_bytes``; one still valid at ``now_us`` is kept.

        Bars are never deleted here: ``too_large`` is set where deleting forecasts is not enough.
        """
        forecasts, until_us = 0, None
        while self.used_bytes() > max_bytes:
            with self._writing() as connection:
                oldest = connection.execute(
                    """DELETE FROM forecasts WHERE id IN (SELECT id FROM forecasts WHERE valid_until_us < ?
                       ORDER BY close_time_us LIMIT ?) RETURNING close_time_us""",
                    (now_us, _FORECASTS_PER_STEP),
                ).fetchall()
            if not oldest:
                break
            forecasts += len(oldest)
            until_us = max(close_time_us for (close_time_us,) in oldest)
        if forecasts:
            self._release_free_pages()
        return Pruned(forecasts=forecasts, forecasts_until_us=until_us, too_large=self.used_bytes() > max_bytes)

    def used_bytes(self) -> int:
        """Bytes of the file that hold data; the write-ahead log adds up to ``WAL_LIMIT_BYTES`` on the disk."""
        with self._reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * page_bytes)

    def _release_free_pages(self) -> None:
        """Returns freed pages to the file system."""
        with self._reading() as connection:
            # `execute` would stop after the first page: the pragma yields a row without columns for each.
            connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
