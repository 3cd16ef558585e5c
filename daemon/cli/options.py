"""Options that several commands share, and how lists are written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; without one the defaults and the environment hold.")
]
Symbols = Annotated[
    list[str] | None,
    typer.Option(help="BASE-QUOTE, several with commas; default: the configured ones, or the files'."),
]
From = Annotated[
    str | None,
    typer.Option("--from", help="First day of forecasts, e.g. 2025-01-01; default: 90 days before --to."),
]
Data = Annotated[
    list[Path] | None, typer.Option(help="Parquet of bars or klines, or a folder of them; default: the store.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE of the preset, several with commas, e.g. dropout=0.2,learning_rate=0.001."),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes, each on one core; 1: none but this one; default: all cores but one.", min=1),
]
Engine = Annotated[str, typer.Option(help="Where the retrainings run: local, or ray with the extra of that name.")]
RayAddress = Annotated[
    str | None,
    typer.Option(help="A Ray cluster's HOST:PORT; default: RAY_ADDRESS, else one that is started here."),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def listed(names: list[str] | None) -> tuple[str, ...]:
    """What was given once with commas or several times."""
    return tuple(name for each in names or () for name in each.split(",") if name)
