"""Walk-forward evaluation: refits on the bars known at a time and forecasts the following ones, as a daemon would.

A fold is one retraining. Its forecasters are fitted on bars up to one label span before its first forecast, and then
forecast at every bar close from the input that a daemon would have had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from features.frames import SERIES_KEYS
from features.labels import label_rows
from models.baselines import Har
from models.evaluation.calibrated_walkforward import with_calibrated
from models.evaluation.candidates import ALWAYS, Candidate, Settings, fit
from models.evaluation.inputs import PastInputs, reach_bars
from models.evaluation.outcomes import Answers, Outcomes, joined
from models.evaluation.splits import Fold
from models.forecast import Forecast, ForecastInput
from models.history import Series
from models.specification import Progress

FloatArray = npt.NDArray[np.float64]
_BATCH = 256  # inputs per call: the windows of one call are in memory together


@dataclass(frozen=True, slots=True, eq=False)
class FoldTask:
    """The work of one fold, self-contained, so that another process can do it.

    bars: from the fold's first training bar to the last outcome. series: those of the whole walk-forward, sorted; one
    listed later has no bars in an early fold. kinds: the forecasters to evaluate.
    """

    bars: pl.DataFrame
    series: tuple[Series, ...]
    fold: Fold
    kinds: tuple[str, ...]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a walk-forward: ``ratio`` runs from 0 to 1 over one fold; ``training`` is that of a network."""

    fold: int
    kind: str
    ratio: float
    training: Progress | None = None


class Evaluation(Protocol):
    """The signature of ``evaluate_fold``: evaluates one task and reports its progress to ``on_step``."""

    def __call__(self, task: FoldTask, /, *, on_step: Callable[[Step], None] = ...) -> Outcomes: ...


def fold_tasks(bars: pl.DataFrame, folds: Sequence[Fold], kinds: Sequence[str], settings: Settings) -> list[FoldTask]:
    """The tasks of a walk-forward over ``bars``; the random walk, reversal and HAR are always among the kinds."""
    names = tuple(dict.fromkeys((*kinds, *ALWAYS)))
    series = tuple(sorted(bars.select(SERIES_KEYS).unique().rows()))
    return [FoldTask(_bars_of(bars, fold, settings), series, fold, names, settings) for fold in folds]


def walk_forward(
    tasks: Iterable[FoldTask],
    *,
    mapper: Callable[[Evaluation, Iterable[FoldTask]], Iterable[Outcomes]] = map,
    conformal: bool = True,
) -> Outcomes:
    """The outcomes of all folds. ``mapper`` may spread them over processes; the result is the same.

    conformal: also compute the forecasts after online calibration.
    Raises ValueError if a forecaster has too little history in a fold.
    """
    outcomes = joined(list(mapper(evaluate_fold, tasks)))
    return with_calibrated(outcomes) if conformal else outcomes


def evaluate_fold(task: FoldTask, *, on_step: Callable[[Step], None] = lambda _: None) -> Outcomes:
    """Fits each kind on the fold's training bars and forecasts at every close of the test span.

    Raises ValueError, with kind and fold in a note, if a kind cannot be fitted.
    """
    fold, settings = task.fold, task.settings
    past = PastInputs(task.bars, interval_us=settings.interval_us, window=settings.window)
    closes = past.closes(fold.test_from_us, fold.test_until_us)
    known = training_bars(task.bars, fold, settings.interval_us)
    answers: dict[str, Answers] = {}
    levels = np.empty((0, 0))
    for number, kind in enumerate(task.kinds):
        ratio = number / len(task.kinds)
        on_step(Step(fold.index, kind, ratio))
        candidate = _fitted(kind, known, task, on_step, ratio)
        if isinstance(candidate.forecaster, Har):
            levels = np.stack([candidate.forecaster.variance_level(series) for series in task.series])  # (S, H)
        forecasts = [
            forecast
            for start in range(0, len(closes), _BATCH)
            for forecast in try_forecasts(
                candidate, past.inputs(closes[start : start + _BATCH], candidate.feature_names)
            )
        ]
        answers[kind] = Answers.of(forecasts, horizons=len(settings.horizons), levels=len(settings.levels))
    on_step(Step(fold.index, task.kinds[-1], 1.0))
    return _outcomes(task, past, closes, levels, answers)


def training_bars(bars: pl.DataFrame, fold: Fold, interval_us: int) -> pl.DataFrame:
    """Training bars of a fold: closed by ``fold.train_until_us``, and not older than its history."""
    close = pl.col("open_time_us") + interval_us
    return bars.filter((close > fold.train_from_us) & (close <= fold.train_until_us))


def try_forecasts(candidate: Candidate, inputs: Sequence[ForecastInput]) -> list[Forecast | None]:
    """One forecast per input, None where the forecaster rejects the input, as it would live."""
    if candidate.rejection_reason is not None:
        reasons = [candidate.rejection_reason(given) for given in inputs]
        accepted = [given for given, reason in zip(inputs, reasons, strict=True) if reason is None]
        forecasts = iter(candidate.forecaster.forecast(accepted))
        return [next(forecasts) if reason is None else None for reason in reasons]
    try:
        return list(candidate.forecaster.forecast(inputs))
    except ValueError:
        return [_forecast_one(candidate, given) for given in inputs]


def _forecast_one(candidate: Candidate, given: ForecastInput) -> Forecast | None:
    try:
        return candidate.forecaster.forecast([given])[0]
    except ValueError:
        return None


def _fitted(kind: str, bars: pl.DataFrame, task: FoldTask, on_step: Callable[[Step], None], ratio: float) -> Candidate:
    def report_progress(progress: Progress) -> None:
        on_step(Step(task.fold.index, kind, ratio + progress.ratio / len(task.kinds), progress))

    try:
        return fit(kind, bars, task.settings, on_progress=report_progress)
    except ValueError as error:
        error.add_note(f"{kind}, fold {task.fold.index + 1}")
        raise


def _bars_of(bars: pl.DataFrame, fold: Fold, settings: Settings) -> pl.DataFrame:
    """The bars from the first that training or the first input needs to the last outcome."""
    step_us = settings.interval_us
    first_us = min(fold.train_from_us, fold.test_from_us - reach_bars(settings.window) * step_us)
    last_us = fold.test_until_us + max(settings.horizons) * step_us
    close = pl.col("open_time_us") + step_us
    return bars.filter((close > first_us) & (close <= last_us))


def _outcomes(
    task: FoldTask,
    past: PastInputs,
    closes: list[tuple[Series, int]],
    levels: FloatArray,
    answers: dict[str, Answers],
) -> Outcomes:
    settings = task.settings
    keys = pl.DataFrame(
        [(*series, time_us) for series, time_us in closes],
        schema={"venue": pl.String, "symbol": pl.String, "close_time_us": pl.Int64},
        orient="row",
    )
    labels = label_rows(task.bars, interval_us=settings.interval_us, horizons=settings.horizons)
    truth = keys.join(labels, on=keys.columns, how="left", maintain_order="left")
    returns, log_variances = (
        truth.select(pl.col(f"{label}_{horizon}").fill_null(np.nan) for horizon in settings.horizons).to_numpy()
        for label in ("log_return", "log_variance")
    )
    index = np.array([task.series.index(series) for series, _ in closes], dtype=np.int64)
    return Outcomes(
        interval_us=settings.interval_us,
        horizons=settings.horizons,
        levels=settings.levels,
        series=task.series,
        index=index,
        close_time_us=np.array([time_us for _, time_us in closes], dtype=np.int64),
        fold=np.full(len(closes), task.fold.index, dtype=np.int64),
        log_close=np.array([_log_close(past, series, time_us) for series, time_us in closes]),
        returns=returns,
        variances=np.exp(log_variances) * levels[index],
        answers=answers,
    )


def _log_close(past: PastInputs, series: Series, close_time_us: int) -> float:
    recent = past.histories[series]
    return float(recent.log_close[(close_time_us - int(recent.close_time_us[0])) // past.interval_us])
