"""Rolling buffer of a live daemon: recent bars of every instrument, and the feature rows that make up windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from features.algebra import WARM_UP_ROWS
from features.bar_frames import BarFrames
from features.catalogue import FEATURE_NAMES
from features.cross_section import choose_leaders
from features.frames import BAR_KEYS, SERIES_KEYS
from features.live_arrays import LiveArrays
from features.market import Bar, Instrument
from features.windows import RecentBars, Window

RECENT_BARS = 720
"""Bars that a baseline reads: thirty days of hourly bars."""


_POSITIONS: Mapping[str, int] = {name: index for index, name in enumerate(FEATURE_NAMES)}


class FeatureBuffer:
    """Holds the recent bars of every instrument and the last window of their feature rows, as Polars frames.

    It keeps as many bars as the feature warm-up, or the baselines if they need more, and a window take together. The
    leader of a venue is the first of its ``instruments`` with base BTC, else its first. Rolling arrays beside the
    frames hold what a new row is computed from, and what windows and baselines read.

    with_features: False where only the bars are read; no feature row is computed, and ``window`` raises.
    """

    def __init__(
        self, instruments: Sequence[Instrument], *, interval_us: int, window: int = 48, with_features: bool = True
    ) -> None:
        if window < 1:
            raise ValueError(f"window was {window}, must be at least 1")
        self.interval_us = interval_us
        self.window_length = window
        self.bar_capacity = max(WARM_UP_ROWS, RECENT_BARS) + window
        self._with_features = with_features
        self._leaders = choose_leaders(instruments)
        self._frames = BarFrames(interval_us=interval_us, capacity=self.bar_capacity)
        self._arrays = LiveArrays(
            instruments,
            self._leaders,
            interval_us=interval_us,
            capacity=self.bar_capacity,
            window=window,
            with_features=with_features,
        )
        self._keys = {
            key: pl.Series([getattr(each, key) for each in self._arrays.series], dtype=pl.String) for key in SERIES_KEYS
        }
        self._rows: dict[int, pl.DataFrame] = {}
        self._selections: dict[tuple[str, ...], list[int]] = {}

    @property
    def leaders(self) -> Mapping[str, str]:
        """The leader of each venue; training must use the same."""
        return self._leaders

    @property
    def bars(self) -> pl.DataFrame:
        """All bars held, on the regular grid, sorted by venue, symbol and time."""
        return self._frames.regular

    @property
    def rows(self) -> pl.DataFrame:
        """The feature rows held, as ``feature_rows`` returns them."""
        if not self._rows:
            return pl.DataFrame()
        is_row = np.concatenate([self._arrays.has_row(row) for row in self._rows])
        rows = pl.concat(self._rows.values()).filter(is_row).sort(BAR_KEYS)
        features = rows["features"].arr.to_struct(list(FEATURE_NAMES)).struct.unnest()
        return rows.drop("features").hstack(features.fill_nan(None))

    def load(self, frame: pl.DataFrame) -> None:
        """Replaces all bars by the newest of ``frame`` (``BARS_SCHEMA``), and computes their feature rows.

        Raises ValueError if a bar belongs to an instrument that the buffer does not hold.
        """
        self._require_held(Instrument(*key) for key in frame.select(SERIES_KEYS).unique().iter_rows())
        self._frames.load(frame)
        self._reload()

    def append(self, bars: Sequence[Bar]) -> None:
        """Adds the bars of one close and computes their feature rows, and those of intervals missed before it.

        All bars of a close belong in one call, because the cross-section covers only the bars that are present. Bars of
        the same close in a second call are accepted, and all rows of that close are computed again.

        Raises ValueError if the bars close at different times, have another interval, or belong to an instrument that
        the buffer does not hold.
        """
        if len({bar.close_time_us for bar in bars}) > 1:
            raise ValueError("all bars of one append must close at the same time")
        self._update(bars)

    def revise(self, *bars: Bar) -> None:
        """Replaces bars by newer revisions and recomputes the feature rows that depend on them, once for all.

        A bar older than every bar in the buffer is ignored. Raises ValueError as ``append`` does.
        """
        oldest_us = (self._arrays.newest - self.bar_capacity + 1) * self.interval_us
        self._update([bar for bar in bars if bar.open_time_us >= oldest_us])

    def window(self, instrument: Instrument, close_time_us: int, feature_names: Sequence[str]) -> Window:
        """The window (L, F) of ``instrument`` that ends at ``close_time_us``.

        Raises ValueError if a feature is unknown, no bar of the instrument closes at that time, or there are too few
        rows.
        """
        if not self._with_features:
            raise ValueError("the buffer holds no features")
        selected = self._selected(tuple(feature_names))
        series, stop = self._place(instrument, close_time_us, "rows")
        start = stop - self.window_length
        held = stop - max(int(self._arrays.first[series]), self._arrays.newest - self.window_length + 1)
        if held < self.window_length:
            raise ValueError(f"a window needs {self.window_length} rows, there are only {max(held, 0)} of {instrument}")
        values = self._arrays.features(start, stop)[:, selected, series].astype(np.float32)
        mask = np.asarray(np.isfinite(values).all(axis=1))
        values[~mask] = 0.0
        return Window(close_time_us=close_time_us, feature_names=tuple(feature_names), values=values, mask=mask)

    def recent(self, instrument: Instrument, close_time_us: int, count: int = RECENT_BARS) -> RecentBars:
        """The last ``count`` bars of ``instrument`` up to ``close_time_us``, or fewer if the buffer holds fewer.

        Raises ValueError if none of its bars closes at ``close_time_us``.
        """
        series, stop = self._place(instrument, close_time_us, "bars")
        oldest = max(int(self._arrays.first[series]), self._arrays.newest - self.bar_capacity + 1)
        start = max(stop - count, oldest)
        log_close, variance = self._arrays.recent(start, stop, series)
        return RecentBars(
            interval_us=self.interval_us,
            close_time_us=np.arange(start + 1, stop + 1, dtype=np.int64) * self.interval_us,
            log_close=log_close,
            variance=variance,
        )

    def _place(self, instrument: Instrument, close_time_us: int, what: str) -> tuple[int, int]:
        """The series of an instrument, and the row after its row that closes at ``close_time_us``.

        Raises ValueError, which names ``what`` is missing, if it has no such row.
        """
        series = self._arrays.position.get(instrument)
        if series is None or not self._arrays.is_held(series):
            raise ValueError(f"the buffer holds no {what} of {instrument}")
        stop, remainder = divmod(close_time_us, self.interval_us)
        first, last = int(self._arrays.first[series]), int(self._arrays.last[series])
        oldest = max(first, self._arrays.newest - self.bar_capacity + 1)
        if remainder or not oldest < stop <= last + 1:
            newest_us = (last + 1) * self.interval_us
            raise ValueError(
                f"no bar closes at {close_time_us} us, the newest row closes at {newest_us} us: {instrument}"
            )
        return series, stop

    def _selected(self, names: tuple[str, ...]) -> list[int]:
        """The positions of the features. Raises ValueError if one is unknown."""
        if names not in self._selections:
            unknown = [name for name in names if name not in _POSITIONS]
            if unknown:
                raise ValueError(f"the rows have no features named {unknown}")
            self._selections[names] = [_POSITIONS[name] for name in names]
        return self._selections[names]

    def _update(self, bars: Sequence[Bar]) -> None:
        if any(bar.interval_us != self.interval_us for bar in bars):
            raise ValueError(f"the buffer holds bars of {self.interval_us} us")
        self._require_held(bar.instrument for bar in bars)
        if not bars:
            return
        self._frames.add(bars)
        changed = self._arrays.put(bars)
        if changed is None:
            self._reload()
        else:
            self._write_rows(changed)

    def _reload(self) -> None:
        """Computes all rows again from the bars."""
        self._rows = {}
        self._arrays.clear()
        if self._frames.regular.height:
            self._arrays.load(self._frames.regular)
            newest = self._arrays.newest
            self._write_rows(range(newest - self.window_length + 1, newest + 1))

    def _write_rows(self, changed: range) -> None:
        """Puts the feature rows of these numbers into frames, each of all series, with or without such a row."""
        if not self._with_features:
            return
        for row in changed:
            features = self._arrays.features(row, row + 1)[0].T.copy()  # (S, F); Polars does not copy it again
            times = np.full(len(features), row * self.interval_us)
            columns = {"open_time_us": times, "close_time_us": times + self.interval_us, "features": features}
            self._rows[row] = pl.DataFrame({**self._keys, **columns})
        for row in [row for row in self._rows if row <= self._arrays.newest - self.window_length]:
            del self._rows[row]

    def _require_held(self, instruments: Iterable[Instrument]) -> None:
        unknown = set(instruments) - self._arrays.position.keys()
        if unknown:
            raise ValueError(f"the buffer does not hold {', '.join(sorted(map(str, unknown)))}")
