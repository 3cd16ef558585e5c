"""Stores a month's outcomes in a file, so that an interrupted run resumes."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from models.evaluation.outcomes import Answers, Outcomes
from models.evaluation.walkforward import FoldTask
from models.presets import PRESETS


def fold_file(folder: Path, task: FoldTask) -> Path:
    """The file of a task, named by all that decides its outcomes but the code: data, fold, kinds, settings, recipes."""
    said = repr((task.fold, task.series, task.kinds, asdict(task.settings) | {"keep_in": None}, PRESETS))
    digest = hashlib.sha256(said.encode() + task.bars.hash_rows(seed=0).to_numpy().tobytes()).hexdigest()
    return folder / f"fold-{task.fold.index + 1:02d}-{digest[:12]}.npz"


def keep(file: Path, outcomes: Outcomes) -> None:
    """Replaces the file atomically."""
    arrays = {
        name: getattr(outcomes, name)
        for name in ("index", "close_time_us", "fold", "log_close", "returns", "variances")
    }
    for kind, answers in outcomes.answers.items():
        arrays |= {f"quantiles {kind}": answers.quantiles, f"volatility {kind}": answers.volatility}
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}")
    with beside.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    beside.replace(file)


def kept(file: Path, task: FoldTask) -> Outcomes | None:
    """The outcomes that ``keep`` wrote of this task, without attention; None where there are none."""
    if not file.exists():
        return None
    with np.load(file) as arrays:
        return Outcomes(
            interval_us=task.settings.interval_us,
            horizons=task.settings.horizons,
            levels=task.settings.levels,
            series=task.series,
            index=arrays["index"],
            close_time_us=arrays["close_time_us"],
            fold=arrays["fold"],
            log_close=arrays["log_close"],
            returns=arrays["returns"],
            variances=arrays["variances"],
            answers={
                kind: Answers(arrays[f"quantiles {kind}"], arrays[f"volatility {kind}"], None) for kind in task.kinds
            },
        )
