"""The search itself: rung by rung, each trial's missing folds, then the ranking."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from daemon.executing.base import Executor
from daemon.searching.plan import SearchPlan
from daemon.searching.rungs import survivors
from daemon.searching.trials import Trials
from models.evaluation.objective import Metric, objective
from models.evaluation.outcomes import Outcomes
from models.evaluation.skill import Estimate
from models.evaluation.walkforward import Step, evaluate_fold
from models.overrides import Overrides


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A trial, its number of judged folds, and its metric beside the baselines' on the same targets."""

    trial: int
    overrides: Overrides
    folds: int
    value: Estimate
    har: Estimate
    random_walk: Estimate


@dataclass(frozen=True, slots=True)
class Piece:
    """One fold of one trial, which is one task."""

    trial: int
    fold: int


@dataclass(frozen=True, slots=True)
class Listener:
    """Callbacks: the missing pieces of a rung, the progress of one, its end, its loss."""

    planned: Callable[[list[Piece]], None]
    step: Callable[[int, Step], None]
    done: Callable[[int], None]
    lost: Callable[[int, str], None]


def run_search(plan: SearchPlan, trials: Trials, executor: Executor, listener: Listener) -> list[TrialResult]:
    """All trials, best first: those judged on more folds come before the others.

    Raises ValueError where a trial cannot be fitted, or has too few targets to be judged by; see ``Executor.map``.
    """
    # The newest hours first: they are most like those to come, and their trainings have the most history.
    order = [fold.index for fold in reversed(plan.backtest.folds)]
    numbers = list(range(plan.trials))
    results: dict[int, TrialResult] = {}
    for rung in plan.rungs:
        numbers = survivors(numbers, rung.trials)
        folds = order[: rung.folds]
        _do_missing(plan, trials, [Piece(trial, fold) for trial in numbers for fold in folds], executor, listener)
        for trial in numbers:
            results[trial] = _trial_result(plan, trials, trial, folds)
        numbers = [each.trial for each in ranked([results[trial] for trial in numbers], plan.metric)]
    return ranked(list(results.values()), plan.metric)


def ranked(results: list[TrialResult], metric: Metric) -> list[TrialResult]:
    """More folds first, then the better figure; one without a figure last."""

    def place(result: TrialResult) -> tuple[int, float, int]:
        value = result.value.value
        worse = math.inf if math.isnan(value) else -value if metric.higher_is_better else value
        return -result.folds, worse, result.trial

    return sorted(results, key=place)


def _do_missing(plan: SearchPlan, trials: Trials, pieces: list[Piece], executor: Executor, listener: Listener) -> None:
    missing = [piece for piece in pieces if not trials.has(piece.trial, piece.fold)]
    listener.planned(missing)
    folds = plan.tasks()

    def keep(index: int, outcomes: Outcomes) -> None:
        trials.add(missing[index].trial, missing[index].fold, outcomes)
        listener.done(index)

    executor.map(
        evaluate_fold,
        [plan.task(folds[piece.fold], piece.trial) for piece in missing],
        on_step=listener.step,
        on_done=keep,
        on_lost=listener.lost,
    )


def _trial_result(plan: SearchPlan, trials: Trials, trial: int, folds: list[int]) -> TrialResult:
    outcomes = trials.outcomes(trial, folds)
    value, har, walk = (objective(outcomes, kind, plan.metric) for kind in (plan.kind, "har", "random_walk"))
    result = TrialResult(trial, plan.overrides(trial), len(folds), value, har, walk)
    trials.note(
        trial,
        {
            "trial": trial,
            "set": result.overrides.given,
            "folds": sorted(folds),
            "metric": plan.metric_name,
            "value": None if math.isnan(value.value) else {"value": value.value, "se": value.standard_error},
        },
    )
    return result
