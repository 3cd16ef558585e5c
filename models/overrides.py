"""Overrides: single hyper-parameters that replace a preset's for one run, set by a search or a person.

The only definition of which values can be set, of which type, and within which bounds. Importable without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from models.presets import PRESETS, Preset

HIDDEN_STEP = 8
"""Widths must be multiples of it, so that the attention heads divide them evenly."""
_OF_RECIPES = ("learning_rate", "weight_decay", "batch_size")
_OF_SHAPES = ("hidden", "layers", "dropout")  # those that the shape of the kind has
_OF_TREES = ("learning_rate", "num_leaves", "min_data_in_leaf", "feature_fraction", "lambda_l2")


class _Bounds(NamedTuple):
    number: type[int] | type[float]
    low: float
    high: float


_BOUNDS: Mapping[str, _Bounds] = {
    "learning_rate": _Bounds(float, 1e-7, 1.0),
    "weight_decay": _Bounds(float, 0.0, 10.0),
    "batch_size": _Bounds(int, 1, 65_536),
    "hidden": _Bounds(int, HIDDEN_STEP, 4096),
    "layers": _Bounds(int, 1, 32),
    "dropout": _Bounds(float, 0.0, 0.9),
    "num_leaves": _Bounds(int, 2, 4096),
    "min_data_in_leaf": _Bounds(int, 1, 1_000_000),
    "feature_fraction": _Bounds(float, 0.01, 1.0),
    "lambda_l2": _Bounds(float, 0.0, 1e6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Values that replace the preset's; None keeps the preset's, or for LightGBM those in ``boosted_trees``.

    learning_rate: of AdamW, or the shrinkage of each tree. weight_decay: of AdamW. batch_size: windows per step.
    hidden, layers, dropout: fields of the kind's configuration. The rest are LightGBM's own parameters.
    """

    learning_rate: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    hidden: int | None = None
    layers: int | None = None
    dropout: float | None = None
    num_leaves: int | None = None
    min_data_in_leaf: int | None = None
    feature_fraction: float | None = None
    lambda_l2: float | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The values that are set, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        """``learning_rate=0.001 dropout=0.2``: the texts that ``parse`` reads, separated by spaces."""
        return " ".join(f"{name}={value:g}" for name, value in self.given.items())

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Overrides:
        """Parses texts like ``dropout=0.2``. Raises ValueError for another name or a value out of bounds."""
        values: dict[str, Any] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"was {text!r}; write NAME=VALUE, e.g. dropout=0.2")
            if name not in _BOUNDS:
                raise ValueError(f"there is no {name!r} to set; there are {', '.join(_BOUNDS)}")
            values[name] = _number(name, value)
        return cls(**values)

    def check(self, kind: str) -> None:
        """Raises ValueError if a value is set that ``kind`` does not have, or is out of bounds."""
        can = settable(kind)
        for name, value in self.given.items():
            if name not in can:
                has = f"has {', '.join(can)}" if can else "has nothing that can be set"
                raise ValueError(f"{name} is set, but {kind} {has}")
            _number(name, str(value))

    def applied(self, preset: Preset) -> Preset:
        """The preset with these values in place of its own."""
        recipe = {name: value for name, value in self.given.items() if name in _OF_RECIPES}
        shape = {name: value for name, value in self.given.items() if name in preset.shape}
        return Preset({**preset.shape, **shape}, replace(preset.recipe, **recipe))


PRESETS_OWN = Overrides()
"""No overrides: the preset is used as it is."""


def settable(kind: str) -> tuple[str, ...]:
    """The names that can be set for a kind; none for a baseline without hyper-parameters."""
    if kind == "lightgbm":
        return _OF_TREES
    if kind not in PRESETS:
        return ()
    shape = next(iter(PRESETS[kind].values())).shape
    return (*_OF_RECIPES, *(name for name in _OF_SHAPES if name in shape))


def _number(name: str, text: str) -> float | int:
    number, low, high = _BOUNDS[name]
    try:
        value = number(text)
    except ValueError:
        raise ValueError(f"{name} was {text!r}, must be {'a whole' if number is int else 'a'} number") from None
    if not low <= value <= high:
        raise ValueError(f"{name} was {text}, must be from {low:g} to {high:g}")
    if name == "hidden" and value % HIDDEN_STEP:
        raise ValueError(f"hidden was {text}, must be a multiple of {HIDDEN_STEP}")
    return value
