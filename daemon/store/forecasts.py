"""The tables of issued forecasts, forecasts pending scores, scores and calibration states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from daemon.forecasting.records import CalibrationState, Score
from daemon.store.errors import ForecastConflict
from daemon.store.readings import ReadingTable
from features.market import Instrument
from models.forecast import WindowReading

_FORECAST_COLUMNS = "forecasts.id, venue, symbol, interval_us, close_time_us, valid_until_us, topic, payload"
_SCORE_COLUMNS = (
    "close_time_us, horizon_bars, role, kind, model_id, log_return, median, pinball, squared_error, inside_80, "
    "inside_95, volatility, scored_at_us, crps"
)
_SCORE_NAMES = _SCORE_COLUMNS.split(", ")
_BATCH = 5_000  # scores


class StoredForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast as published; after a restart ``payload`` is published to ``topic`` again, unchanged."""

    id: str
    venue: str
    symbol: str
    interval_us: int
    close_time_us: int
    valid_until_us: int
    topic: str
    payload: bytes


class PendingForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast with horizons not yet scored; ``record`` is the scoreboard's encoded state of it."""

    id: str
    venue: str
    symbol: str
    interval_us: int
    close_time_us: int
    record: bytes


class ForecastTable(ReadingTable):
    """Forecasts by id; a stored forecast never changes."""

    def save_forecast(
        self, forecast: StoredForecast, *, pending_record: bytes | None = None, reading: WindowReading | None = None
    ) -> bool:
        """Stores one forecast; returns False where the same payload is already stored under its id.

        Args:
            pending_record: the scoreboard's state of the forecast while horizons are unscored.
            reading: what the network reported about its input window.

        Raises:
            ForecastConflict: another payload is stored under this id; the stored one stands.
        """
        with self._writing() as connection:
            stored = connection.execute("SELECT payload FROM forecasts WHERE id = ?", (forecast.id,)).fetchone()
            if stored is not None:
                if stored[0] != forecast.payload:
                    raise ForecastConflict(f"forecast {forecast.id} was already issued with other content; it stands")
                return False
            connection.execute(
                """INSERT INTO forecasts (id, instrument_id, interval_us, close_time_us, valid_until_us, topic, payload)
                   VALUES (?, ?, ?, ?, ?, ?, ?)""",
                (
                    forecast.id,
                    self._instrument_id(Instrument(forecast.venue, forecast.symbol)),
                    forecast.interval_us,
                    forecast.close_time_us,
                    forecast.valid_until_us,
                    forecast.topic,
                    forecast.payload,
                ),
            )
            if reading is not None:
                self._save_reading(connection, forecast.id, reading)
            if pending_record is not None:
                connection.execute(
                    "INSERT INTO pending (forecast_id, shadow) VALUES (?, ?)", (forecast.id, pending_record)
                )
            return True

    def replace_payload(self, forecast_id: str, payload: bytes) -> None:
        """Replaces the payload by that which was published while the save was under way; for nothing else."""
        with self._writing() as connection:
            connection.execute("UPDATE forecasts SET payload = ? WHERE id = ?", (payload, forecast_id))

    def pending_record(self, forecast_id: str) -> bytes | None:
        """The scoreboard's record of a forecast with horizons left to score, None for any other."""
        with self._reading() as connection:
            row = connection.execute("SELECT shadow FROM pending WHERE forecast_id = ?", (forecast_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def forecast_payload(self, forecast_id: str) -> bytes | None:
        """The published bytes, None for an unknown id."""
        with self._reading() as connection:
            row = connection.execute("SELECT payload FROM forecasts WHERE id = ?", (forecast_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def forecast(self, forecast_id: str) -> StoredForecast | None:
        """One forecast, None for an unknown id."""
        found = self._forecasts("WHERE forecasts.id = ?", (forecast_id,))
        return found[0] if found else None

    def latest_forecast(self, instrument: Instrument, interval_us: int) -> StoredForecast | None:
        """The newest forecast of one instrument and interval, None where there is none."""
        found = self._forecasts(
            "WHERE venue = ? AND symbol = ? AND interval_us = ? ORDER BY close_time_us DESC LIMIT 1",
            (*instrument, interval_us),
        )
        return found[0] if found else None

    def latest_forecasts(self) -> list[StoredForecast]:
        """The newest forecast of every instrument and interval, by venue and symbol."""
        with self._reading() as connection:
            # By key: one comparison with all later forecasts of each would read them all.
            series = connection.execute(
                """WITH RECURSIVE series (id, interval_us) AS (
                     SELECT id, (SELECT min(interval_us) FROM forecasts WHERE instrument_id = instruments.id)
                     FROM instruments
                     UNION ALL
                     SELECT id, (SELECT min(interval_us) FROM forecasts
                                 WHERE instrument_id = series.id AND forecasts.interval_us > series.interval_us)
                     FROM series WHERE interval_us IS NOT NULL)
                   SELECT venue, symbol, interval_us FROM series JOIN instruments USING (id)
                   WHERE interval_us IS NOT NULL ORDER BY venue, symbol, interval_us"""
            ).fetchall()
        newest = (self.latest_forecast(Instrument(venue, symbol), interval_us) for venue, symbol, interval_us in series)
        return [each for each in newest if each is not None]

    def forecasts(self, start_us: int, end_us: int) -> list[StoredForecast]:
        """Forecasts with ``start_us <= close_time_us < end_us``, oldest first."""
        return self._forecasts(
            "WHERE close_time_us >= ? AND close_time_us < ? ORDER BY close_time_us, venue, symbol", (start_us, end_us)
        )

    def forecasts_until(
        self, instrument: Instrument, interval_us: int, until_us: int, count: int
    ) -> list[StoredForecast]:
        """The last ``count`` forecasts of one instrument with ``close_time_us <= until_us``, oldest first."""
        newest_first = self._forecasts(
            """WHERE venue = ? AND symbol = ? AND interval_us = ? AND close_time_us <= ?
               ORDER BY close_time_us DESC LIMIT ?""",
            (*instrument, interval_us, until_us, count),
        )
        return newest_first[::-1]

    def _forecasts(self, condition: str, values: tuple[str | int, ...]) -> list[StoredForecast]:
        with self._reading() as connection:
            rows = connection.execute(
                f"""SELECT {_FORECAST_COLUMNS} FROM forecasts
                    JOIN instruments ON instruments.id = instrument_id {condition}""",  # noqa: S608  # fixed text
                values,
            ).fetchall()
        names = StoredForecast.__struct_fields__
        return [StoredForecast(**dict(zip(names, row, strict=True))) for row in rows]

    def pending(self) -> list[PendingForecast]:
        """Forecasts that still have horizons to score, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                """SELECT forecasts.id, venue, symbol, interval_us, close_time_us, shadow FROM pending
                   JOIN forecasts ON forecasts.id = forecast_id JOIN instruments ON instruments.id = instrument_id
                   ORDER BY close_time_us, venue, symbol"""
            ).fetchall()
        names = PendingForecast.__struct_fields__
        return [PendingForecast(**dict(zip(names, row, strict=True))) for row in rows]

    def save_scores(
        self,
        scores: Iterable[Score],
        *,
        settled: Iterable[str] = (),
        still_pending: Mapping[str, bytes] | None = None,
        calibrations: Iterable[CalibrationState] = (),
    ) -> None:
        """Stores ``scores``, pending forecasts and calibration states in one transaction.

        Args:
            settled: ids of forecasts without horizons left to score; they are no longer pending.
            still_pending: new records, by id, of forecasts with horizons left.
            calibrations: states that replace the stored ones of the same instrument, interval and kind.
        """
        with self._writing() as connection:
            connection.executemany(
                f"""INSERT OR REPLACE INTO scores (instrument_id, {_SCORE_COLUMNS})
                    VALUES ({", ".join("?" * (len(_SCORE_NAMES) + 1))})""",  # noqa: S608  # fixed names
                [
                    (
                        self._instrument_id(Instrument(score.venue, score.symbol)),
                        *(getattr(score, name) for name in _SCORE_NAMES),
                    )
                    for score in scores
                ],
            )
            connection.executemany("DELETE FROM pending WHERE forecast_id = ?", [(each,) for each in settled])
            connection.executemany(
                "UPDATE pending SET shadow = ? WHERE forecast_id = ?",
                [(record, forecast_id) for forecast_id, record in (still_pending or {}).items()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO calibrations (instrument_id, interval_us, kind, state) VALUES (?, ?, ?, ?)",
                [
                    (self._instrument_id(Instrument(each.venue, each.symbol)), each.interval_us, each.kind, each.state)
                    for each in calibrations
                ],
            )

    def calibrations(self, interval_us: int) -> list[CalibrationState]:
        """The calibration states at one bar interval, ordered by venue, symbol and kind."""
        with self._reading() as connection:
            rows = connection.execute(
                """SELECT venue, symbol, interval_us, kind, state FROM calibrations
                   JOIN instruments ON id = instrument_id WHERE interval_us = ? ORDER BY venue, symbol, kind""",
                (interval_us,),
            ).fetchall()
        names = CalibrationState.__struct_fields__
        return [CalibrationState(**dict(zip(names, row, strict=True))) for row in rows]

    def scores(self, since_us: int) -> list[Score]:
        """Scores of forecasts whose bar closed at or after ``since_us``, oldest first."""
        return [score for batch in self.score_batches(since_us) for score in batch]

    def score_batches(self, since_us: int) -> Iterator[list[Score]]:
        """Like ``scores``, in batches of whole bar closes; only one batch is in memory at a time."""
        with self._reading() as connection:
            instruments = {row[0]: row[1:] for row in connection.execute("SELECT id, venue, symbol FROM instruments")}
            rows = connection.execute(
                f"""SELECT instrument_id, {_SCORE_COLUMNS} FROM scores WHERE close_time_us >= ?
                    ORDER BY close_time_us, instrument_id, horizon_bars, role, kind""",  # noqa: S608  # the key's order
                (since_us,),
            )
            batch: list[Score] = []
            for instrument_id, *values in rows:
                if len(batch) >= _BATCH and values[0] != batch[-1].close_time_us:
                    yield batch
                    batch = []
                batch.append(_score((*instruments[instrument_id], *values)))
            if batch:
                yield batch


def _score(row: tuple[object, ...]) -> Score:
    # SQLite stores booleans as 0 and 1; lax conversion restores them.
    return msgspec.convert(dict(zip(["venue", "symbol", *_SCORE_NAMES], row, strict=True)), Score, strict=False)
