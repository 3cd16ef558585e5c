"""Rolling arrays of a live buffer: the newest bars of all instruments, and what is computed of them row by row.

Rows are numbered by time: row ``open_time_us // interval_us``. Every close is one row for all series; an instrument
without a bar at that time has missing values there, and whether it has a row at all follows from its first and last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import FEATURES
from features.frames import BAR_KEYS, BARS_SCHEMA, SERIES_KEYS, regular_bars
from features.market import Bar, Instrument
from features.newest_row import NewestRowEvaluator
from features.polars_evaluator import PolarsEvaluator
from features.price import LOG_CLOSE
from features.program import Program, program
from features.rolling_array import RollingArray
from features.row_history import RowHistory
from features.row_schedule import RowSchedule
from features.table_keys import with_keys
from features.volatility import ONE_BAR_VARIANCE

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

COLUMNS = tuple(name for name in BARS_SCHEMA if name not in (*BAR_KEYS, "complete"))
_PRICES = slice(0, 4)
_VOLUME = COLUMNS.index("volume")
_RECENT = {"log_close": LOG_CLOSE, "variance": ONE_BAR_VARIANCE}
_FIELDS = attrgetter(*COLUMNS)
_NEVER = 2**62


@cache
def live_program(*, with_features: bool) -> Program:
    """Log close and one-bar variance, then the features of the catalogue if wanted."""
    features = {feature.name: feature.expression for feature in FEATURES} if with_features else {}
    return program({**_RECENT, **features})


class LiveArrays:
    """The newest rows of a fixed set of instruments, computed from their bars.

    series: the instruments in the order of the arrays, by venue and symbol. newest: the number of the newest row, -1
    without bars. first, last: (S,) the first and last row of each series; no row of a series without bars.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        leaders: Mapping[str, str],
        *,
        interval_us: int,
        capacity: int,
        window: int,
        with_features: bool,
    ) -> None:
        """``capacity``: how many rows of bars are kept; ``window``: how many of features, and can be computed again."""
        self.interval_us = interval_us
        self.capacity = capacity
        self.window = window
        self.series = tuple(sorted(set(instruments)))
        self.position = {instrument: index for index, instrument in enumerate(self.series)}
        self._leaders = leaders
        venues = dict.fromkeys(venue for venue, _ in self.series)
        self._evaluator = NewestRowEvaluator(
            live_program(with_features=with_features),
            series=len(self.series),
            venues=[self._venue(venue) for venue in venues],
            leaders=[self.position[Instrument(venue, leaders[venue])] for venue in venues],
            revisable=window,
        )
        self._restorer = _restorer(with_features=with_features)
        features = FEATURES if with_features else ()
        self._memory_rows = np.array([feature.memory_rows for feature in features], dtype=np.int64)[:, None]  # (F, 1)
        self._columns = RollingArray(window + 1, (len(COLUMNS), len(self.series)))
        self._recent = RollingArray(capacity, (len(_RECENT), len(self.series)))
        self._features = RollingArray(window, (len(features), len(self.series)))
        self.clear()

    def clear(self) -> None:
        """Removes all bars."""
        self.newest = -1
        self.first = np.full(len(self.series), _NEVER, dtype=np.int64)
        self.last = np.full(len(self.series), -1, dtype=np.int64)

    def load(self, bars: pl.DataFrame) -> None:
        """Replaces all bars by regular ones (``regular_bars``), and computes their rows with Polars."""
        self.clear()
        rows, series = self._places(bars)
        self.newest = int(rows.max())
        np.minimum.at(self.first, series, rows)
        np.maximum.at(self.last, series, rows)
        self._restore_columns(bars, rows, series)
        self._restore_rows(self._to_newest(bars))

    def put(self, bars: Sequence[Bar]) -> range | None:
        """Adds or replaces bars and computes the rows that follow; returns these.

        None, and nothing is done, if too many rows would have to be computed: ``load`` all bars then.
        """
        opened = np.array([bar.open_time_us for bar in bars], dtype=np.int64) // self.interval_us
        newest = max(self.newest, int(opened.max()))
        changed = range(min(int(opened.min()), self.newest + 1), newest + 1)
        if self.newest < 0 or len(changed) > self.window:
            return None
        series = np.array([self.position[bar.instrument] for bar in bars])
        self._columns.advance(newest)
        self._columns.rows(changed.start, newest + 1)[opened - changed.start, :, series] = _values(bars)
        np.minimum.at(self.first, series, opened)
        np.maximum.at(self.last, series, opened)
        self.newest = newest
        for row in changed:
            self._evaluate(row)
        return changed

    def has_row(self, row: int) -> npt.NDArray[np.bool_]:
        """(S,) which series have a row of that number."""
        return (self.first <= row) & (row <= self.last) & (self.last > self.newest - self.capacity)

    def is_held(self, series: int) -> bool:
        """Whether bars of the series are held."""
        return bool(self.last[series] > max(self.newest - self.capacity, -1))

    def features(self, start: int, stop: int) -> FloatArray:
        """(N, F, S) features of rows ``start`` to ``stop - 1``, NaN where missing; a view."""
        return self._features.rows(start, stop)

    def recent(self, start: int, stop: int, series: int) -> FloatArray:
        """(2, N) log closes and variances of one series, NaN where missing; a copy."""
        return np.ascontiguousarray(self._recent.rows(start, stop)[:, :, series].T)

    def _venue(self, venue: str) -> slice:
        members = [index for index, series in enumerate(self.series) if series.venue == venue]
        return slice(members[0], members[-1] + 1)

    def _evaluate(self, row: int) -> None:
        columns = dict(zip(COLUMNS, self._columns.row(row), strict=True))
        values = self._evaluator.evaluate(row, (row + 1) * self.interval_us, columns)
        self._recent.advance(row)
        self._recent.row(row)[:] = values[: len(_RECENT)]
        self._features.advance(row)
        features = self._features.row(row)
        features[:] = values[len(_RECENT) :]
        if (row - self.first.max() < self._memory_rows).any():
            features[row - self.first < self._memory_rows] = np.nan

    def _places(self, bars: pl.DataFrame) -> tuple[IntArray, IntArray]:
        """The row number and the series of each bar."""
        rows = (bars["open_time_us"] // self.interval_us).to_numpy()
        runs = bars.select(pl.struct(SERIES_KEYS).rle().alias("run")).unnest("run")
        series = [self.position[Instrument(**key)] for key in runs["value"]]
        return rows, np.repeat(np.array(series, dtype=np.int64), runs["len"].to_numpy())

    def _to_newest(self, bars: pl.DataFrame) -> pl.DataFrame:
        """``bars`` with outage rows up to the newest row of all: a series that returns will have had them."""
        newest_us = self.newest * self.interval_us
        ends = bars.group_by(SERIES_KEYS).agg(pl.col("open_time_us").max()).filter(pl.col("open_time_us") < newest_us)
        if ends.is_empty():
            return bars
        missing = ends.with_columns(open_time_us=pl.lit(newest_us, pl.Int64), complete=pl.lit(value=False))
        padded = pl.concat([bars, missing.cast({"complete": pl.Boolean})], how="diagonal")
        return regular_bars(padded.sort(BAR_KEYS), self.interval_us)

    def _restore_columns(self, bars: pl.DataFrame, rows: IntArray, series: IntArray) -> None:
        self._columns.restart(self.newest)
        first = self.newest - self._columns.keep + 1
        held = rows >= first
        target = self._columns.rows(first, self.newest + 1)
        target[rows[held] - first, :, series[held]] = (
            bars.filter(held).select(pl.col(COLUMNS).cast(pl.Float64)).to_numpy()
        )

    def _restore_rows(self, bars: pl.DataFrame) -> None:
        keyed = with_keys(bars, self.interval_us, self._leaders)
        rows, series = self._places(keyed)
        found = self._restorer.evaluate(keyed, ("series",))
        place = (rows - self.newest + self.capacity - 1, series)
        within = place[0] >= 0
        place = place[0][within], place[1][within]

        def grid(values: pl.Series) -> FloatArray:
            """(capacity, S), NaN where missing."""
            whole = np.full((self.capacity, len(self.series)), np.nan)
            whole[place] = values.to_numpy()[within]
            return whole

        history = self._evaluator.history
        # A recursive average goes on from its last value, also after rows without one.
        states = [pl.col(f"%%{number}").forward_fill().over("series") for number in history.state_of]
        found = found.with_columns(states)
        history.restore(self.newest, {number: grid(found[f"%%{number}"]) for number in history.steps})
        self._recent.restart(self.newest)
        for index, name in enumerate(_RECENT):
            self._recent.fill(index, grid(found[name]))
        self._features.restart(self.newest)
        age = np.arange(self.newest - self.capacity + 1, self.newest + 1)[:, None] - self.first  # (capacity, S)
        for index, memory_rows in enumerate(self._memory_rows[:, 0]):
            self._features.fill(index, np.where(age >= memory_rows, grid(found[FEATURES[index].name]), np.nan))


def _values(bars: Sequence[Bar]) -> FloatArray:
    """(N, C) the columns of the bars, NaN where missing; a bar without volume has no prices, as in ``regular_bars``."""
    values = np.array(list(map(_FIELDS, bars)), dtype=np.float64)
    values[values[:, _VOLUME] <= 0, _PRICES] = np.nan
    return values


@cache
def _restorer(*, with_features: bool) -> PolarsEvaluator:
    """Computes the outputs of the live program and, as ``%%number``, the steps of its history."""
    compiled = live_program(with_features=with_features)
    kept = RowHistory(RowSchedule(compiled), 0, 0).steps
    return PolarsEvaluator(Program(compiled.steps, {**compiled.outputs, **{f"%%{each}": each for each in kept}}))
