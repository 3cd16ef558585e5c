"""Presets of every kind of network, its shape and training recipe: plain records, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    epochs: int  # at most
    patience: int  # early stopping: epochs without a better validation loss before training stops
    batch_size: int  # windows per step
    learning_rate: float  # of AdamW, warmed up over the first epoch and annealed to a tenth by a cosine
    weight_decay: float  # of AdamW
    stride: int  # an epoch uses one window in this many, other ones each time
    average_decay: float = 0.0  # of the exponential moving average of the weights, per step; 0 takes the last weights
    half_life_days: float | None = None  # a window this much older than the newest weighs half; None: all weigh alike


@dataclass(frozen=True, slots=True)
class Preset:
    """A size: ``shape`` holds fields of the kind's config class (models/networks/<kind>.py), ``recipe`` training."""

    shape: Mapping[str, Any]
    recipe: Recipe


def _shortcut(width: int) -> Mapping[str, int]:
    """Shape fields of the shortcut from the newest hour to the heads, with the season."""
    return {"shortcut": width, "day_harmonics": 11, "week_harmonics": 3}


# The CPU's default, for the demo and small machines.
_SMALL = Recipe(
    epochs=8,
    patience=2,
    batch_size=256,
    learning_rate=0.002,
    weight_decay=0.01,
    stride=3,
    average_decay=0.98,
    half_life_days=365.0,
)
# Its skill is documented in docs/skill.md.
_DOCUMENTED = replace(_SMALL, epochs=5, patience=5, batch_size=512, learning_rate=0.004, weight_decay=0.05, stride=1)
_REFERENCE = Recipe(
    epochs=150,
    patience=12,
    batch_size=128,
    learning_rate=0.001,
    weight_decay=0.01,
    stride=1,
    average_decay=0.999,
    half_life_days=365.0,
)
# Attention blocks without recurrence diverge at the LSTMs' learning rate.
_SLOWER = replace(_REFERENCE, batch_size=256, learning_rate=0.0003, weight_decay=0.05)

PRESETS: Mapping[str, Mapping[str, Preset]] = MappingProxyType(
    {
        "lstm": {
            "small": Preset({"hidden": 64, "layers": 1, "widths": (64, 32), "dropout": 0.1, **_shortcut(128)}, _SMALL),
            "reference": Preset(
                {"hidden": 256, "layers": 3, "widths": (128, 64), "dropout": 0.2, **_shortcut(256)}, _REFERENCE
            ),
        },
        "attention_lstm": {
            "small": Preset(
                {"hidden": 32, "layers": 1, "widths": (64, 32), "dropout": 0.3, **_shortcut(256)}, _DOCUMENTED
            ),
            "reference": Preset(
                {"hidden": 256, "layers": 3, "widths": (128, 64), "dropout": 0.2, **_shortcut(256)}, _REFERENCE
            ),
        },
        "transformer": {
            "small": Preset(
                {"hidden": 64, "layers": 2, "feedforward": 128, "widths": (64, 32), "dropout": 0.1, **_shortcut(128)},
                replace(_SMALL, learning_rate=0.001),
            ),
            "reference": Preset(
                {
                    "hidden": 128,
                    "layers": 4,
                    "feedforward": 512,
                    "widths": (128, 64),
                    "dropout": 0.2,
                    **_shortcut(256),
                },
                _SLOWER,
            ),
            "large": Preset(
                {
                    "hidden": 384,
                    "layers": 5,
                    "feedforward": 1536,
                    "widths": (256, 128),
                    "dropout": 0.2,
                    **_shortcut(256),
                },
                _SLOWER,
            ),
        },
        "tft": {
            "small": Preset({"hidden": 32, "variable": 4, "heads": 4, "dropout": 0.1, **_shortcut(128)}, _SMALL),
            "reference": Preset({"hidden": 128, "variable": 8, "heads": 4, "dropout": 0.2, **_shortcut(256)}, _SLOWER),
        },
    }
)


def choose_preset(kind: str, preset: str, *, on_gpu: bool) -> tuple[str, Preset]:
    """The preset's name and the preset, ``auto`` resolved. Raises KeyError for an unknown kind or preset."""
    name = ("reference" if on_gpu else "small") if preset == "auto" else preset
    return name, PRESETS[kind][name]
