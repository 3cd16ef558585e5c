"""``forecastd backtest``: walk-forward evaluation through the live code path."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from pathlib import Path

# Idle OpenMP workers would spin and take a core from other processes; torch reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from daemon.backtesting.document import document
from daemon.backtesting.plan import BacktestOptions, BacktestRefused, Plan, make_plan, on_gpu
from daemon.backtesting.report import render
from daemon.backtesting.tables import print_document
from daemon.cli.commands.console import open_console
from daemon.cli.commands.work_bar import WorkBar
from daemon.config import Secrets, load_config
from daemon.errors import Fatal
from daemon.executing.base import Executor
from daemon.executing.choice import EngineOptions, check_engine, make_executor
from daemon.logs import start_logging
from daemon.output_files import write_text
from models.evaluation.outcomes import Outcomes
from models.evaluation.walkforward import Step, fold_tasks, walk_forward


class BacktestFailed(Fatal):
    """A network could not be trained or loaded."""


def run_backtest(config_file: Path | None, options: BacktestOptions, engine: EngineOptions, *, json: bool) -> None:
    """Prints tables or one JSON document; with ``options.report`` also writes ``report.html`` and ``backtest.json``.

    Trained networks are kept below the report's folder: the same command after a kill goes on where it was. Raises
    BacktestRefused, NoBars, BacktestFailed, EngineRefused, WorkerLost or Cancelled.
    """
    start_logging(level="warning")
    check_engine(engine)
    plan = make_plan(load_config(config_file, secrets=Secrets.UNCHECKED), options)
    if options.report is not None:
        _make_folder(options.report)
    executor = make_executor(engine, tasks=len(plan.folds), on_gpu=on_gpu(plan.kinds, plan.settings.device))
    view = _View(len(plan.folds))
    try:
        outcomes = _walk(plan, executor, view)
    finally:
        view.close()
    results = document(plan, outcomes)
    if json:
        sys.stdout.write(jsonlib.dumps(results) + "\n")
    else:
        print_document(open_console(), results)
    if options.report is not None:
        write_text(options.report / "backtest.json", jsonlib.dumps(results, indent=1) + "\n")
        page = options.report / "report.html"
        write_text(page, render(results, outcomes))
        sys.stderr.write(f"report: {page}\n")


def _walk(plan: Plan, executor: Executor, view: _View) -> Outcomes:
    try:
        return walk_forward(
            fold_tasks(plan.bars, plan.folds, plan.kinds, plan.settings),
            mapper=lambda work, tasks: executor.map(work, list(tasks), on_step=view.show, on_lost=view.lost),
            conformal=plan.conformal,
        )
    except ValueError as error:
        where = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        raise BacktestRefused(f"{error}{where}; begin later, give more history, or leave it out") from error
    except RuntimeError as error:
        raise BacktestFailed(str(error)) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BacktestRefused(f"--report was {folder}, which cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise BacktestRefused(f"--report was {folder}, which cannot be written")


class _View:
    """One bar for all retrainings together, or a line a kind of each where there is no terminal."""

    def __init__(self, folds: int) -> None:
        self._ratios = [0.0] * folds
        self._bar = WorkBar()

    def show(self, index: int, step: Step) -> None:
        self._ratios[index] = step.ratio
        text = f"{self._name(index)}: {step.kind}"
        self._bar.show(text, sum(self._ratios) / len(self._ratios), line=text)

    def lost(self, index: int, reason: str) -> None:
        self._ratios[index] = 0.0
        self._bar.say(f"{self._name(index)}: its process ended {reason}; begun again")

    def close(self) -> None:
        self._bar.close()

    def _name(self, index: int) -> str:
        return f"retraining {index + 1}/{len(self._ratios)}"
