"""Declarations of the evaluation commands ``backtest`` and ``search``; their implementations are imported on use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    ConfigFile,
    Data,
    Engine,
    From,
    Json,
    RayAddress,
    Set,
    Symbols,
    Workers,
    listed,
    options_of,
)

if TYPE_CHECKING:
    from daemon.executing.choice import EngineOptions


@dataclass(frozen=True, kw_only=True)
class WalkForwardArguments:
    """Options of every command that retrains over folds of past bars."""

    symbols: Symbols = None
    start: From = None
    data: Data = None
    engine: Engine = "local"
    workers: Workers = None
    ray_address: RayAddress = None
    json: Json = False
    config_file: ConfigFile = None

    def engine_options(self) -> EngineOptions:
        from daemon.executing.choice import EngineOptions

        return EngineOptions(engine=self.engine, workers=self.workers, ray_address=self.ray_address)


@dataclass(frozen=True, kw_only=True)
class BacktestArguments(WalkForwardArguments):
    """Options of ``backtest``."""

    end: Annotated[
        str | None, typer.Option("--to", help="Day after the last forecast; default: the end of the bars.")
    ] = None
    folds: Annotated[int, typer.Option(help="Retrainings, evenly over that time.", min=1)] = 3
    model: Annotated[
        list[str] | None,
        typer.Option(help="Kinds to evaluate, several with commas; networks are trained in each fold."),
    ] = None
    baselines: Annotated[
        list[str] | None,
        typer.Option(help="Baselines beside random_walk, reversal and har; default: all that are installed."),
    ] = None
    preset: Annotated[str, typer.Option(help="Preset of networks: auto, small, reference or large.")] = "auto"
    overrides: Set = None
    epochs: Annotated[int | None, typer.Option(help="Epochs of networks, at most; default: the preset's.", min=1)] = (
        None
    )
    conformal: Annotated[
        bool | None,
        typer.Option("--conformal/--no-conformal", help="Evaluate online calibration, too; default: model.conformal."),
    ] = None
    report: Annotated[
        Path | None, typer.Option(help="A folder for report.html, backtest.json and the trained networks.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class SearchArguments(WalkForwardArguments):
    """Options of ``search``."""

    model: Annotated[str | None, typer.Option(help="A network, or lightgbm; default: the configured network.")] = None
    trials: Annotated[int, typer.Option(help="Number of trials, the unchanged preset among them.", min=2)] = 16
    metric: Annotated[
        str, typer.Option(help="Figure that ranks the trials: pinball, crps, qlike, rmse, coverage or direction.")
    ] = "pinball"
    strategy: Annotated[
        str, typer.Option(help="halving: half of the trials continue on twice the folds; random: all on all folds.")
    ] = "halving"
    seed: Annotated[int, typer.Option(help="Seed of the random draws.", min=0)] = 0
    end: Annotated[
        str | None, typer.Option("--to", help="End of all bars that the search reads; default: the end of the bars.")
    ] = None
    folds: Annotated[int, typer.Option(help="Retrainings of a trial, evenly over that time.", min=1)] = 4
    preset: Annotated[str, typer.Option(help="Centre of the search: auto, small, reference or large.")] = "auto"
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, several with commas: fixed in every trial.")
    ] = None
    epochs: Annotated[int | None, typer.Option(help="At most; default: the preset's.", min=1)] = None
    run: Annotated[
        Path | None, typer.Option(help="A folder that keeps the trials; default: one below the state directory.")
    ] = None


@options_of(BacktestArguments)
def backtest(arguments: BacktestArguments) -> None:
    """Walk-forward evaluation on past bars, through the live code, beside the baselines."""
    from daemon.backtesting.plan import BacktestOptions
    from daemon.cli.commands.backtest import run_backtest

    options = BacktestOptions(
        symbols=listed(arguments.symbols),
        start=arguments.start,
        end=arguments.end,
        folds=arguments.folds,
        models=listed(arguments.model),
        baselines=listed(arguments.baselines),
        data=tuple(arguments.data or ()),
        preset=arguments.preset,
        overrides=listed(arguments.overrides),
        epochs=arguments.epochs,
        conformal=arguments.conformal,
        report=arguments.report,
    )
    run_backtest(arguments.config_file, options, arguments.engine_options(), json=arguments.json)


@options_of(SearchArguments)
def search(arguments: SearchArguments) -> None:
    """Hyper-parameters of one network over walk-forward folds; a killed search resumes."""
    from daemon.backtesting.plan import BacktestOptions
    from daemon.cli.commands.search import run_search_command
    from daemon.searching.plan import SearchOptions

    over = BacktestOptions(
        symbols=listed(arguments.symbols),
        start=arguments.start,
        end=arguments.end,
        folds=arguments.folds,
        data=tuple(arguments.data or ()),
        preset=arguments.preset,
        overrides=listed(arguments.overrides),
        epochs=arguments.epochs,
    )
    options = SearchOptions(
        kind=arguments.model,
        over=over,
        trials=arguments.trials,
        metric=arguments.metric,
        strategy=arguments.strategy,
        seed=arguments.seed,
        run=arguments.run,
    )
    run_search_command(arguments.config_file, options, arguments.engine_options(), json=arguments.json)
