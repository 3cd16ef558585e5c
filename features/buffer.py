"""Rolling buffer of a live daemon: recent bars of every instrument, and the feature rows that make up windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from features.algebra import WARM_UP_ROWS
from features.cross_section import choose_leaders
from features.frames import BAR_KEYS, BARS_SCHEMA, SERIES_KEYS, bars_frame, newest_rows, regular_bars
from features.market import Bar, Instrument
from features.table import newest_feature_rows
from features.windows import RecentBars, Window, make_window, recent_by_series

RECENT_BARS = 720
"""Bars that a baseline reads: thirty days of hourly bars."""


class FeatureBuffer:
    """Holds the recent bars of every instrument in one frame, and the last window of their feature rows.

    It keeps as many bars as the feature warm-up, or the baselines if they need more, and a window take together. The
    leader of a venue is the first of its ``instruments`` with base BTC, else its first.

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
        self._instruments = frozenset(instruments)
        self._leaders = choose_leaders(instruments)
        self._bars = pl.DataFrame(schema=BARS_SCHEMA)
        self._recent_of: Mapping[tuple[str, str], RecentBars] = {}
        self._rows = pl.DataFrame()
        self._rows_of: Mapping[Instrument, pl.DataFrame] = {}

    @property
    def leaders(self) -> Mapping[str, str]:
        """The leader of each venue; training must use the same."""
        return self._leaders

    @property
    def bars(self) -> pl.DataFrame:
        """All bars held, on the regular grid, sorted by venue, symbol and time."""
        return self._bars

    @property
    def rows(self) -> pl.DataFrame:
        """The feature rows held, as ``feature_rows`` returns them."""
        return self._rows

    def load(self, frame: pl.DataFrame) -> None:
        """Replaces all bars by the newest of ``frame`` (``BARS_SCHEMA``), and computes their feature rows.

        Raises ValueError if a bar belongs to an instrument that the buffer does not hold.
        """
        self._require_held({Instrument(*key) for key in frame.select(SERIES_KEYS).unique().iter_rows()})
        self._bars, self._rows = pl.DataFrame(schema=BARS_SCHEMA), pl.DataFrame()
        self._recent_of, self._rows_of = {}, {}
        if frame.height:
            self._store(frame)
            self._compute(self._newest_open_us() - (self.window_length - 1) * self.interval_us)

    def append(self, bars: Sequence[Bar]) -> None:
        """Adds the bars of one close and computes their feature rows, and those of intervals missed before it.

        All bars of a close belong in one call, because the cross-section covers only the bars that are present. Bars of
        the same close in a second call are accepted, and all rows of that close are computed again.

        Raises ValueError if the bars close at different times, have another interval, or belong to an instrument that
        the buffer does not hold.
        """
        if len({bar.close_time_us for bar in bars}) > 1:
            raise ValueError("all bars of one append must close at the same time")
        if bars:
            self._update(bars, from_open_us=min(map(self._next_open_us, bars)))

    def revise(self, *bars: Bar) -> None:
        """Replaces bars by newer revisions and recomputes the feature rows that depend on them, once for all.

        A bar older than every bar in the buffer is ignored. Raises ValueError as ``append`` does.
        """
        oldest_held_us = self._newest_open_us() - (self.bar_capacity - 1) * self.interval_us
        if held := [bar for bar in bars if bar.open_time_us >= oldest_held_us]:
            self._update(held, from_open_us=min(map(self._next_open_us, held)))

    def window(self, instrument: Instrument, close_time_us: int, feature_names: Sequence[str]) -> Window:
        """The window (L, F) of ``instrument`` that ends at ``close_time_us``.

        Raises ValueError if a feature is unknown, no bar of the instrument closes at that time, or there are too few
        rows; LookaheadError, a ValueError, if the window would reach past ``close_time_us``.
        """
        rows = self._rows_of.get(instrument)
        if rows is None:
            raise ValueError(f"the buffer holds no rows of {instrument}")
        newest = rows["close_time_us"][-1] <= close_time_us
        known = rows if newest else rows.filter(pl.col("close_time_us") <= close_time_us)
        try:
            return make_window(
                known, close_time_us=close_time_us, length=self.window_length, feature_names=feature_names
            )
        except ValueError as error:
            error.add_note(f"instrument: {instrument}")
            raise

    def recent(self, instrument: Instrument, close_time_us: int, count: int = RECENT_BARS) -> RecentBars:
        """The last ``count`` bars of ``instrument`` up to ``close_time_us``, or fewer if the buffer holds fewer.

        Raises ValueError if none of its bars closes at ``close_time_us``.
        """
        held = self._recent_of.get(instrument)
        if held is None:
            raise ValueError(f"the buffer holds no bars of {instrument}")
        end = int(np.searchsorted(held.close_time_us, close_time_us, side="right"))
        if not end or held.close_time_us[end - 1] != close_time_us:
            raise ValueError(f"no bar closes at {close_time_us} us of {instrument}")
        part = slice(max(end - count, 0), end)
        return RecentBars(
            interval_us=self.interval_us,
            close_time_us=held.close_time_us[part],
            log_close=held.log_close[part],
            variance=held.variance[part],
        )

    def _update(self, bars: Sequence[Bar], *, from_open_us: int) -> None:
        if any(bar.interval_us != self.interval_us for bar in bars):
            raise ValueError(f"the buffer holds bars of {self.interval_us} us")
        self._require_held({bar.instrument for bar in bars})
        self._store(pl.concat([self._bars, bars_frame(bars)]))
        self._compute(from_open_us)

    def _store(self, bars: pl.DataFrame) -> None:
        regular = regular_bars(bars.sort(BAR_KEYS, maintain_order=True), self.interval_us)
        self._bars = newest_rows(regular, self.bar_capacity, self.interval_us)
        self._recent_of = recent_by_series(self._bars, interval_us=self.interval_us)

    def _compute(self, from_open_us: int) -> None:
        """Computes the feature rows from ``from_open_us`` on, and keeps the earlier ones."""
        if not self._with_features:
            return
        newest_us = self._newest_open_us()
        wanted = min((newest_us - from_open_us) // self.interval_us + 1, self.window_length)
        new = newest_feature_rows(self._bars, interval_us=self.interval_us, leaders=self._leaders, last_rows=wanted)
        rows = new
        if self._rows.height:
            kept = self._rows.filter(pl.col("open_time_us") <= newest_us - wanted * self.interval_us)
            rows = pl.concat([kept, new]).sort(BAR_KEYS)
        self._rows = newest_rows(rows, self.window_length, self.interval_us)
        self._rows_of = _by_instrument(self._rows)

    def _newest_open_us(self) -> int:
        newest = self._bars["open_time_us"].max()
        return newest if isinstance(newest, int) else 0

    def _next_open_us(self, bar: Bar) -> int:
        """The first interval whose feature rows ``bar`` changes: its own, or the first one missed before it."""
        held = self._recent_of.get(bar.instrument)
        return bar.open_time_us if held is None else min(bar.open_time_us, int(held.close_time_us[-1]))

    def _require_held(self, instruments: set[Instrument]) -> None:
        unknown = instruments - self._instruments
        if unknown:
            raise ValueError(f"the buffer does not hold {', '.join(sorted(map(str, unknown)))}")


def _by_instrument(frame: pl.DataFrame) -> dict[Instrument, pl.DataFrame]:
    """Splits a frame that is sorted by instrument."""
    parts = frame.partition_by(SERIES_KEYS, maintain_order=True)
    return {Instrument(part["venue"][0], part["symbol"][0]): part for part in parts}
