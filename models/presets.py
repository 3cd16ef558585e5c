"""How each preset shapes and trains a network: plain records, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """One preset of the attention LSTM."""

    hidden: int  # width of each LSTM layer
    layers: int  # LSTM layers
    widths: tuple[int, ...]  # layers between the weighted sum of hours and the heads
    dropout: float  # between LSTM layers and before the heads
    epochs: int  # at most
    patience: int  # epochs without a better validation loss before training stops
    batch_size: int  # windows per step
    learning_rate: float  # of AdamW, warmed up over the first epoch and annealed to a tenth by a cosine
    weight_decay: float  # of AdamW
    stride: int  # an epoch sees one window in this many, another one each time


RECIPES = {
    # The CPU's default: about 20 times as fast as the reference, for the demo and small machines.
    "small": Recipe(
        hidden=64,
        layers=1,
        widths=(64, 32),
        dropout=0.1,
        epochs=8,
        patience=2,
        batch_size=256,
        learning_rate=0.002,
        weight_decay=0.01,
        stride=3,
    ),
    "reference": Recipe(
        hidden=256,
        layers=3,
        widths=(128, 64),
        dropout=0.2,
        epochs=150,
        patience=12,
        batch_size=128,
        learning_rate=0.001,
        weight_decay=0.01,
        stride=1,
    ),
}


def choose_recipe(preset: str, *, on_gpu: bool) -> tuple[str, Recipe]:
    """The preset's name and recipe, ``auto`` resolved. Raises KeyError for an unknown preset."""
    name = ("reference" if on_gpu else "small") if preset == "auto" else preset
    return name, RECIPES[name]
