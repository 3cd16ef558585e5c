"""Options that several commands share, and commands whose options are the fields of a record."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; without one, defaults and the environment.")
]
Symbols = Annotated[
    list[str] | None,
    typer.Option(help="BASE-QUOTE, several with commas; default: the configured ones, or those of the files."),
]
From = Annotated[
    str | None,
    typer.Option("--from", help="First day of forecasts, e.g. 2025-01-01; default: 90 days before --to."),
]
Data = Annotated[
    list[Path] | None, typer.Option(help="Parquet or CSV of bars or klines, or a folder of them; default: the store.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE of the preset, several with commas, e.g. dropout=0.2,learning_rate=0.001."),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes, each on one core; 1: only this process; default: all cores but one.", min=1),
]
Engine = Annotated[str, typer.Option(help="Where the retrainings run: local, or ray with the extra of that name.")]
RayAddress = Annotated[
    str | None,
    typer.Option(help="A Ray cluster's HOST:PORT; default: RAY_ADDRESS, else a cluster that is started here."),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

Record = TypeVar("Record")


def listed(names: list[str] | None) -> tuple[str, ...]:
    """The values of an option that may be given once with commas, or several times."""
    return tuple(name for each in names or () for name in each.split(",") if name)


def options_of(record: type[Record]) -> Callable[[Callable[[Record], None]], Callable[..., None]]:
    """Makes a command of a function that takes one ``record``: a dataclass whose fields are annotated options."""

    def decorate(run: Callable[[Record], None]) -> Callable[..., None]:
        @functools.wraps(run)
        def command(**values: Any) -> None:
            run(record(**values))

        hints = get_type_hints(record, include_extras=True)
        command.__annotations__ = {each.name: hints[each.name] for each in fields(record)}  # type: ignore[arg-type]  # record is a dataclass
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by inspect.signature
            [
                inspect.Parameter(
                    each.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if each.default is MISSING else each.default,
                    annotation=hints[each.name],
                )
                for each in fields(record)  # type: ignore[arg-type]  # as above
            ]
        )
        return command

    return decorate
