"""Trades to bars: sums that do not depend on the order, batching or interruption of the trades they add.

A bar's sums must be the same whether its trades came one by one, in batches, out of order after a repair, or
partly before a restart. Floating-point addition is not associative, so every addend is first put on a fixed
grid of 2**-40 (about 1e-12) and whole and fractional parts are summed as integers, which is.
"""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt

from features.market import Bar, Completeness, Instrument, Trade

_CHUNK = 1024  # trades held back before they are folded into the sums: bounds memory at 25 kB an open bar
_GRID_BITS = 40
_GRID = float(1 << _GRID_BITS)
_NEVER = 1 << 62


class GridSum:
    """An exact running sum of non-negative floats on the grid."""

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
        """The sum, rounded to the venue's ``decimals`` so that it equals the venue's own decimal number."""
        return round(((self._whole << _GRID_BITS) + self._fraction) / (1 << _GRID_BITS), decimals)


class OpenBar:
    """The bar of one interval while its trades come in; it can still be asked and added to after the close."""

    __slots__ = (
        "_buys",
        "_close_price",
        "_first_id",
        "_first_time_us",
        "_high",
        "_last_id",
        "_last_time_us",
        "_low",
        "_open_price",
        "_prices",
        "_quote",
        "_sizes",
        "_taker_quote",
        "_taker_volume",
        "_volume",
        "close_time_us",
        "instrument",
        "interval_us",
        "late_trades",
        "open_time_us",
        "records",
        "trades",
    )

    def __init__(self, instrument: Instrument, *, open_time_us: int, interval_us: int) -> None:
        self.instrument = instrument
        self.open_time_us = open_time_us
        self.interval_us = interval_us
        self.close_time_us = open_time_us + interval_us
        self.trades = 0
        self.records = 0
        self.late_trades = 0
        self._first_time_us = self._first_id = _NEVER
        self._last_time_us = self._last_id = -1
        self._open_price = self._close_price = 0.0
        self._high, self._low = float("-inf"), float("inf")
        self._prices, self._sizes, self._buys = array("d"), array("d"), bytearray()
        self._volume, self._quote = GridSum(), GridSum()
        self._taker_volume, self._taker_quote = GridSum(), GridSum()

    def add(self, trade: Trade) -> None:
        """Adds a trade of this interval, in any order; the caller has dropped duplicates.

        Open and close are the prices of the trades that come first and last by (time, id).
        """
        time_us, trade_id, price = trade.time_us, trade.trade_id, trade.price
        if time_us > self._last_time_us or (time_us == self._last_time_us and trade_id > self._last_id):
            self._last_time_us, self._last_id, self._close_price = time_us, trade_id, price
        if time_us < self._first_time_us or (time_us == self._first_time_us and trade_id < self._first_id):
            self._first_time_us, self._first_id, self._open_price = time_us, trade_id, price
        self.trades += trade.count
        self._sizes.append(trade.size)
        self._buys.append(trade.taker_buys)
        self._prices.append(price)
        if len(self._buys) >= _CHUNK:
            self._fold()

    def bar(
        self, *, completeness: Completeness, known_at_us: int, missing_trades: int, revision: int, decimals: int
    ) -> Bar:
        """The bar as far as it is known; prices are None and sums zero where no trade happened."""
        self._fold()
        traded = self.records > 0
        return Bar(
            venue=self.instrument.venue,
            symbol=self.instrument.symbol,
            interval_us=self.interval_us,
            open_time_us=self.open_time_us,
            open=self._open_price if traded else None,
            high=self._high if traded else None,
            low=self._low if traded else None,
            close=self._close_price if traded else None,
            volume=self._volume.value(decimals),
            quote_volume=self._quote.value(decimals),
            trades=self.trades,
            taker_buy_volume=self._taker_volume.value(decimals),
            taker_buy_quote_volume=self._taker_quote.value(decimals),
            completeness=completeness,
            known_at_us=known_at_us,
            first_trade_id=self._first_id if traded else None,
            last_trade_id=self._last_id if traded else None,
            missing_trades=missing_trades,
            late_trades=self.late_trades,
            revision=revision,
        )

    def _fold(self) -> None:
        if not self._buys:
            return
        prices = np.frombuffer(self._prices, dtype=np.float64)
        sizes = np.frombuffer(self._sizes, dtype=np.float64)
        bought = np.frombuffer(self._buys, dtype=np.bool_)
        quotes = prices * sizes
        self._high = max(self._high, float(prices.max()))
        self._low = min(self._low, float(prices.min()))
        self._volume.add(sizes)
        self._quote.add(quotes)
        self._taker_volume.add(sizes[bought])
        self._taker_quote.add(quotes[bought])
        self.records += len(prices)
        self._prices, self._sizes, self._buys = array("d"), array("d"), bytearray()
