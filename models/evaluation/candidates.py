"""Candidates: fits any kind of forecaster, baseline or network, on a frame of bars as a retraining would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from models.baselines import BoostedTrees, Ewma, Garch, Har, RandomWalk, Reversal
from models.forecast import Forecaster, ForecastInput
from models.overrides import PRESETS_OWN, Overrides
from models.specification import DEFAULT_HORIZONS, DEFAULT_LEVELS, NETWORK_KINDS, Progress, TrainingSpec

ALWAYS = ("random_walk", "reversal", "har")
"""The baselines that every evaluation includes."""
RIVALS = (*ALWAYS, "ewma", "garch", "lightgbm")
"""All baselines; those that need an optional package come last."""
_WALKS: dict[str, type[RandomWalk | Reversal]] = {"random_walk": RandomWalk, "reversal": Reversal}
_FITTED: dict[str, type[Har | Ewma | Garch]] = {"har": Har, "ewma": Ewma, "garch": Garch}
_EXTRAS = {"garch": "arch", "lightgbm": "lightgbm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a fit. preset, device, epochs, seed, seeds: as in ``TrainingSpec``, for networks.

    overrides: by kind, values that replace its preset's. keep_in: folder in which trained networks are kept, so that a
    run that was interrupted need not train them again; None keeps none.
    """

    interval_us: int
    horizons: tuple[int, ...] = DEFAULT_HORIZONS
    levels: tuple[float, ...] = DEFAULT_LEVELS
    window: int = 48
    preset: str = "auto"
    device: str = "auto"
    epochs: int | None = None
    seed: int = 0
    seeds: int = 1
    threads: int = 1
    overrides: Mapping[str, Overrides] = field(default_factory=dict)
    keep_in: Path | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fitted forecaster, and the features of the window that it needs; None if it needs no window.

    rejection_reason: why an input cannot be forecast, None if it can; without it, the forecaster raises ValueError.
    """

    forecaster: Forecaster
    feature_names: tuple[str, ...] | None = None
    rejection_reason: Callable[[ForecastInput], str | None] | None = None


def known_kinds() -> tuple[str, ...]:
    """Every kind that ``fit`` supports."""
    return (*NETWORK_KINDS, *RIVALS)


def installed_rivals() -> tuple[str, ...]:
    """The baselines whose packages are installed."""
    return tuple(kind for kind in RIVALS if is_installed(kind))


def is_installed(kind: str) -> bool:
    """False for a baseline whose optional package is not installed."""
    return kind not in _EXTRAS or find_spec(_EXTRAS[kind]) is not None


def fit(
    kind: str, bars: pl.DataFrame, settings: Settings, *, on_progress: Callable[[Progress], None] = lambda _: None
) -> Candidate:
    """Fits one kind on ``bars``.

    Raises ValueError for an unknown kind, a package that is not installed, or too few bars; a network raises also what
    ``models.train.train`` does.
    """
    if kind in NETWORK_KINDS:
        return _network(kind, bars, settings, on_progress)
    interval_us, horizons, levels = settings.interval_us, settings.horizons, settings.levels
    if kind in _WALKS:
        return Candidate(_WALKS[kind](horizons, levels))
    if kind in _FITTED:
        return Candidate(_FITTED[kind].fit(bars, interval_us=interval_us, horizons=horizons, levels=levels))
    if kind == "lightgbm":
        trees = BoostedTrees.fit(
            bars,
            interval_us=interval_us,
            horizons=horizons,
            levels=levels,
            seed=settings.seed,
            threads=settings.threads,
            shape=settings.overrides.get(kind, PRESETS_OWN).given,
        )
        return Candidate(trees, trees.feature_names)
    raise ValueError(f"there is no kind {kind!r}; there are {', '.join(known_kinds())}")


def _network(kind: str, bars: pl.DataFrame, settings: Settings, on_progress: Callable[[Progress], None]) -> Candidate:
    """Trains on the bars, or finds the artifact of an equal earlier run, and loads it as the daemon would."""
    with TemporaryDirectory(prefix="forecastd-training-") as folder:
        spec = TrainingSpec(
            data_file=Path(folder) / "bars.parquet",
            output_dir=Path(folder) / "artifacts",
            kind=kind,
            preset=settings.preset,
            overrides=settings.overrides.get(kind, PRESETS_OWN),
            interval_us=settings.interval_us,
            horizons=settings.horizons,
            levels=settings.levels,
            window=settings.window,
            seed=settings.seed,
            seeds=settings.seeds,
            device=settings.device,
            epochs=settings.epochs,
            threads=settings.threads,
        )
        bars.write_parquet(spec.data_file)
        if settings.keep_in is not None:
            spec = replace(spec, output_dir=settings.keep_in / _digest(spec))
        return _load(_trained(spec, on_progress), settings.device)


def _trained(spec: TrainingSpec, on_progress: Callable[[Progress], None]) -> Path:
    from models.train import train  # noqa: PLC0415  # torch is needed for networks only

    # A half-written artifact has a name that begins with a dot.
    kept = sorted(path for path in spec.output_dir.glob("[!.]*") if path.is_dir())
    return kept[0] if kept else train(spec, on_progress=on_progress)


def _load(artifact: Path, device: str) -> Candidate:
    from models.networks.network_forecaster import NetworkForecaster  # noqa: PLC0415  # torch is needed for networks only

    forecaster = NetworkForecaster.load(artifact, device=device)
    return Candidate(forecaster, forecaster.manifest.feature_names, forecaster.rejection_reason)


def _digest(spec: TrainingSpec) -> str:
    """Name of a run: a hash of its data and its specification, the paths of its files excepted."""
    without_paths = replace(spec, data_file=Path("bars"), output_dir=Path("artifacts"))
    content = without_paths.to_json().encode() + spec.data_file.read_bytes()
    return f"{spec.kind}-{hashlib.sha256(content).hexdigest()[:12]}"
