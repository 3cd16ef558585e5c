"""Past forecaster inputs, computed from the same features and windows as live inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from features.algebra import WARM_UP_ROWS
from features.buffer import RECENT_BARS
from features.cross_section import leaders_in
from features.table import feature_rows
from features.windows import Panel, RecentBars, Window, panel
from models.forecast import ForecastInput
from models.history import Series, regular_histories


def reach_bars(window: int) -> int:
    """Number of bars up to a close that an input can depend on."""
    return max(WARM_UP_ROWS, RECENT_BARS) + window


class PastInputs:
    """Inputs at any bar close of a frame of bars (``features.frames.BARS_SCHEMA``).

    Features are computed once over the whole frame; each input holds slices that end at its own close. A test checks
    that they equal those of a live ``features.buffer.FeatureBuffer`` that received the bars one by one.
    """

    def __init__(self, bars: pl.DataFrame, *, interval_us: int, window: int) -> None:
        self.interval_us = interval_us
        self.window = window
        self.histories = regular_histories(bars, interval_us=interval_us)
        self._bars = bars
        self._rows: pl.DataFrame | None = None
        self._panels: dict[tuple[str, ...], Panel] = {}

    def closes(self, from_us: int, until_us: int) -> list[tuple[Series, int]]:
        """Each (series, close time) in ``[from_us, until_us)`` at which a bar with a price closed, sorted."""
        found: list[tuple[Series, int]] = []
        for series, recent in self.histories.items():
            times = recent.close_time_us
            chosen = (times >= from_us) & (times < until_us) & np.isfinite(recent.log_close)
            found += [(series, int(time_us)) for time_us in times[chosen]]
        return found

    def inputs(
        self, closes: Iterable[tuple[Series, int]], feature_names: Sequence[str] | None = None
    ) -> list[ForecastInput]:
        """One input for each (series, close time); without ``feature_names`` it has no window.

        Raises KeyError for a series without bars, ValueError for a time at which none of its bars closes.
        """
        table = None if feature_names is None else self._panel(tuple(feature_names))
        return [self._input(series, time_us, table) for series, time_us in closes]

    def _input(self, series: Series, close_time_us: int, table: Panel | None) -> ForecastInput:
        recent = self.histories[series]
        position, remainder = divmod(close_time_us - int(recent.close_time_us[0]), self.interval_us)
        if remainder or not 0 <= position < len(recent.close_time_us):
            raise ValueError(f"no bar of {series[0]}:{series[1]} closes at {close_time_us} us")
        # One bar more than returns, as in a live input.
        part = slice(max(position - RECENT_BARS, 0), position + 1)
        return ForecastInput(
            venue=series[0],
            symbol=series[1],
            close_time_us=close_time_us,
            interval_us=self.interval_us,
            window=None if table is None else self._window(table, series, position, close_time_us),
            recent=RecentBars(
                self.interval_us, recent.close_time_us[part], recent.log_close[part], recent.variance[part]
            ),
        )

    def _window(self, table: Panel, series: Series, position: int, close_time_us: int) -> Window | None:
        """None if the series is younger than a window."""
        if position < self.window - 1:
            return None
        stop = int(table.first_row[table.keys.index(series)]) + position + 1
        part = slice(stop - self.window, stop)
        return Window(
            close_time_us=close_time_us,
            feature_names=table.feature_names,
            values=table.values[part],
            mask=table.mask[part],
        )

    def _panel(self, names: tuple[str, ...]) -> Panel:
        if self._rows is None:
            self._rows = feature_rows(self._bars, interval_us=self.interval_us, leaders=leaders_in(self._bars))
        if names not in self._panels:
            self._panels[names] = panel(self._rows, names)
        return self._panels[names]
