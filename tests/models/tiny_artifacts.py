"""Tiny trained artifacts, each trained once per test run."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from models.specification import TrainingSpec
from tests.models.synthetic import garch_bars

HORIZONS = (1, 3)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
BARS = 1500


def tiny_spec(folder: Path, **changes: object) -> TrainingSpec:
    """A specification that trains in about a second; writes its data file."""
    folder.mkdir(parents=True, exist_ok=True)
    data_file = folder / "bars.parquet"
    if not data_file.exists():
        garch_bars(BARS).write_parquet(data_file)
    given = {"horizons": HORIZONS, "levels": LEVELS, "preset": "small", "epochs": 1, "device": "cpu", "threads": 1}
    return TrainingSpec(data_file=data_file, output_dir=folder / "artifacts", **(given | changes))  # type: ignore[arg-type]


def trained_once(kind: str, folders: pytest.TempPathFactory) -> Path:
    """The folder of an artifact of ``tiny_spec``, which all processes of a test run share: read it, or copy it."""
    from models.train import train

    own = folders.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / f"trained-{kind}"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = sorted((shared / "artifacts").glob("[!.]*"))
        return made[0] if made else train(tiny_spec(shared, kind=kind))
