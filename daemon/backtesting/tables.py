"""A backtest on the terminal: one table a series and horizon, every figure with its standard error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

COLUMNS = (
    "",
    "pinball bp",
    "vs HAR",
    "vs RW",
    "CRPS bp",
    "QLIKE",
    "R² log var",
    "in 80%",
    "in 95%",
    "RMSE vs RW",
    "sign",
)
FOOTNOTE = (
    "vs HAR, vs RW: mean pinball loss over that baseline's on the same targets, below 1 is better. sign: share of the "
    "return's signs, where a side was taken; the reversal rule is the one to beat. ± one block-bootstrap standard "
    "error."
)
CALIBRATED_COLUMNS = ("", "CRPS bp", "calibrated", "ratio", "in 80%", "calibrated", "in 95%", "calibrated")
CALIBRATED_NOTE = (
    "calibrated: after online conformal calibration from the errors known at each forecast, as live. ratio: of the "
    "CRPS, below 1 calibration pays."
)


def print_document(console: Console, document: Mapping[str, Any]) -> None:
    """The document of ``daemon.backtesting.document``."""
    folds = document["folds"]
    console.print(
        f"{document['from']} to {document['to']}, {len(folds)} retrainings, each on bars that closed "
        f"{max(document['horizons'])} bars before its first forecast: "
        + ", ".join(each["trained_until"] for each in folds),
        soft_wrap=True,
    )
    nearest = document["horizons"][0]
    for series in dict.fromkeys(result["series"] for result in document["results"]):
        results = [result for result in document["results"] if result["series"] == series]
        for result in results:
            if result["horizon"] == nearest:
                console.print(_table(result))
                if any(True for _ in calibrated_rows(result)):
                    console.print(_calibrated_table(result))
            for line in alarms(result):
                console.print(line, soft_wrap=True)
        if len(results) > 1:
            console.print(_by_horizon(series, results))
    console.print(FOOTNOTE, soft_wrap=True)
    if any(True for result in document["results"] for _ in calibrated_rows(result)):
        console.print(CALIBRATED_NOTE, soft_wrap=True)


def _by_horizon(series: str, results: Sequence[Mapping[str, Any]]) -> Table:
    """One row a kind: its ratio to HAR at every horizon."""
    table = Table(title=f"{series}, vs HAR by bars ahead", title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for result in results:
        table.add_column(str(result["horizon"]), justify="right")
    for kind in dict.fromkeys(kind for result in results for kind in result["measures"] if kind != "har"):
        by_horizon = (result["measures"].get(kind, {"pinball_vs": {}}) for result in results)
        table.add_row(kind, *(figure(measures["pinball_vs"].get("har"), 4) for measures in by_horizon))
    return table


def _table(result: Mapping[str, Any]) -> Table:
    bars = "bar" if result["horizon"] == 1 else "bars"
    table = Table(
        title=f"{result['series']}, {result['horizon']} {bars} ahead, {result['scored']:,} targets",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE,
        pad_edge=False,
    )
    for column, title in enumerate(COLUMNS):
        table.add_column(title, justify="left" if column == 0 else "right")
    for row in rows(result):
        table.add_row(*row)
    if not result["measures"]:
        table.add_row("too few targets for any estimate")
    return table


def _calibrated_table(result: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{result['series']}, {result['horizon']} ahead, before and after calibration",
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
    )
    for column, title in enumerate(CALIBRATED_COLUMNS):
        table.add_column(title, justify="left" if column == 0 else "right")
    for row in calibrated_rows(result):
        table.add_row(*row)
    return table


def calibrated_rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row of cells a kind, under ``CALIBRATED_COLUMNS``; none where calibration was not measured."""
    for kind, measures in result["measures"].items():
        calibrated = measures["calibrated"]
        if calibrated is None:
            continue
        inside = (
            figure(each["coverage"].get(percent), 1, percent=True)
            for percent in ("80", "95")
            for each in (measures, calibrated)
        )
        yield (
            kind,
            figure(measures["crps_bp"], 2),
            figure(calibrated["crps_bp"], 2),
            figure(calibrated["crps_over_raw"], 4),
            *inside,
        )


def rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row of cells a kind, under ``COLUMNS``."""
    for kind, measures in result["measures"].items():
        beside, coverage = measures["pinball_vs"], measures["coverage"]
        yield (
            kind,
            figure(measures["pinball_bp"], 2),
            figure(beside.get("har"), 4),
            figure(beside.get("random_walk"), 4),
            figure(measures["crps_bp"], 2),
            figure(measures["qlike"], 3),
            figure(measures["r2_log_variance"], 3),
            figure(coverage.get("80"), 1, percent=True),
            figure(coverage.get("95"), 1, percent=True),
            figure(measures["rmse_vs_random_walk"], 4),
            figure(measures["direction"], 1, percent=True),
        )


def alarms(result: Mapping[str, Any]) -> Iterator[str]:
    """A line for each kind that the leak alarm suspects, and for each that was silent."""
    for kind, measures in result["measures"].items():
        alarm = measures["leak_alarm"]
        if alarm["verdict"] == "suspect":
            where = f"{result['series']}, {result['horizon']} ahead"
            yield f"LEAK SUSPECTED in {kind} ({where}): {'; '.join(alarm['reasons'])}"
    for kind, count in result["silent"].items():
        if count:
            where = f"{result['series']}, {result['horizon']} ahead"
            yield f"{kind} has no forecast for {count} targets ({where}); no forecaster is scored on them"


def figure(estimate: Mapping[str, float] | None, digits: int, *, percent: bool = False) -> str:
    """``0.9812 ± 0.0031``; a dash where there is none, no error where it is nothing."""
    if estimate is None:
        return "-"
    factor = 100.0 if percent else 1.0
    value, error = factor * estimate["value"], factor * estimate["se"]
    unit = "%" if percent else ""
    return f"{value:.{digits}f}{unit}" if error < 1e-12 else f"{value:.{digits}f} ± {error:.{digits}f}{unit}"
