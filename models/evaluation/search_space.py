"""Search space: for a network, values around those of its preset; for LightGBM, ranges of its main parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from models.overrides import HIDDEN_STEP, PRESETS_OWN, Overrides, settable
from models.presets import Preset

_DIGITS = 3  # significant, of drawn values, so that the printed value is exactly the value tried


class Dimension(Protocol):
    """The values of one hyper-parameter."""

    def draw(self, random: np.random.Generator) -> float | int: ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Any number from ``low`` to ``high``."""

    low: float
    high: float

    def draw(self, random: np.random.Generator) -> float:
        return _rounded(random.uniform(self.low, self.high))


@dataclass(frozen=True, slots=True)
class LogUniform:
    """Any number from ``low`` to ``high``, uniform on a logarithmic scale."""

    low: float
    high: float

    def draw(self, random: np.random.Generator) -> float:
        return _rounded(math.exp(random.uniform(math.log(self.low), math.log(self.high))))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some whole numbers."""

    values: tuple[int, ...]

    def draw(self, random: np.random.Generator) -> int:
        return self.values[int(random.integers(len(self.values)))]


_TREES: Mapping[str, Dimension] = {
    "learning_rate": LogUniform(0.02, 0.3),
    "num_leaves": Choice((4, 7, 15, 31, 63)),
    "min_data_in_leaf": Choice((20, 50, 100, 200, 400)),
    "feature_fraction": Uniform(0.2, 1.0),
    "lambda_l2": LogUniform(0.1, 100.0),
}


def space(kind: str, preset: Preset | None) -> dict[str, Dimension]:
    """The dimensions by name, in drawing order. ``preset``: of a network, None for LightGBM.

    Raises ValueError for a kind without hyper-parameters.
    """
    if preset is None:
        if not settable(kind):
            raise ValueError(f"{kind} has no hyper-parameters")
        return dict(_TREES)
    recipe, shape = preset.recipe, preset.shape
    around: dict[str, Dimension] = {
        "learning_rate": LogUniform(recipe.learning_rate / 4.0, recipe.learning_rate * 4.0),
        "weight_decay": LogUniform(recipe.weight_decay / 30.0, recipe.weight_decay * 10.0),
        "batch_size": Choice((recipe.batch_size // 2, recipe.batch_size, recipe.batch_size * 2)),
        "hidden": Choice(_widths(shape["hidden"])),
        "layers": Choice(tuple(sorted({max(1, shape.get("layers", 1) + more) for more in (-1, 0, 1)}))),
        "dropout": Uniform(0.0, 0.4),
    }
    return {name: around[name] for name in settable(kind)}


def drawn(dimensions: Mapping[str, Dimension], number: int, *, seed: int, fixed: Overrides = PRESETS_OWN) -> Overrides:
    """Overrides of trial ``number``: only ``fixed`` for 0, else a draw that depends on seed and number alone."""
    if number == 0:
        return fixed
    random = np.random.default_rng([seed, number])
    values: dict[str, Any] = {name: dimension.draw(random) for name, dimension in dimensions.items()}
    return replace(fixed, **{name: value for name, value in values.items() if name not in fixed.given})


def _widths(hidden: int) -> tuple[int, ...]:
    """Widths from half to double of ``hidden``, as multiples of ``HIDDEN_STEP``."""
    near = (hidden // 2, hidden, hidden * 3 // 2, hidden * 2)
    return tuple(sorted({max(HIDDEN_STEP, width - width % HIDDEN_STEP) for width in near}))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
