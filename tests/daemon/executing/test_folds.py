"""A walk-forward is the same to the last bit whichever engine does its folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daemon.executing.local import Processes
from models.evaluation.outcomes import Outcomes
from models.evaluation.walkforward import FoldTask, Step, fold_tasks, walk_forward
from tests.models.evaluation.test_walkforward import BARS, SETTINGS, folds


def equal(ours: Outcomes, theirs: Outcomes) -> None:
    """Every array the same, bit for bit."""
    np.testing.assert_array_equal(ours.close_time_us, theirs.close_time_us)
    np.testing.assert_array_equal(ours.returns, theirs.returns)
    np.testing.assert_array_equal(ours.variances, theirs.variances)
    assert ours.answers.keys() == theirs.answers.keys()
    for kind, answers in ours.answers.items():
        np.testing.assert_array_equal(answers.quantiles, theirs.answers[kind].quantiles)
        np.testing.assert_array_equal(answers.volatility, theirs.answers[kind].volatility)


def tasks() -> list[FoldTask]:
    """Two folds with a network, which would differ if anything did."""
    settings = replace(SETTINGS, preset="small", device="cpu", epochs=1)
    return fold_tasks(BARS, folds(2), ("lstm",), settings)


@pytest.mark.long
@pytest.mark.slow
def test_processes_give_what_map_gives() -> None:
    """A network included; both folds report their steps to the end."""
    steps: dict[int, list[Step]] = {0: [], 1: []}
    spread = walk_forward(
        tasks(),
        mapper=lambda work, given: Processes(2).map(
            work, list(given), on_step=lambda index, step: steps[index].append(step)
        ),
    )
    equal(spread, walk_forward(tasks()))
    for index, reported in steps.items():
        assert {step.fold for step in reported} == {index}
        assert reported[-1].ratio == 1.0
        assert any(step.training is not None for step in reported)
