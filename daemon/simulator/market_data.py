"""Real bars as exact integers, and the timeline on which the simulated exchange replays them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from daemon.simulator.reconstruct import BarFigures

Integers = npt.NDArray[np.int64]

PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class RecordedSeries:
    """The bars of one symbol, one array entry a bar, oldest first.

    Prices are in ticks of ``10**-price_decimals``, volumes in lots of ``10**-size_decimals``, quote volumes in
    units of ``10**-quote_decimals``, which is a tick times a lot. ``present`` is False where the source has no
    row: such a bar is empty and its candle is not served.
    """

    symbol: str
    base: str
    quote: str
    price_decimals: int
    size_decimals: int
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    volume: Integers
    quote_volume: Integers
    trades: Integers
    taker_buy_volume: Integers
    taker_buy_quote_volume: Integers
    present: npt.NDArray[np.bool_]

    @property
    def quote_decimals(self) -> int:
        return self.price_decimals + self.size_decimals

    def figures(self, index: int) -> BarFigures:
        """One bar, in ticks and lots."""
        return BarFigures(*(int(getattr(self, name)[index]) for name in BarFigures._fields))

    def emptied(self, index: int) -> RecordedSeries:
        """The same series with one bar without trades, flat at the close before it."""
        flat = int(self.close[index - 1]) if index else int(self.open[0])
        changed = {name: getattr(self, name).copy() for name in BarFigures._fields}
        for name, column in changed.items():
            column[index] = flat if name in PRICES else 0
            column.setflags(write=False)
        return replace(self, **changed)


@dataclass(frozen=True)
class MarketData:
    """Bars of several symbols over one common span; ``notes`` lists estimated and rounded values."""

    start_us: int
    interval_us: int
    series: Mapping[str, RecordedSeries]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Bars per symbol."""
        return len(next(iter(self.series.values())).open)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.series)

    def open_us(self, index: int) -> int:
        """The real open time of bar ``index``; ``Timeline`` says when it is played."""
        return self.start_us + index * self.interval_us

    def live_index(self, *, live_days: float) -> int:
        """The bar at which live trading starts, with ``live_days`` of the data live and the rest history."""
        live_bars = round(live_days * 86_400_000_000 / self.interval_us)
        if not 1 <= live_bars < len(self):
            raise ValueError(f"{live_days} live days are {live_bars} bars of {len(self)}; leave at least one of each")
        return len(self) - live_bars

    def with_empty_bar(self, symbol: str, index: int) -> MarketData:
        changed = {**self.series, symbol: self.series[symbol].emptied(index)}
        return replace(self, series=MappingProxyType(changed))


@dataclass(frozen=True)
class Timeline:
    """When each bar is played: bar ``index`` covers ``interval_us`` of market time from ``open_us(index)`` on."""

    start_us: int
    interval_us: int

    def __post_init__(self) -> None:
        if self.start_us % self.interval_us:
            raise ValueError(f"start {self.start_us} us is not on the grid of {self.interval_us} us")

    @classmethod
    def as_recorded(cls, data: MarketData) -> Timeline:
        """Every bar at its real time."""
        return cls(data.start_us, data.interval_us)

    @classmethod
    def retimed(cls, *, interval_us: int, live_index: int, live_from_us: int) -> Timeline:
        """Bars played as intervals of ``interval_us``.

        Bar ``live_index`` opens at the first boundary of the played grid at or after ``live_from_us``.
        """
        boundary_us = -(-live_from_us // interval_us) * interval_us
        return cls(boundary_us - live_index * interval_us, interval_us)

    def open_us(self, index: int) -> int:
        return self.start_us + index * self.interval_us

    def index_at(self, time_us: int) -> int:
        """The bar that covers ``time_us``; below 0 or past the end where the data has none."""
        return (time_us - self.start_us) // self.interval_us
