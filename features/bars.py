"""Bars from trades, with sums that do not depend on the order or batching of the trades.

A bar's sums are the same whether its trades arrive one by one, in batches, out of order after a repair, or partly
before a restart. Floating-point addition is not associative; therefore every addend is rounded to a grid of 2**-40
(about 1e-12), and integer and fractional parts are summed as integers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.market import Bar, Completeness, Instrument, Trade

_CHUNK = 1024  # trades buffered before they are added to the sums: at most 150 kB for an open bar
_GRID_BITS = 40
_GRID = float(1 << _GRID_BITS)


class GridSum:
    """Exact running sum of non-negative floats, each rounded to the grid."""

    __slots__ = ("_fraction", "_whole")

    def __init__(self) -> None:
        self._whole = 0
        self._fraction = 0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        whole = np.floor(values)
        fits = whole.max(initial=0.0) < 2**52  # a chunk of such values cannot overflow 63 bits
        self._whole += int(whole.astype(np.int64).sum()) if fits else sum(map(int, whole))
        self._fraction += int(np.rint((values - whole) * _GRID).astype(np.int64).sum())

    def value(self, decimals: int) -> float:
        """The sum, rounded to the venue's ``decimals`` so that it equals the exact decimal sum."""
        return round(((self._whole << _GRID_BITS) + self._fraction) / (1 << _GRID_BITS), decimals)


class OpenBar:
    """The trades of one interval, summed up; late trades can be added after the close, too.

    ties_by_id: whether ids order trades of the same time; otherwise the order in which they were added does.
    """

    __slots__ = (
        "_first",
        "_high",
        "_last",
        "_low",
        "_quote",
        "_taker_quote",
        "_taker_volume",
        "_ties_by_id",
        "_trades",
        "_unfolded",
        "_volume",
        "close_time_us",
        "instrument",
        "interval_us",
        "late_trades",
        "open_time_us",
    )

    def __init__(self, instrument: Instrument, *, open_time_us: int, interval_us: int, ties_by_id: bool = True) -> None:
        self.instrument = instrument
        self._ties_by_id = ties_by_id
        self.open_time_us = open_time_us
        self.interval_us = interval_us
        self.close_time_us = open_time_us + interval_us
        self.late_trades = 0
        self._trades = 0
        self._first: Trade | None = None
        self._last: Trade | None = None
        self._high, self._low = float("-inf"), float("inf")
        self._unfolded: list[Trade] = []
        self._volume, self._quote = GridSum(), GridSum()
        self._taker_volume, self._taker_quote = GridSum(), GridSum()

    @property
    def trades(self) -> int:
        """Raw trades so far (the sum of ``Trade.count``)."""
        self._fold()
        return self._trades

    def add(self, trade: Trade) -> None:
        """Adds a trade of this interval, in any order; the caller drops duplicates."""
        self._unfolded.append(trade)
        if len(self._unfolded) >= _CHUNK:
            self._fold()

    def extend(self, trades: Sequence[Trade]) -> None:
        """Adds several trades; see ``add``."""
        self._unfolded.extend(trades)
        if len(self._unfolded) >= _CHUNK:
            self._fold()

    def bar(
        self, *, completeness: Completeness, known_at_us: int, missing_trades: int | None, revision: int, decimals: int
    ) -> Bar:
        """The bar of the trades so far; without trades its prices are None and its sums zero.

        Open and close are the prices of the first and last trade by (time, id), or by time and then the order in which
        they were added (see ``ties_by_id``).
        """
        self._fold()
        first, last = self._first, self._last
        traded = first is not None
        return Bar(
            venue=self.instrument.venue,
            symbol=self.instrument.symbol,
            interval_us=self.interval_us,
            open_time_us=self.open_time_us,
            open=first.price if first else None,
            high=self._high if traded else None,
            low=self._low if traded else None,
            close=last.price if last else None,
            volume=self._volume.value(decimals),
            quote_volume=self._quote.value(decimals),
            trades=self._trades,
            taker_buy_volume=self._taker_volume.value(decimals),
            taker_buy_quote_volume=self._taker_quote.value(decimals),
            completeness=completeness,
            known_at_us=known_at_us,
            first_trade_id=first.trade_id - first.span + 1 if first else None,
            last_trade_id=last.trade_id if last else None,
            missing_trades=missing_trades,
            late_trades=self.late_trades,
            revision=revision,
        )

    def _fold(self) -> None:
        """Adds the buffered trades to the sums, by columns: less than half the cost of one trade at a time."""
        trades, self._unfolded = self._unfolded, []
        if not trades:
            return
        prices = np.frombuffer(array("d", [trade.price for trade in trades]))
        sizes = np.frombuffer(array("d", [trade.size for trade in trades]))
        bought = np.frombuffer(bytes([trade.taker_buys for trade in trades]), dtype=np.bool_)
        quotes = prices * sizes
        self._high = max(self._high, float(prices.max()))
        self._low = min(self._low, float(prices.min()))
        self._volume.add(sizes)
        self._quote.add(quotes)
        self._taker_volume.add(sizes[bought])
        self._taker_quote.add(quotes[bought])
        self._trades += sum([trade.count for trade in trades])
        self._note_ends(trades)

    def _note_ends(self, trades: list[Trade]) -> None:
        times_us = [trade.time_us for trade in trades]
        earliest_us, latest_us = min(times_us), max(times_us)
        earliest = [trade for trade in trades if trade.time_us == earliest_us]
        latest = [trade for trade in trades if trade.time_us == latest_us]
        if self._ties_by_id:
            self._first = min([*earliest, self._first or earliest[0]], key=_moment)
            self._last = max([*latest, self._last or latest[0]], key=_moment)
            return
        if self._first is None or earliest_us < self._first.time_us:
            self._first = earliest[0]
        if self._last is None or latest_us >= self._last.time_us:
            self._last = latest[-1]


def _moment(trade: Trade) -> tuple[int, int]:
    return trade.time_us, trade.trade_id
