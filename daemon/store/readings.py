"""Window readings: what a network reported about the input of a stored forecast. Deleted with the forecast."""

from __future__ import annotations

from sqlite3 import Connection

import numpy as np

from daemon.store.database import Database
from daemon.store.errors import StoreDamaged
from models.forecast import WindowReading


class ReadingTable(Database):
    """Window readings, about half a kilobyte each: one byte a bar, four a feature; lists of names are shared."""

    def reading(self, forecast_id: str) -> WindowReading | None:
        """The reading of one forecast; None for baselines, unknown ids and forecasts of earlier versions.

        Raises StoreDamaged where the reading does not fit its features.
        """
        with self._reading() as connection:
            if not _keeps_readings(connection):
                return None
            row = connection.execute(
                """SELECT known, importance, names FROM forecasts JOIN feature_lists ON feature_lists.id = feature_list
                   WHERE forecasts.id = ?""",
                (forecast_id,),
            ).fetchone()
        if row is None:
            return None
        known, importance, names = row
        return self._decoded(forecast_id, known, importance, tuple(names.split("\n")))

    def _save_reading(self, connection: Connection, forecast_id: str, reading: WindowReading) -> None:
        """Stores a reading; to be called inside the transaction that stores its forecast."""
        names = "\n".join(reading.feature_names)
        connection.execute("INSERT OR IGNORE INTO feature_lists (names) VALUES (?)", (names,))
        importance = None if reading.importance is None else reading.importance.astype("<f4").tobytes()
        connection.execute(
            """UPDATE forecasts SET known = ?, importance = ?,
               feature_list = (SELECT id FROM feature_lists WHERE names = ?) WHERE id = ?""",
            (reading.known.astype(np.bool_).tobytes(), importance, names, forecast_id),
        )

    def _decoded(
        self, forecast_id: str, known: bytes, importance: bytes | None, names: tuple[str, ...]
    ) -> WindowReading:
        if importance is not None and len(importance) != 4 * len(names):
            raise StoreDamaged(f"{self.path}: the reading of forecast {forecast_id} does not fit its features")
        return WindowReading(
            known=np.frombuffer(known, dtype=np.bool_),
            feature_names=names,
            importance=None if importance is None else np.frombuffer(importance, dtype="<f4").astype(np.float64),
        )


def _keeps_readings(connection: Connection) -> bool:
    """False for an older store opened read-only, which is not migrated."""
    return any(row[1] == "feature_list" for row in connection.execute("PRAGMA table_info(forecasts)"))
