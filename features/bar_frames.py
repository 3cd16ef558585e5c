"""Recent bars of a live buffer as Polars frames, one for each close, and on request as one regular frame."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from features.frames import BAR_KEYS, BARS_SCHEMA, SERIES_KEYS, bars_frame, newest_rows, regular_bars
from features.market import Bar


class BarFrames:
    """The bars of the newest ``capacity`` intervals; a later bar replaces an earlier one of the same interval."""

    def __init__(self, *, interval_us: int, capacity: int) -> None:
        self._interval_us = interval_us
        self._capacity = capacity
        self._base = pl.DataFrame(schema=BARS_SCHEMA)
        self._later: dict[int, pl.DataFrame] = {}
        self._regular: pl.DataFrame | None = self._base

    def load(self, bars: pl.DataFrame) -> None:
        """Replaces all bars by the newest of ``bars``."""
        regular = regular_bars(bars.sort(BAR_KEYS, maintain_order=True), self._interval_us)
        self._base = self._regular = newest_rows(regular, self._capacity, self._interval_us)
        self._later = {}

    def add(self, bars: Iterable[Bar]) -> None:
        """Adds bars of any intervals. Raises ValueError if one lies off the grid."""
        by_time: dict[int, list[Bar]] = {}
        for bar in bars:
            by_time.setdefault(bar.open_time_us, []).append(bar)
        if any(open_time_us % self._interval_us for open_time_us in by_time):
            raise ValueError(f"a bar does not open on a multiple of {self._interval_us} us")
        self._regular = None
        for open_time_us, new in by_time.items():
            earlier = self._later.get(open_time_us)
            frame = bars_frame({bar.instrument: bar for bar in new}.values())
            self._later[open_time_us] = (
                frame
                if earlier is None
                else pl.concat([earlier, frame]).unique(SERIES_KEYS, keep="last", maintain_order=True)
            )
        if len(self._later) > self._capacity // 2:
            self._base, self._later = self.regular, {}

    @property
    def regular(self) -> pl.DataFrame:
        """All bars on the regular grid, sorted by venue, symbol and time."""
        if self._regular is None:
            bars = pl.concat([self._base, *self._later.values()]).sort(BAR_KEYS, maintain_order=True)
            regular = regular_bars(bars, self._interval_us)
            self._regular = newest_rows(regular, self._capacity, self._interval_us)
        return self._regular
