"""Folds of an evaluation that wait for a file, as work for engines."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from models.evaluation.outcomes import Outcomes
from models.evaluation.walkforward import FoldTask, Step, evaluate_fold


class GatedFold(NamedTuple):
    """A fold that is held back until ``gate`` is there."""

    task: FoldTask
    gate: Path


def evaluate_gated(gated: GatedFold, *, on_step: Callable[[Step], None]) -> Outcomes:
    """Reports that it has begun, waits, and does the fold."""
    on_step(Step(gated.task.fold.index, "waiting", 0.0))
    while not gated.gate.exists():
        time.sleep(0.05)
    return evaluate_fold(gated.task, on_step=on_step)
