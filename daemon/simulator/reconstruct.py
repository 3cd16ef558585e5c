"""One real bar into a few hundred trades that add up to it again.

The millions of real trades of an hour are not shipped; these are generated so that every figure of the bar holds:
first, highest, lowest and last price, number of trades, volume and quote volume, and both for the
takers who bought. All arithmetic is in integers, prices in ticks and sizes in lots, so that "add up" means equal.

1. A path: open first, close last, high and low somewhere between, noise on the tick grid around straight lines.
2. Each record gets a taker side, so that sides can be fitted apart: buyers to the bar's taker-buy figures, sellers
   to the rest. Sizes are log-normal, share out the side's volume exactly, and are one lot on the four anchors.
3. Prices other than the anchors move towards high or low, each by the same fraction of its own way, until the
   side's quote volume fits up to rounding; this keeps them inside the bar.
4. The rest is settled by moving prices by whole ticks while it is large (changes the sum by the record's size), then
   lots between the two largest records, whose prices differ by one tick (changes it by one unit a lot).

A bar of fewer than a dozen trades, or of trades of a few lots, may have no exact solution by this method: it takes
the nearest, at most one lot times the bar's range away on either side.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from daemon.simulator.quote_balance import QuoteBalance

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

MAX_RECORDS = 240
# Bars of a dozen trades and more fit at the first attempt; smaller ones gain from another path.
_MAX_ATTEMPTS = 12
# The first trade follows the open at once, the last is near the close: shares of the bar's length.
_FIRST_MOMENT, _LAST_MOMENT = 0.0002, 0.9995


class BarFigures(NamedTuple):
    """The figures of a bar: prices in ticks, volumes in lots, quote volumes in ticks times lots."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    trades: int
    taker_buy_volume: int
    taker_buy_quote_volume: int


class Records(NamedTuple):
    """Aggregate trades in order, one array entry each.

    moment: share of the bar's length, in (0, 1), ascending. price, size: ticks and lots.
    raw_trades: number of trades merged into the record.
    """

    moment: Floats
    price: Integers
    size: Integers
    taker_buys: Booleans
    raw_trades: Integers


class Priced(Protocol):
    """Anything with four prices, scalar or column."""

    @property
    def open(self) -> Integers: ...
    @property
    def high(self) -> Integers: ...
    @property
    def low(self) -> Integers: ...
    @property
    def close(self) -> Integers: ...


def record_count(trades: Integers, volume: Integers) -> Integers:
    """The number of records of bars with these trades and lots, without making them."""
    return np.minimum(np.minimum(trades, volume), MAX_RECORDS)


def needed_records(bars: Priced) -> Integers:
    """The fewest records that can show a bar's four prices."""
    moved = (bars.open != bars.close).astype(np.int64)
    above = (bars.high > np.maximum(bars.open, bars.close)).astype(np.int64)
    below = (bars.low < np.minimum(bars.open, bars.close)).astype(np.int64)
    # A bar that left its price and came back has an open and a close apart.
    needed: Integers = 1 + np.maximum(moved, np.minimum(above + below, 1)) + above + below
    return needed


def reconstruct(bar: BarFigures, rng: np.random.Generator) -> Records:
    """The bar's records, the same for the same generator state; none for a bar without trades.

    Raises ValueError for an impossible bar.
    """
    count = min(bar.trades, bar.volume, MAX_RECORDS)
    if count == 0:
        return _NONE
    fitted = _best(_attempts(bar, count, rng))
    if fitted is None:
        raise ValueError(f"no trades can make the bar {bar}")
    return Records(
        moment=_spread(np.sort(rng.random(count))),
        price=fitted.prices,
        size=fitted.sizes,
        taker_buys=fitted.buys,
        raw_trades=1 + _share_out(bar.trades - count, rng.lognormal(size=count)),
    )


class _Fitted(NamedTuple):
    prices: Integers
    sizes: Integers
    buys: Booleans
    error: int


def _best(attempts: Iterator[_Fitted]) -> _Fitted | None:
    """The first exact attempt, else the closest."""
    best = None
    for fitted in attempts:
        if best is None or fitted.error < best.error:
            best = fitted
        if best.error == 0:
            break
    return best


def _attempts(bar: BarFigures, count: int, rng: np.random.Generator) -> Iterator[_Fitted]:
    for _ in range(_MAX_ATTEMPTS):
        path, anchored = _path(bar, count, rng)
        weights = rng.lognormal(size=count)
        for buys in _sides(bar, path, anchored, rng):
            yield _fit_both_sides(bar, path, anchored, buys, weights)


_NO_INTEGERS = np.zeros(0, dtype=np.int64)
_NONE = Records(np.zeros(0), _NO_INTEGERS, _NO_INTEGERS, np.zeros(0, dtype=np.bool_), _NO_INTEGERS)


def _path(bar: BarFigures, count: int, rng: np.random.Generator) -> tuple[Integers, Booleans]:
    """Prices in ticks through open, high, low and close, and which of them must not move."""
    extremes = [bar.low] * (bar.low < min(bar.open, bar.close)) + [bar.high] * (bar.high > max(bar.open, bar.close))
    if bar.close < bar.open:
        extremes.reverse()
    if len(extremes) > max(0, count - 2) or (count == 1 and bar.open != bar.close):
        raise ValueError(f"{count} trades cannot show the four prices of {bar}")
    between = 1 + np.sort(rng.choice(max(count - 2, 1), size=len(extremes), replace=False))
    positions = np.array([0, *between, count - 1])
    marks = np.array([bar.open, *extremes, bar.close])
    steps = np.cumsum(rng.normal(size=count))
    index = np.arange(count)
    noise = steps - np.interp(index, positions, steps[positions])
    wide = (bar.high - bar.low) / (2.0 * np.sqrt(count))
    prices = np.clip(np.rint(np.interp(index, positions, marks) + wide * noise), bar.low, bar.high).astype(np.int64)
    anchored = np.zeros(count, dtype=np.bool_)
    prices[positions] = marks
    anchored[positions] = True
    return prices, anchored


def _sides(bar: BarFigures, path: Integers, anchored: Booleans, rng: np.random.Generator) -> Iterator[Booleans]:
    """Assignments of taker sides that the volumes allow, the most natural first."""
    anchors = np.flatnonzero(anchored)
    free = rng.permutation(np.flatnonzero(~anchored))
    for anchor_buys in _anchor_sides(bar, path[anchors].tolist(), rng):
        buying = sum(anchor_buys)
        for buyers in _numbers_of_buyers(bar, len(free), buying=buying, selling=len(anchors) - buying):
            buys = np.zeros(len(path), dtype=np.bool_)
            buys[anchors] = anchor_buys
            buys[free[:buyers]] = True
            yield buys


def _anchor_sides(bar: BarFigures, prices: list[int], rng: np.random.Generator) -> list[tuple[bool, ...]]:
    """Every choice of taker sides at the anchors: buyers drive a price to its high, sellers to its low."""
    natural = [price == bar.high if price in (bar.high, bar.low) else bool(rng.random() < 0.5) for price in prices]
    choices = product((False, True), repeat=len(prices))
    return sorted(choices, key=lambda sides: sum(map(operator.ne, sides, natural)))


def _numbers_of_buyers(bar: BarFigures, free: int, *, buying: int, selling: int) -> list[int]:
    """Possible numbers of free buying records beside these anchors; none where the volumes do not suffice."""
    bought, sold = bar.taker_buy_volume, bar.volume - bar.taker_buy_volume
    # Every record takes a lot, and a side with volume needs a record.
    lowest = max(free - (sold - selling), int(bought > 0 and not buying), 0)
    highest = min(bought - buying, free - int(sold > 0 and not selling))
    if lowest > highest or buying > bought or selling > sold:
        return []
    ideal = round(free * bought / bar.volume)
    if free <= 3:
        return sorted(range(lowest, highest + 1), key=lambda buyers: abs(buyers - ideal))
    if bought and sold:
        # A side needs two free records to settle its quote volume exactly.
        ideal = min(max(ideal, 2), free - 2)
    return [min(max(ideal, lowest), highest)]


def _fit_both_sides(bar: BarFigures, path: Integers, anchored: Booleans, buys: Booleans, weights: Floats) -> _Fitted:
    prices, sizes, error = path.copy(), np.zeros_like(path), 0
    buying = (bar.taker_buy_volume, bar.taker_buy_quote_volume)
    selling = (bar.volume - buying[0], bar.quote_volume - buying[1])
    for side, (volume, quote) in ((buys, buying), (~buys, selling)):
        if not side.any():
            error += abs(quote)
            continue
        sizes[side] = _sizes(volume, anchored[side], weights[side])
        prices[side] = _warped(prices[side], sizes[side], ~anchored[side], quote, bar)
        ledger = QuoteBalance(prices[side], sizes[side], quote=quote, low=bar.low, high=bar.high)
        ledger.settle(np.flatnonzero(~anchored[side]).tolist())
        prices[side], sizes[side] = ledger.prices, ledger.sizes
        error += abs(ledger.short)
    return _Fitted(prices, sizes, buys, error)


def _sizes(volume: int, anchored: Booleans, weights: Floats) -> Integers:
    """Lots of one side's records, at least one each; anchors take one lot while there is a free record."""
    sharing = anchored if anchored.all() else ~anchored
    sizes = np.ones(len(anchored), dtype=np.int64)
    sizes[sharing] += _share_out(volume - len(anchored), weights[sharing])
    return sizes


def _warped(prices: Integers, sizes: Integers, free: Booleans, quote: int, bar: BarFigures) -> Integers:
    """Free prices moved towards high or low until the quote volume fits, up to rounding to ticks.

    The two largest free records come out one tick apart, unless all trade at the high or all at the low: they absorb
    the rounding.
    """
    pair = _two_largest(sizes, np.flatnonzero(free))
    prices = prices.copy()
    prices[pair] = prices[pair[:1]]
    short = quote - int(prices @ sizes)
    goal = bar.high if short > 0 else bar.low
    way = np.where(free, goal - prices, 0)
    room = int(way @ sizes)
    if room:
        prices += np.rint(way * min(1.0, short / room)).astype(np.int64)
    volume = int(sizes.sum())
    if len(pair) == 2 and bar.low * volume < quote < bar.high * volume:
        prices[pair[1]] += 1 if prices[pair[1]] < bar.high else -1
    return prices


def _two_largest(sizes: Integers, free: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    return free[np.argsort(-sizes[free], kind="stable")[:2]]


def _share_out(total: int, weights: Floats) -> Integers:
    """``total`` in whole parts roughly proportional to ``weights``; the parts add up to it."""
    edges = np.floor(np.cumsum(weights) * (total / weights.sum())).astype(np.int64)
    edges[-1] = total
    parts: Integers = np.diff(edges, prepend=0)
    return parts


def _spread(moments: Floats) -> Floats:
    """Sorted random moments stretched from just after the open to just before the close."""
    span = moments[-1] - moments[0]
    if span == 0:
        return np.full(len(moments), _FIRST_MOMENT)
    stretched: Floats = _FIRST_MOMENT + (_LAST_MOMENT - _FIRST_MOMENT) * (moments - moments[0]) / span
    return stretched
