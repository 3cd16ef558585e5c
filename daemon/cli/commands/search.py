"""``forecastd search``: hyper-parameters of one network, or of LightGBM, over walk-forward folds."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from pathlib import Path

# Idle OpenMP workers would spin and take a core from other processes; torch reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from daemon.backtesting.plan import BacktestRefused, on_gpu
from daemon.cli.commands.backtest import BacktestFailed
from daemon.cli.commands.console import open_console
from daemon.cli.commands.work_bar import WorkBar
from daemon.config import Secrets, load_config
from daemon.executing.base import Cancelled, WorkerLost
from daemon.executing.choice import EngineOptions, check_engine, make_executor
from daemon.logs import start_logging
from daemon.output_files import write_text
from daemon.searching.document import print_search, search_document
from daemon.searching.plan import SearchOptions, SearchPlan, identity, make_search_plan
from daemon.searching.running import Listener, Piece, TrialResult, run_search
from daemon.searching.trials import Trials
from models.evaluation.walkforward import Step


def run_search_command(config_file: Path | None, options: SearchOptions, engine: EngineOptions, *, json: bool) -> None:
    """Prints a table or one JSON document, and leaves it as ``result.json`` in the run folder.

    The same command after a kill goes on where it was; with more trials, or by another metric, it takes up what is
    there. Raises BacktestRefused, NoBars, BacktestFailed, OtherSearch, EngineRefused, WorkerLost or Cancelled.
    """
    start_logging(level="warning")
    check_engine(engine)
    plan = make_search_plan(load_config(config_file, secrets=Secrets.UNCHECKED), options)
    trials = Trials(plan.run, identity(plan), kind=plan.kind, empty=plan.no_outcomes)
    results = _searched(plan, trials, engine)
    result_document = search_document(plan, results)
    write_text(plan.run / "result.json", jsonlib.dumps(result_document, indent=1) + "\n")
    if json:
        sys.stdout.write(jsonlib.dumps(result_document) + "\n")
    else:
        print_search(open_console(), result_document)


def _searched(plan: SearchPlan, trials: Trials, engine: EngineOptions) -> list[TrialResult]:
    gpu = on_gpu((plan.kind,), plan.backtest.settings.device)
    executor = make_executor(engine, tasks=plan.trials, on_gpu=gpu)
    view = _View(plan)
    try:
        return run_search(plan, trials, executor, view.listener)
    except (Cancelled, WorkerLost) as error:
        raise type(error)(f"{error}; what is done lies in {plan.run}, the same command goes on there") from error
    except ValueError as error:
        where = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        raise BacktestRefused(f"{error}{where}; begin later, or give more history") from error
    except RuntimeError as error:
        raise BacktestFailed(str(error)) from error
    finally:
        view.close()


class _View:
    """A bar a rung, and a line for each piece that is done where there is no terminal."""

    def __init__(self, plan: SearchPlan) -> None:
        self._folds = len(plan.backtest.folds)
        self._pieces: list[Piece] = []
        self._ratios: list[float] = []
        self._bar = WorkBar()
        self.listener = Listener(self._planned, self._step, self._done, self._lost)

    def close(self) -> None:
        self._bar.close()

    def _planned(self, pieces: list[Piece]) -> None:
        self._pieces, self._ratios = pieces, [0.0] * len(pieces)

    def _step(self, index: int, step: Step) -> None:
        self._ratios[index] = step.ratio
        training = step.training
        epoch = f", epoch {training.epoch}/{training.epochs}" if training is not None and training.epoch else ""
        self._show(f"{self._name(index)}{epoch}")

    def _done(self, index: int) -> None:
        self._ratios[index] = 1.0
        done = sum(ratio == 1.0 for ratio in self._ratios)
        self._show(self._name(index), line=f"{self._name(index)}: done, {done} of {len(self._pieces)}")

    def _lost(self, index: int, reason: str) -> None:
        self._ratios[index] = 0.0
        self._bar.say(f"{self._name(index)}: its process ended {reason}; begun again")

    def _name(self, index: int) -> str:
        piece = self._pieces[index]
        return f"trial {piece.trial}, retraining {piece.fold + 1}/{self._folds}"

    def _show(self, text: str, *, line: str | None = None) -> None:
        self._bar.show(text, sum(self._ratios) / len(self._ratios), line=line)
