"""Retention: deletes what is older than its retention, and what must go for the size of the file, in small steps."""

from __future__ import annotations

from sqlite3 import Connection

import msgspec

from daemon.store.database import Database

# Rows deleted in one transaction: about a megabyte, so that little is deleted needlessly and no other write waits long.
_FORECASTS_PER_STEP, _SCORES_PER_STEP = 200, 10_000
_VACUUM_PAGES = 2_000


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of rows deleted.

    until_us: the newest close time of the deleted forecasts and scores. more: another step has something to delete.
    too_large: the file exceeds its limit, and nothing is left that may be deleted.
    """

    bars: int = 0
    forecasts: int = 0
    scores: int = 0
    trade_chunks: int = 0
    until_us: int | None = None
    more: bool = False
    too_large: bool = False

    @property
    def anything(self) -> bool:
        return bool(self.bars or self.forecasts or self.scores or self.trade_chunks)

    def plus(self, other: Pruned) -> Pruned:
        """The sums of both; ``more`` and ``too_large`` are those of ``other``, the later step."""
        untils_us = [each.until_us for each in (self, other) if each.until_us is not None]
        return Pruned(
            bars=self.bars + other.bars,
            forecasts=self.forecasts + other.forecasts,
            scores=self.scores + other.scores,
            trade_chunks=self.trade_chunks + other.trade_chunks,
            until_us=max(untils_us, default=None),
            more=other.more,
            too_large=other.too_large,
        )


class SizeFloor(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept although the file is too large.

    Forecasts that are valid at ``now_us`` or wait for scores, scores of bars closed since ``scores_since_us`` (live
    skill is made from them) and trades since ``trades_since_us`` (the open bars). Bars and calibration states are
    always kept.
    """

    now_us: int
    scores_since_us: int
    trades_since_us: int


class RetentionTables(Database):
    """Deletions by age and by size; each step is one transaction and returns the pages that it freed."""

    def prune_bars(self, before_us: int) -> int:
        """Deletes the bars that opened before ``before_us`` and returns their number."""
        with self._writing() as connection:
            deleted = 0
            for (instrument_id,) in connection.execute("SELECT id FROM instruments").fetchall():
                interval_us: int | None = 0
                # By key: a condition on the open time alone would read the whole table.
                while (interval_us := _next_interval(connection, instrument_id, interval_us or 0)) is not None:
                    deleted += connection.execute(
                        "DELETE FROM bars WHERE instrument_id = ? AND interval_us = ? AND open_time_us < ?",
                        (instrument_id, interval_us, before_us),
                    ).rowcount
        if deleted:
            self._release_free_pages()
        return deleted

    def prune_forecasts(self, before_us: int) -> Pruned:
        """Deletes the oldest forecasts and scores of bars that closed before ``before_us``: one step."""
        return self._step(
            self._newest_of_step("forecasts", f"close_time_us < {before_us:d}", _FORECASTS_PER_STEP),
            self._newest_of_step("scores", f"close_time_us < {before_us:d}", _SCORES_PER_STEP),
            forecasts="TRUE",
        )

    def prune_trades(self, before_us: int) -> int:
        """Deletes the chunks whose trades are all older than ``before_us`` and returns their number."""
        with self._writing() as connection:
            return connection.execute("DELETE FROM trade_chunks WHERE last_time_us < ?", (before_us,)).rowcount

    def shrink(self, max_bytes: int, floor: SizeFloor) -> Pruned:
        """One step towards a file of ``max_bytes``: old trades, then the oldest forecasts and scores by age."""
        if self.used_bytes() <= max_bytes:
            return Pruned()
        if chunks := self.prune_trades(floor.trades_since_us):
            self._release_free_pages()
            return Pruned(trade_chunks=chunks, more=True)
        settled = f"valid_until_us < {floor.now_us:d} AND id NOT IN (SELECT forecast_id FROM pending)"  # noqa: S608  # a number
        pruned = self._step(
            self._newest_of_step("forecasts", settled, _FORECASTS_PER_STEP),
            self._newest_of_step("scores", f"close_time_us < {floor.scores_since_us:d}", _SCORES_PER_STEP),
            forecasts=settled,
        )
        return pruned if pruned.anything else Pruned(too_large=True)

    def _newest_of_step(self, table: str, condition: str, rows: int) -> int | None:
        """The close time of the last of the oldest ``rows`` rows; None where ``condition`` fits none."""
        with self._reading() as connection:
            (newest_us,) = connection.execute(
                f"""SELECT max(close_time_us) FROM
                    (SELECT close_time_us FROM {table} WHERE {condition} ORDER BY close_time_us LIMIT {rows})"""  # noqa: S608  # fixed text
            ).fetchone()
        return None if newest_us is None else int(newest_us)

    def _step(self, forecasts_us: int | None, scores_us: int | None, *, forecasts: str) -> Pruned:
        """Deletes both tables up to the earlier of two close times, so that they keep the same age."""
        candidates_us = [each for each in (forecasts_us, scores_us) if each is not None]
        if not candidates_us:
            return Pruned()
        until_us = min(candidates_us)
        with self._writing() as connection:
            deleted = connection.execute(
                f"DELETE FROM forecasts WHERE close_time_us <= ? AND {forecasts}",  # noqa: S608  # fixed text
                (until_us,),
            ).rowcount
            scores = 0
            if scores_us is not None:
                scores = connection.execute("DELETE FROM scores WHERE close_time_us <= ?", (until_us,)).rowcount
        self._release_free_pages()
        return Pruned(forecasts=deleted, scores=scores, until_us=until_us, more=True)

    def used_bytes(self) -> int:
        """Bytes of the file that hold data; the write-ahead log adds up to ``WAL_LIMIT_BYTES`` on the disk."""
        with self._reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * page_bytes)

    def _release_free_pages(self) -> None:
        """Returns freed pages to the file system, at most ``_VACUUM_PAGES`` of them."""
        with self._reading() as connection:
            # `execute` would stop after the first page: the pragma yields a row without columns for each.
            connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES}); PRAGMA wal_checkpoint(TRUNCATE);")


def _next_interval(connection: Connection, instrument_id: int, after_us: int) -> int | None:
    """The shortest bar interval of an instrument that is longer than ``after_us``."""
    (interval_us,) = connection.execute(
        "SELECT min(interval_us) FROM bars WHERE instrument_id = ? AND interval_us > ?", (instrument_id, after_us)
    ).fetchone()
    return None if interval_us is None else int(interval_us)
