"""Bounds of an uncertain time, and where most of several bounds overlap (Marzullo's algorithm). No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Bounds(NamedTuple):
    """The lowest and the highest possible value, both included, in microseconds."""

    low_us: int
    high_us: int

    @property
    def middle_us(self) -> int:
        return (self.low_us + self.high_us) // 2

    def overlap(self, other: Bounds) -> Bounds | None:
        """The values within both bounds; None where there are none."""
        low_us, high_us = max(self.low_us, other.low_us), min(self.high_us, other.high_us)
        return Bounds(low_us, high_us) if low_us <= high_us else None

    def nearest_to(self, value_us: int) -> int:
        """The value within the bounds that is nearest to ``value_us``."""
        return min(max(value_us, self.low_us), self.high_us)


class Overlap(NamedTuple):
    """The values within the highest number of bounds; ``members`` are the indexes of those bounds."""

    bounds: Bounds
    members: tuple[int, ...]


def widest_agreement(bounds: Sequence[Bounds], *, near_us: int) -> Overlap | None:
    """The overlap of as many ``bounds`` as possible, of several the one nearest to ``near_us``; None without bounds."""
    best: Overlap | None = None
    best_rank = (0, 0)
    for low_us in {each.low_us for each in bounds}:
        members = tuple(index for index, each in enumerate(bounds) if each.low_us <= low_us <= each.high_us)
        overlap = Bounds(low_us, min(bounds[index].high_us for index in members))
        rank = (len(members), -abs(overlap.nearest_to(near_us) - near_us))
        if best is None or rank > best_rank:
            best, best_rank = Overlap(overlap, members), rank
    return best
