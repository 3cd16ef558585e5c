"""One figure of a benchmark, and all of them as a table."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""name, value, unit, and what the value is read against: ``guide``, the most it should be, or for a unit of
"ratio" and of things a second, the least; None where it is there to compare others with."""

_PACKAGES = ("msgspec", "numpy", "polars", "torch", "websockets", "uvloop", "aiomqtt", "aiohttp", "typer")


def row(name: str, value: float, unit: str, guide: float | None = None, *, at_least: bool = False) -> Row:
    """A ratio's guide is a goal; every other figure's guide says what to expect of an ordinary machine."""
    return {"name": name, "value": float(value), "unit": unit, "guide": guide, "at_least": at_least}


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median of turn-by-turn ratios; both sides of a turn are measured on the same machine."""
    return statistics.median(our / other for our, other in zip(ours, others, strict=True))


def bound(figure: Row) -> str:
    """The goal or guide of the figure, e.g. ``goal >= 0.6``."""
    if figure["guide"] is None:
        return ""
    word = "goal" if figure["unit"] == "ratio" else "guide"
    return f"{word} {'>=' if figure['at_least'] else '<='} {figure['guide']:,g}"


def surroundings() -> list[str]:
    """The machine, the interpreter, the packages and the day of a measurement."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {_processor()}, {os.cpu_count()} cores, load average {load}",
        f"Python {platform.python_version()} on {platform.system()} {platform.release()}; {packages}",
    ]


def markdown(rows: Iterable[Row]) -> list[str]:
    """A table that is readable on a terminal and in a document."""
    cells = [("figure", "value", "unit", "goal or guide")]
    cells += [(figure["name"], _number(figure["value"]), figure["unit"], bound(figure)) for figure in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(each, widths) for each in cells]
    rule = f"|{'-' * (widths[0] + 2)}|{'-' * (widths[1] + 1)}:|{'-' * (widths[2] + 2)}|{'-' * (widths[3] + 2)}|"
    return [lines[0], rule, *lines[1:]]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, value, unit, limit = cells
    return f"| {name:{widths[0]}} | {value:>{widths[1]}} | {unit:{widths[2]}} | {limit:{widths[3]}} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
