"""Assembles an artifact from a trained network and its training data: manifest, scores and golden windows."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from features.catalogue import schema_hash
from models.artifacts.artifact import Artifact, Manifest, Tensors, weights_digest
from models.evaluation.scoring import scores
from models.networks.builder import parameter_count
from models.networks.ensemble import Ensemble
from models.networks.network import Network
from models.specification import TrainingSpec
from models.training.batches import WindowTensors, predict
from models.training.dataset import TrainingData

_GOLDEN_WINDOWS = 3


def assemble(
    spec: TrainingSpec,
    data: TrainingData,
    *,
    preset: str,
    windows: WindowTensors,
    network: Network | Ensemble,
    training: Mapping[str, Any],
) -> Artifact:
    """``preset``: the name that ``spec.preset`` came to. ``training``: how it was trained, JSON values."""
    chosen = data.split.validation
    quantiles, log_sigma = predict(network, windows, chosen)
    measured = scores(
        data, chosen=chosen, quantiles=quantiles, log_sigma=log_sigma, horizons=spec.horizons, levels=spec.levels
    )
    weights = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
    oldest_us = min(int(recent.close_time_us[0]) for recent in data.histories.values()) - spec.interval_us
    newest_us = max(int(recent.close_time_us[-1]) for recent in data.histories.values())
    symbols = tuple(f"{venue}:{symbol}" for venue, symbol in data.series)
    manifest = Manifest(
        id=f"{spec.kind}-{newest_us // 1_000_000}-{weights_digest(weights)}",
        kind=spec.kind,
        preset=preset,
        feature_names=data.feature_names,
        schema_hash=schema_hash(data.feature_names, symbols),
        interval_us=spec.interval_us,
        horizons=spec.horizons,
        levels=spec.levels,
        window=spec.window,
        symbols=symbols,
        network=asdict(network.config),
        data_from_us=oldest_us,
        fitted_until_us=data.split.cut_us,
        trained_until_us=newest_us,
        scores=measured,
        training={**training, "parameters": parameter_count(network)},
        seed=spec.seed,
        parent=spec.parent,
        versions=_versions(),
    )
    return Artifact(
        manifest=manifest,
        weights=weights,
        scaler=json.loads(data.scaler.to_json()),
        har=data.har.to_json(),
        golden=_golden(windows, chosen, network),
    )


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "polars": pl.__version__,
    }


def _golden(windows: WindowTensors, chosen: npt.NDArray[np.int64], network: Network | Ensemble) -> Tensors:
    """A few windows and the network's output for them, for the parity check when the artifact is loaded."""
    picked = chosen[np.linspace(0, len(chosen) - 1, _GOLDEN_WINDOWS).astype(np.int64)]
    given = windows.gather(torch.from_numpy(picked).to(windows.device))
    quantiles, log_sigma = predict(network, windows, picked)
    inputs = {name: tensor.cpu().numpy() for name, tensor in given._asdict().items()}
    return {**inputs, "quantiles": quantiles, "log_sigma": log_sigma}
