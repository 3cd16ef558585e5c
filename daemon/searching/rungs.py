"""Successive halving: the rungs of a search, and which trials survive each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

STRATEGIES = ("halving", "random")
PRESETS_TRIAL = 0
"""The preset as it is; it goes to the end, so that every other can be compared with it."""


class Rung(NamedTuple):
    """``trials`` of them are judged on ``folds`` folds each, those of the rung before included."""

    trials: int
    folds: int


def rungs(strategy: str, *, trials: int, folds: int) -> tuple[Rung, ...]:
    """Halving (K. Jamieson, A. Talwalkar, AISTATS 2016): half of the trials, rounded up, go on to twice the folds.

    With N trials and four folds N are judged on one, N/2 on two and N/4 on all four: half of the work of judging all
    on all. Folds that were done are not done again.
    """
    if strategy == "random":
        return (Rung(trials, folds),)
    steps = math.ceil(math.log2(folds)) if folds > 1 else 0
    return tuple(Rung(math.ceil(trials / 2**step), min(2**step, folds)) for step in range(steps + 1))


def survivors(ranked: Sequence[int], count: int) -> list[int]:
    """The first ``count`` of the trials' numbers, best first, and always the preset's own trial."""
    kept = list(ranked[:count])
    return kept if PRESETS_TRIAL in kept or PRESETS_TRIAL not in ranked else [*kept, PRESETS_TRIAL]
