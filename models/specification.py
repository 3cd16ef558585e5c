"""Specification and progress of a training run: plain records, importable without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from models.overrides import PRESETS_OWN, Overrides
from models.presets import PRESETS

DEFAULT_HORIZONS = (1, 2, 3, 6, 12, 24)
DEFAULT_LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
DEFAULT_KIND = "attention_lstm"
NETWORK_KINDS = tuple(PRESETS)
BASELINE_KINDS = ("har", "ewma", "random_walk")
PRESET_NAMES = ("auto", *dict.fromkeys(name for presets in PRESETS.values() for name in presets))
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """One training run. On the CPU the same specification, data and thread count give the same weights.

    The exception is a run that ``time_budget_s`` cuts short, because where it stops depends on the machine.
    """

    data_file: Path  # Parquet of bars or klines, or a folder of them (models.training.bars_file)
    output_dir: Path  # the finished artifact appears here as one folder
    kind: str = DEFAULT_KIND
    preset: str = "auto"  # small on the CPU, reference on CUDA
    overrides: Overrides = PRESETS_OWN  # values that replace the preset's
    interval_us: int = _HOUR_US
    horizons: tuple[int, ...] = DEFAULT_HORIZONS  # in bars, ascending
    levels: tuple[float, ...] = DEFAULT_LEVELS  # quantile levels, ascending
    window: int = 48  # bars that the network reads
    symbols: tuple[str, ...] = ()  # those of the data to use; empty: all
    seed: int = 0
    seeds: int = 1  # networks trained, from ``seed`` on; their average is kept if it beats the best of them
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    epochs: int | None = None  # None: the preset's
    time_budget_s: float | None = None  # wall time for the whole run; None: no limit
    threads: int | None = None  # torch's threads on the CPU; None: all cores but one
    parent: str | None = None  # id of the artifact that this one should replace
    run_dir: Path | None = None  # folder of checkpoints, from which a killed run resumes; None: no checkpoints

    def __post_init__(self) -> None:
        if self.kind not in NETWORK_KINDS:
            raise ValueError(f"kind was {self.kind!r}; what can be trained is {', '.join(NETWORK_KINDS)}")
        presets = ("auto", *PRESETS[self.kind])
        if self.preset not in presets:
            raise ValueError(f"preset was {self.preset!r}; {self.kind} has {', '.join(presets)}")
        self.overrides.check(self.kind)
        if self.seeds < 1:
            raise ValueError(f"seeds was {self.seeds}, must be at least 1")
        for name, values in (("horizons", self.horizons), ("levels", self.levels)):
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"{name} were {values}, must be ascending and not empty")

    def to_json(self) -> str:
        """A JSON object; ``from_json`` reads it back."""
        return json.dumps(asdict(self), default=str)  # paths are the only values that JSON lacks

    @classmethod
    def from_json(cls, text: str) -> TrainingSpec:
        """The inverse of ``to_json``. Raises ValueError for any other text."""
        given = json.loads(text)
        unknown = set(given) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown keys in the training specification: {', '.join(sorted(unknown))}")
        for name in ("horizons", "levels", "symbols"):
            if name in given:
                given[name] = tuple(given[name])
        if "overrides" in given:
            given["overrides"] = Overrides(**given["overrides"])
        for name in ("data_file", "output_dir", "run_dir"):
            if given.get(name) is not None:
                given[name] = Path(given[name])
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a training run. ``ratio`` runs from 0 to 1 over the whole run.

    phase: "features", "training", "scoring" or "done". epoch counts from 1; losses are in units of the window's scale.
    Losses and ``remaining_s``, an estimate, are None before they are known.
    """

    phase: str
    ratio: float
    elapsed_s: float
    epoch: int = 0
    epochs: int = 0
    train_loss: float | None = None
    validation_loss: float | None = None
    remaining_s: float | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """The inverse of ``to_json``."""
        given: Mapping[str, Any] = json.loads(text)
        return cls(**given)
