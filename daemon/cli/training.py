"""Declaration of the command ``train``; its implementation is imported on use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigFile, Json, Set, listed, options_of


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """Options of ``train``."""

    model: Annotated[str, typer.Option(help="lstm, attention_lstm, transformer or tft.")]
    symbols: Annotated[
        list[str] | None,
        typer.Option(help="BASE-QUOTE, several with commas; default: the configured ones, or the file's."),
    ] = None
    epochs: Annotated[int | None, typer.Option(help="At most so many; default: the preset's.", min=1)] = None
    preset: Annotated[str, typer.Option(help="auto, small, reference, or for the transformer large.")] = "auto"
    overrides: Set = None
    seeds: Annotated[int, typer.Option(help="Networks whose average is kept where that pays.", min=1)] = 1
    data: Annotated[
        Path | None, typer.Option(help="Parquet or CSV of bars or klines, or a folder of them; default: the store.")
    ] = None
    json: Json = False
    config_file: ConfigFile = None


@options_of(TrainArguments)
def train(arguments: TrainArguments) -> None:
    """Trains one network in the foreground; leaves a candidate and its scores beside HAR and the random walk."""
    from daemon.cli.commands.train import TrainOptions, run_train

    options = TrainOptions(
        kind=arguments.model,
        preset=arguments.preset,
        overrides=listed(arguments.overrides),
        symbols=listed(arguments.symbols),
        epochs=arguments.epochs,
        seeds=arguments.seeds,
        data=arguments.data,
    )
    run_train(arguments.config_file, options, json=arguments.json)
