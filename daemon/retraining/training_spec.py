"""The specification of a training run, made from the configuration."""

from __future__ import annotations

from pathlib import Path

from daemon.config import Config
from models.artifacts.registry import Registry
from models.overrides import Overrides
from models.specification import TrainingSpec


def training_spec(
    config: Config, data_file: Path, registry: Registry, parent: str | None, *, kind: str | None = None
) -> TrainingSpec:
    """The configured training over ``data_file``, or that of another network where ``kind`` names one.

    parent: id of the model that the run replaces. Raises ValueError for a kind that is not trained.
    """
    model = config.model
    # Preset and overrides belong to the configured network: another one may not have them.
    overrides = model.overrides if kind in {None, model.kind} else ()
    kind, preset = (model.kind, model.preset) if kind in {None, model.kind} else (kind, "auto")
    return TrainingSpec(
        data_file=data_file,
        output_dir=registry.artifacts_dir,
        kind=kind,
        preset=preset,
        overrides=Overrides.parse(overrides),
        interval_us=config.bars.interval_us,
        horizons=model.horizons,
        levels=model.quantiles,
        window=config.features.window,
        device=model.device,
        parent=parent,
    )
