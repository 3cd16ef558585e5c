"""The commands that look back: ``backtest`` and ``search``. What they do is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigFile, Data, Engine, From, Json, RayAddress, Set, Symbols, Workers, listed


def backtest(
    symbols: Symbols = None,
    start: From = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Day after the last forecast; default: as far as bars go.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Retrainings, evenly over that time.", min=1)] = 3,
    model: Annotated[
        list[str] | None, typer.Option(help="Kinds to judge, several with commas: a network is trained in each fold.")
    ] = None,
    baselines: Annotated[
        list[str] | None,
        typer.Option(help="What stands beside: random_walk, reversal and har always; default: all that are installed."),
    ] = None,
    data: Data = None,
    preset: Annotated[str, typer.Option(help="Of networks: auto, small, reference or large.")] = "auto",
    overrides: Set = None,
    epochs: Annotated[int | None, typer.Option(help="Of networks, at most; default: the preset's.", min=1)] = None,
    conformal: Annotated[
        bool | None,
        typer.Option(
            "--conformal/--no-conformal", help="What online calibration makes of each; default: model.conformal."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="A folder for report.html, backtest.json and the trained networks.")
    ] = None,
    engine: Engine = "local",
    workers: Workers = None,
    ray_address: RayAddress = None,
    json: Json = False,
    config_file: ConfigFile = None,
) -> None:
    """Walk-forward evaluation on the past, through the code that runs live, beside the baselines."""
    from daemon.backtesting.plan import BacktestOptions
    from daemon.cli.commands.backtest import run_backtest
    from daemon.executing.choice import EngineOptions

    options = BacktestOptions(
        symbols=listed(symbols),
        start=start,
        end=end,
        folds=folds,
        models=listed(model),
        baselines=listed(baselines),
        data=tuple(data or ()),
        preset=preset,
        overrides=listed(overrides),
        epochs=epochs,
        conformal=conformal,
        report=report,
    )
    run_backtest(
        config_file, options, EngineOptions(engine=engine, workers=workers, ray_address=ray_address), json=json
    )


def search(
    model: Annotated[str | None, typer.Option(help="A network, or lightgbm; default: the configured network.")] = None,
    trials: Annotated[int, typer.Option(help="How many are tried, the preset as it is among them.", min=2)] = 16,
    metric: Annotated[
        str, typer.Option(help="What the best is chosen by: pinball, crps, qlike, rmse, coverage or direction.")
    ] = "pinball",
    strategy: Annotated[
        str, typer.Option(help="halving: half of the trials go on to twice the folds; random: all on all folds.")
    ] = "halving",
    seed: Annotated[int, typer.Option(help="Of what is drawn.", min=0)] = 0,
    symbols: Symbols = None,
    start: From = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Nothing after this chooses; default: as far as bars go.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Retrainings of a trial, evenly over that time.", min=1)] = 4,
    data: Data = None,
    preset: Annotated[str, typer.Option(help="What is searched around: auto, small, reference or large.")] = "auto",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, several with commas: not searched but set.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="At most; default: the preset's.", min=1)] = None,
    run: Annotated[
        Path | None, typer.Option(help="A folder that keeps the trials; default: one below the state directory.")
    ] = None,
    engine: Engine = "local",
    workers: Workers = None,
    ray_address: RayAddress = None,
    json: Json = False,
    config_file: ConfigFile = None,
) -> None:
    """Hyper-parameters of one network over walk-forward folds; a search that was killed goes on."""
    from daemon.backtesting.plan import BacktestOptions
    from daemon.cli.commands.search import run_search_command
    from daemon.executing.choice import EngineOptions
    from daemon.searching.plan import SearchOptions

    over = BacktestOptions(
        symbols=listed(symbols),
        start=start,
        end=end,
        folds=folds,
        data=tuple(data or ()),
        preset=preset,
        overrides=listed(overrides),
        epochs=epochs,
    )
    options = SearchOptions(kind=model, over=over, trials=trials, metric=metric, strategy=strategy, seed=seed, run=run)
    run_search_command(
        config_file, options, EngineOptions(engine=engine, workers=workers, ray_address=ray_address), json=json
    )
