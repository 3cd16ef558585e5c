"""The table of bars: keeps the newest revision of each bar, and returns bars as records, a frame or spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import polars as pl

from daemon.store.database import Database
from features.frames import BARS_SCHEMA, SERIES_KEYS
from features.market import Audit, Bar, Completeness, Instrument

FRAME_SCHEMA = pl.Schema(BARS_SCHEMA)
# What a candle states of its bar, from the open time on: every column but the instrument's and the verdict.
_CANDLE_COLUMNS = [name for name in BARS_SCHEMA if name not in (*SERIES_KEYS, "complete")]
# The columns of `import_bars`; each row is a finished candle of the venue.
CANDLE_SCHEMA = pl.Schema(
    [
        ("venue", pl.String()),
        ("symbol", pl.String()),
        ("interval_us", pl.Int64()),
        *((name, FRAME_SCHEMA[name]) for name in _CANDLE_COLUMNS),
    ]
)
# Rows per transaction of an import: a running daemon waits only milliseconds for one.
IMPORT_ROWS = 5_000

_NAMES = [
    "interval_us",
    *_CANDLE_COLUMNS,
    "completeness",
    "known_at_us",
    "first_trade_id",
    "last_trade_id",
    "missing_trades",
    "late_trades",
    "revision",
    "audit",
    "missing_ranges",
]
_COLUMNS = ", ".join(_NAMES)
# ``Bar.is_complete`` in SQL.
_IS_COMPLETE = f"completeness != '{Completeness.GAP}' AND NOT coalesce(missing_trades, 0)"
# Two candles of one bar may come from sources that each lack a column: a null never replaces a known value.
_NULLABLE = ("quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")


def _assignment(name: str) -> str:
    if name not in _NULLABLE:
        return f"{name} = excluded.{name}"
    both_candles = "bars.completeness = 'venue_candle' AND excluded.completeness = 'venue_candle'"
    return f"{name} = CASE WHEN {both_candles} THEN coalesce(excluded.{name}, bars.{name}) ELSE excluded.{name} END"


_UPSERT = f"""
    INSERT INTO bars (instrument_id, {_COLUMNS}) VALUES ({", ".join("?" * (len(_NAMES) + 1))})
    ON CONFLICT DO UPDATE SET {", ".join(_assignment(name) for name in _NAMES[2:])}
    WHERE excluded.revision > bars.revision OR (
        excluded.revision = bars.revision
        AND (excluded.completeness != 'venue_candle' OR bars.completeness = 'venue_candle')
    )
"""  # noqa: S608  # fixed column names


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The stored bars of one instrument, open time in ``[from_us, to_us)``.

    missing: the number of intervals without a bar between the first and the last. verdicts: bars by completeness.
    """

    venue: str
    symbol: str
    from_us: int
    to_us: int
    bars: int
    missing: int
    verdicts: dict[str, int]


class BarTable(Database):
    """Bars by instrument, interval and open time; one revision of each is kept."""

    def save_bars(self, bars: Iterable[Bar]) -> int:
        """Stores ``bars`` in one transaction and returns the number of rows written.

        A bar replaces the stored one if its revision is higher; at the same revision a bar made from trades
        replaces any, a venue's candle only another candle.
        """
        with self._writing() as connection:
            rows = [(self._instrument_id(bar.instrument), *_row(bar)) for bar in bars]
            return connection.executemany(_UPSERT, rows).rowcount if rows else 0

    def import_bars(self, candles: pl.DataFrame) -> int:
        """Stores finished candles (columns of ``CANDLE_SCHEMA``) and returns the number of rows written.

        Repeating an import changes nothing. A null stays null. A candle counts as known at its close.
        """
        frame = candles.select(
            pl.col(CANDLE_SCHEMA.names()),
            completeness=pl.lit(str(Completeness.VENUE_CANDLE)),
            known_at_us=pl.col("open_time_us") + pl.col("interval_us"),
            first_trade_id=pl.lit(None),
            last_trade_id=pl.lit(None),
            missing_trades=pl.lit(0),
            late_trades=pl.lit(0),
            revision=pl.lit(0),
            audit=pl.lit(str(Audit.UNAVAILABLE)),
            missing_ranges=pl.lit(None),
        )
        return sum(self._import(part) for part in frame.iter_slices(IMPORT_ROWS))

    def _import(self, part: pl.DataFrame) -> int:
        with self._writing() as connection:
            written = 0
            for (venue, symbol), rows in part.group_by("venue", "symbol", maintain_order=True):
                instrument_id = self._instrument_id(Instrument(str(venue), str(symbol)))
                values = rows.select(pl.lit(instrument_id).alias("instrument_id"), *_NAMES)
                written += connection.executemany(_UPSERT, values.iter_rows()).rowcount
            return written

    def bars(self, instrument: Instrument, interval_us: int, start_us: int, end_us: int) -> list[Bar]:
        """Bars with open time in ``[start_us, end_us)``, oldest first."""
        return self._bars(
            instrument,
            "interval_us = ? AND open_time_us >= ? AND open_time_us < ? ORDER BY open_time_us",
            (interval_us, start_us, end_us),
        )

    def last_bar(self, instrument: Instrument, interval_us: int) -> Bar | None:
        """The newest bar, None where none is stored."""
        found = self._bars(instrument, "interval_us = ? ORDER BY open_time_us DESC LIMIT 1", (interval_us,))
        return found[0] if found else None

    def _bars(self, instrument: Instrument, condition: str, values: tuple[int, ...]) -> list[Bar]:
        with self._reading() as connection:
            rows = connection.execute(
                f"""SELECT {_COLUMNS} FROM bars WHERE instrument_id =
                    (SELECT id FROM instruments WHERE venue = ? AND symbol = ?) AND {condition}""",  # noqa: S608  # fixed text
                (*instrument, *values),
            ).fetchall()
        return [_bar(instrument, row) for row in rows]

    def bars_frame(
        self, instruments: Sequence[Instrument], interval_us: int, start_us: int, end_us: int
    ) -> pl.DataFrame:
        """Bars with open time in ``[start_us, end_us)`` as a frame, by instrument in the order given, oldest first.

        ``complete`` is False where trades are known to be missing.
        """
        frames = [self._frame(instrument, interval_us, start_us, end_us) for instrument in instruments]
        return pl.concat(frames) if frames else pl.DataFrame(schema=FRAME_SCHEMA)

    def _frame(self, instrument: Instrument, interval_us: int, start_us: int, end_us: int) -> pl.DataFrame:
        with self._reading() as connection:
            rows = connection.execute(
                f"""SELECT {", ".join(_CANDLE_COLUMNS)}, {_IS_COMPLETE} FROM bars
                    WHERE instrument_id = (SELECT id FROM instruments WHERE venue = ? AND symbol = ?)
                    AND interval_us = ? AND open_time_us >= ? AND open_time_us < ? ORDER BY open_time_us""",  # noqa: S608  # fixed names
                (*instrument, interval_us, start_us, end_us),
            ).fetchall()
        # Building whole columns is several times faster than building the frame row by row.
        columns = zip(*rows, strict=True) if rows else [()] * (len(_CANDLE_COLUMNS) + 1)
        kinds = [*(FRAME_SCHEMA[name] for name in _CANDLE_COLUMNS), pl.Int64()]
        named = zip([*_CANDLE_COLUMNS, "complete"], columns, kinds, strict=True)
        series = [pl.Series(name, values, kind) for name, values, kind in named]
        return pl.DataFrame(series).select(
            pl.lit(instrument.venue).alias("venue"),
            pl.lit(instrument.symbol).alias("symbol"),
            *_CANDLE_COLUMNS,
            pl.col("complete").cast(pl.Boolean),
        )

    def missing_ranges(
        self, instrument: Instrument, interval_us: int, start_us: int, end_us: int
    ) -> list[tuple[int, int]]:
        """The runs of intervals in ``[start_us, end_us)`` without a bar, right-open, oldest first."""
        with self._reading() as connection:
            instrument_id = self._known_instrument_id(instrument)
            rows = connection.execute(
                """SELECT before_us + :interval, next_us FROM (
                     SELECT open_time_us AS next_us, lag(open_time_us) OVER (ORDER BY open_time_us) AS before_us
                     FROM (SELECT :start - :interval AS open_time_us
                           UNION ALL SELECT open_time_us FROM bars WHERE instrument_id = :instrument
                             AND interval_us = :interval AND open_time_us >= :start AND open_time_us < :end
                           UNION ALL SELECT :end))
                   WHERE next_us - before_us > :interval ORDER BY next_us""",
                {"interval": interval_us, "start": start_us, "end": end_us, "instrument": instrument_id},
            ).fetchall()
        return [(int(first_us), int(after_us)) for first_us, after_us in rows]

    def spans(self, interval_us: int) -> list[Span]:
        """The stored span of every instrument at one interval, ordered by venue and symbol."""
        with self._reading() as connection:
            rows = connection.execute(
                """SELECT venue, symbol, completeness, min(open_time_us), max(open_time_us), count(*)
                   FROM bars JOIN instruments ON instruments.id = instrument_id WHERE interval_us = ?
                   GROUP BY venue, symbol, completeness ORDER BY venue, symbol""",
                (interval_us,),
            ).fetchall()
        found: dict[Instrument, list[tuple[str, int, int, int]]] = {}
        for venue, symbol, *verdict in rows:
            found.setdefault(Instrument(venue, symbol), []).append(tuple(verdict))
        return [_span(instrument, interval_us, verdicts) for instrument, verdicts in found.items()]


def _row(bar: Bar) -> tuple[object, ...]:
    return tuple(_stored(getattr(bar, name)) for name in _NAMES)


def _stored(value: object) -> object:
    if isinstance(value, Completeness | Audit):
        return str(value)
    if isinstance(value, tuple):
        return msgspec.json.encode(value) if value else None
    return value


def _bar(instrument: Instrument, row: tuple[object, ...]) -> Bar:
    values = dict(zip(_NAMES, row, strict=True))
    ranges = values.pop("missing_ranges")
    if isinstance(ranges, bytes):
        values["missing_ranges"] = msgspec.json.decode(ranges)
    return msgspec.convert({"venue": instrument.venue, "symbol": instrument.symbol, **values}, Bar)


def _span(instrument: Instrument, interval_us: int, verdicts: list[tuple[str, int, int, int]]) -> Span:
    first_us = min(first for _, first, _, _ in verdicts)
    last_us = max(last for _, _, last, _ in verdicts)
    count = sum(bars for *_, bars in verdicts)
    return Span(
        venue=instrument.venue,
        symbol=instrument.symbol,
        from_us=first_us,
        to_us=last_us + interval_us,
        bars=count,
        missing=(last_us - first_us) // interval_us + 1 - count,
        verdicts={verdict: bars for verdict, _, _, bars in verdicts},
    )
