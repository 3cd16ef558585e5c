"""The tables of recent trades and of the sequence states that cover them, written in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection

import msgspec

from daemon.pipeline.sequence import SequenceState
from daemon.store.database import Database
from features.market import Instrument, Trade


class TradeTable(Database):
    """Trades in chunks, in order of arrival; a restart rebuilds the open bars from them."""

    def save_trades(self, instrument: Instrument, trades: Sequence[Trade], state: SequenceState) -> None:
        """Stores ``trades`` as one chunk together with the state that covers them."""
        self.save_trades_of([(instrument, trades, state)])

    def save_trades_of(self, batches: Sequence[tuple[Instrument, Sequence[Trade], SequenceState]]) -> None:
        """Like ``save_trades`` for many instruments in one transaction, which takes far less CPU than one each."""
        with self._writing() as connection:
            for instrument, trades, state in batches:
                self._save(connection, instrument, trades, state)

    def _save(
        self, connection: Connection, instrument: Instrument, trades: Sequence[Trade], state: SequenceState
    ) -> None:
        instrument_id = self._instrument_id(instrument)
        if trades:
            times_us = [trade.time_us for trade in trades]
            connection.execute(
                "INSERT INTO trade_chunks (instrument_id, first_time_us, last_time_us, trades) VALUES (?, ?, ?, ?)",
                (instrument_id, min(times_us), max(times_us), msgspec.msgpack.encode(trades)),
            )
        connection.execute(
            "INSERT OR REPLACE INTO sequence_states (instrument_id, state) VALUES (?, ?)",
            (instrument_id, msgspec.msgpack.encode(state)),
        )

    def sequence_state(self, instrument: Instrument) -> SequenceState | None:
        """The instrument's stored sequence state, None where there is none."""
        with self._reading() as connection:
            row = connection.execute(
                """SELECT state FROM sequence_states JOIN instruments ON id = instrument_id
                   WHERE venue = ? AND symbol = ?""",
                instrument,
            ).fetchone()
        return None if row is None else msgspec.msgpack.decode(row[0], type=SequenceState)

    def open_trades(self, instrument: Instrument, from_time_us: int) -> list[Trade]:
        """Trades at or after ``from_time_us``, in the order in which they were stored."""
        with self._reading() as connection:
            rows = connection.execute(
                """SELECT trades FROM trade_chunks JOIN instruments ON instruments.id = instrument_id
                   WHERE venue = ? AND symbol = ? AND last_time_us >= ? ORDER BY trade_chunks.id""",
                (*instrument, from_time_us),
            ).fetchall()
        decode = msgspec.msgpack.Decoder(list[Trade]).decode
        return [trade for (chunk,) in rows for trade in decode(chunk) if trade.time_us >= from_time_us]
