"""Deletes what lies ahead of the clock: the rows of a daemon whose market time was wrong."""

from __future__ import annotations

import msgspec

from daemon.pipeline.sequence import SequenceState, newest_time_us
from daemon.store.database import Database


class Discarded(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of rows deleted; ``sequences`` are instruments whose sequence starts again."""

    bars: int = 0
    forecasts: int = 0
    scores: int = 0
    sequences: int = 0

    @property
    def anything(self) -> bool:
        return self != Discarded()


class FutureTables(Database):
    """Bars, forecasts with their pending scores, scores and sequence states."""

    def discard_future(self, now_us: int, *, trades_until_us: int) -> Discarded:
        """Deletes bars and forecasts whose close, and scores whose making, is after ``now_us``.

        A sequence that refers to a time after ``trades_until_us`` is deleted with its trades.
        """
        with self._writing() as connection:
            bars = connection.execute("DELETE FROM bars WHERE open_time_us + interval_us > ?", (now_us,)).rowcount
            scores = connection.execute(
                "DELETE FROM scores WHERE close_time_us > ? OR scored_at_us > ?", (now_us, now_us)
            ).rowcount
            forecasts = connection.execute("DELETE FROM forecasts WHERE close_time_us > ?", (now_us,)).rowcount
            states = connection.execute("SELECT instrument_id, state FROM sequence_states").fetchall()
            decode = msgspec.msgpack.Decoder(SequenceState).decode
            ahead = [(each,) for each, state in states if newest_time_us(decode(state)) > trades_until_us]
            connection.executemany("DELETE FROM sequence_states WHERE instrument_id = ?", ahead)
            connection.executemany("DELETE FROM trade_chunks WHERE instrument_id = ?", ahead)
        return Discarded(bars=bars, forecasts=forecasts, scores=scores, sequences=len(ahead))
