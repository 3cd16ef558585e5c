"""Settles the last units of a quote volume: moves lots and whole ticks until prices times sizes add up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

_FEW = 6  # records of which every two are tried together


class QuoteBalance:
    """One side's prices and sizes; ``short`` is ``quote`` minus the sum of their products."""

    def __init__(
        self, prices: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], *, quote: int, low: int, high: int
    ) -> None:
        self.prices: list[int] = prices.tolist()
        self.sizes: list[int] = sizes.tolist()
        self._low, self._high = low, high
        self.short = quote - sum(price * size for price, size in zip(self.prices, self.sizes, strict=True))

    def settle(self, free: list[int]) -> None:
        """Brings ``short`` to 0 or near it; only records in ``free`` change their price."""
        by_size = sorted(free, key=lambda at: -self.sizes[at])
        pair = by_size[:2] if len(by_size) > 1 else []
        # The pair can give as many units as the smaller of the two has lots to spare.
        enough = self.sizes[pair[1]] - 1 if pair else 0
        for at in by_size[2:] or by_size[:1]:
            if abs(self.short) <= enough:
                break
            self._move_price(at)
        self._move_lots_between(pair)
        if self.short:
            for two in self._pairs():
                self._move_lots_between(two)
        if self.short and len(self.prices) <= _FEW:
            for at in free:
                for other in range(len(self.prices)):
                    if other != at and self.short:
                        self._reprice(at, other)

    def _move_price(self, at: int) -> None:
        ticks = abs(self.short) // self.sizes[at]
        room = self._high - self.prices[at] if self.short > 0 else self.prices[at] - self._low
        step = min(ticks, room) * (1 if self.short > 0 else -1)
        self.prices[at] += step
        self.short -= step * self.sizes[at]

    def _reprice(self, at: int, other: int) -> None:
        """The price of one record, and the lots that it and another share, that together come nearest."""
        lots, beside = self.sizes[at] + self.sizes[other], self.prices[other]
        wanted = self.short + self.prices[at] * self.sizes[at] + beside * self.sizes[other]
        prices = np.arange(self._low, self._high + 1)
        prices = prices[prices != beside]
        if lots < 2 or not len(prices):
            return
        floor = (wanted - beside * lots) // (prices - beside)
        sizes = np.clip(np.stack([floor, floor + 1]), 1, lots - 1)  # (2, P)
        short = wanted - prices * sizes - beside * (lots - sizes)
        best = np.unravel_index(np.abs(short).argmin(), short.shape)
        if abs(short[best]) < abs(self.short):
            self.short = int(short[best])
            self.prices[at], self.sizes[at] = int(prices[best[1]]), int(sizes[best])
            self.sizes[other] = lots - self.sizes[at]

    def _pairs(self) -> list[Sequence[int]]:
        """Pairs to move lots between, from the largest price difference to the smallest."""
        by_price = sorted(range(len(self.prices)), key=self.prices.__getitem__)
        ends = (by_price[0], by_price[-1])
        pairs = combinations(by_price, 2) if len(by_price) <= _FEW else product(ends, by_price)
        return sorted(pairs, key=lambda two: -abs(self.prices[two[0]] - self.prices[two[1]]))

    def _move_lots_between(self, two: Sequence[int]) -> None:
        """Moves the necessary lots, or all there are, from one of the two records to the other."""
        if len(two) < 2 or self.short == 0:
            return
        left, right = two
        gives, takes = (left, right) if (self.prices[left] < self.prices[right]) == (self.short > 0) else (right, left)
        gap = abs(self.prices[left] - self.prices[right])
        if gap == 0:
            return
        lots = min(abs(self.short) // gap, self.sizes[gives] - 1)
        self.sizes[gives] -= lots
        self.sizes[takes] += lots
        self.short -= lots * gap * (1 if self.short > 0 else -1)
