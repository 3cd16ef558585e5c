"""What a search runs over: the same bars, folds and settings as a backtest, and what it tries there."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from daemon.backtesting.plan import BacktestOptions, BacktestRefused, Plan, make_plan, on_gpu
from daemon.config import Config
from daemon.searching.rungs import STRATEGIES, Rung, rungs
from daemon.timestamps import iso
from models.evaluation.objective import METRICS, Metric, fewest_bars
from models.evaluation.outcomes import Outcomes
from models.evaluation.search_space import Dimension, drawn, space
from models.evaluation.walkforward import FoldTask, fold_tasks
from models.overrides import PRESETS_OWN, Overrides, settable
from models.presets import choose_preset
from models.specification import NETWORK_KINDS

RUNS_FOLDER = "searches"  # below the state directory


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What was asked for. over: span, folds, data and preset as of a backtest; its overrides are not searched.

    run: the folder that keeps the trials, None for one below the state directory.
    """

    kind: str | None
    over: BacktestOptions
    trials: int = 16
    metric: str = "pinball"
    strategy: str = "halving"
    seed: int = 0
    run: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SearchPlan:
    """A search that can run. backtest: with bars up to its end and none after. fixed: what every trial sets.

    preset: its name, empty for LightGBM. later: whether the data go on after the end.
    """

    backtest: Plan
    kind: str
    preset: str
    dimensions: Mapping[str, Dimension]
    fixed: Overrides
    trials: int
    metric_name: str
    strategy: str
    seed: int
    run: Path
    later: bool

    @property
    def metric(self) -> Metric:
        return METRICS[self.metric_name]

    @property
    def rungs(self) -> tuple[Rung, ...]:
        return rungs(self.strategy, trials=self.trials, folds=len(self.backtest.folds))

    def overrides(self, trial: int) -> Overrides:
        """What the trial sets."""
        return drawn(self.dimensions, trial, seed=self.seed, fixed=self.fixed)

    def tasks(self) -> list[FoldTask]:
        """The folds of the preset as it is; a trial's are the same with other settings."""
        plan = self.backtest
        return fold_tasks(plan.bars, plan.folds, (self.kind,), plan.settings)

    def task(self, fold: FoldTask, trial: int) -> FoldTask:
        return replace(fold, settings=replace(fold.settings, overrides={self.kind: self.overrides(trial)}))

    @property
    def no_outcomes(self) -> Outcomes:
        """The outcomes of no cut-off."""
        settings = self.backtest.settings
        whole, numbers = np.empty(0, dtype=np.int64), np.empty(0)
        series = self.tasks()[0].series
        return Outcomes(
            settings.interval_us, settings.horizons, settings.levels, series, whole, whole, whole, numbers, numbers,
            numbers, {},
        )  # fmt: skip


def make_search_plan(config: Config, options: SearchOptions) -> SearchPlan:
    """Raises BacktestRefused where the options contradict one another or the data, NoBars for an empty store."""
    kind = options.kind or config.model.kind
    _check(options, kind)
    whole = make_plan(config, replace(options.over, models=(kind,), baselines=("har",)))
    # An outcome that is known only after the end must not choose either.
    close = pl.col("open_time_us") + whole.settings.interval_us
    backtest = replace(whole, bars=whole.bars.filter(close <= whole.until_us))
    preset_name, preset = "", None
    if kind in NETWORK_KINDS:
        gpu = on_gpu((kind,), whole.settings.device)
        try:
            preset_name, preset = choose_preset(kind, whole.settings.preset, on_gpu=gpu)
        except KeyError:
            raise BacktestRefused(f"--preset: {kind} has no {whole.settings.preset!r}") from None
        # Resolved once: a machine of a cluster might resolve it otherwise.
        backtest = replace(backtest, settings=replace(backtest.settings, preset=preset_name))
    plan = SearchPlan(
        backtest=backtest,
        kind=kind,
        preset=preset_name,
        dimensions=space(kind, preset),
        fixed=whole.settings.overrides.get(kind, PRESETS_OWN),
        trials=options.trials,
        metric_name=options.metric,
        strategy=options.strategy,
        seed=options.seed,
        run=options.run or Path(),
        later=backtest.bars.height < whole.bars.height,
    )
    _check_length(plan)
    if options.run is None:
        digest = hashlib.sha256(repr(identity(plan)).encode()).hexdigest()[:12]
        plan = replace(plan, run=config.instance.state_dir / RUNS_FOLDER / f"{kind}-{digest}")
    return plan


def identity(plan: SearchPlan) -> dict[str, Any]:
    """Everything that determines a trial's forecasts, as JSON values; excludes the metric, strategy and trial count."""
    settings = plan.backtest.settings
    return {
        "kind": plan.kind,
        "preset": plan.preset,
        "epochs": settings.epochs,
        "set": str(plan.fixed),
        "seed": plan.seed,
        "from": iso(plan.backtest.from_us),
        "to": iso(plan.backtest.until_us),
        "folds": len(plan.backtest.folds),
        "trained_from": [iso(fold.train_from_us) for fold in plan.backtest.folds],
        "interval_us": settings.interval_us,
        "horizons": list(settings.horizons),
        "quantiles": list(settings.levels),
        "window": settings.window,
        "data": _digest(plan.backtest.bars),
    }


def _digest(bars: pl.DataFrame) -> str:
    content = io.BytesIO()
    bars.sort("venue", "symbol", "open_time_us").write_ipc(content)
    return hashlib.sha256(content.getvalue()).hexdigest()


def _check(options: SearchOptions, kind: str) -> None:
    if not settable(kind):
        raise BacktestRefused(f"--model: {kind} has no hyper-parameters; name one of {', '.join(_searchable())}")
    for option, value, known in (
        ("--metric", options.metric, tuple(METRICS)),
        ("--strategy", options.strategy, STRATEGIES),
    ):
        if value not in known:
            raise BacktestRefused(f"{option} was {value!r}; there are {', '.join(known)}")


def _check_length(plan: SearchPlan) -> None:
    """Before an hour of training, not after it: what the first rung is judged by must be long enough."""
    settings = plan.backtest.settings
    newest = plan.backtest.folds[-plan.rungs[0].folds :]
    bars = (newest[-1].test_until_us - newest[0].test_from_us) // settings.interval_us
    longest = max(settings.horizons)
    if bars < fewest_bars(longest):
        raise BacktestRefused(
            f"--folds: a trial is judged by {bars} bars at first, too few for {longest} bars ahead; "
            f"{fewest_bars(longest)} would do: begin earlier, or take fewer folds"
        )


def _searchable() -> tuple[str, ...]:
    return (*NETWORK_KINDS, "lightgbm")
