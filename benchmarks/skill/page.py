"""The account as Markdown tables, with each target met or missed."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.skill.account import INTERVALS, Line
from benchmarks.skill.plan import RIVAL
from models.evaluation.skill import Estimate

BEGIN, END = "<!-- begin: written by make skill -->", "<!-- end -->"


def tables(lines: Sequence[Line], kind: str) -> list[str]:
    """Two tables, and the targets of one hour ahead."""
    return [*_skill(lines, kind), "", *_coverage(lines), "", *_targets(lines, kind)]


def _skill(lines: Sequence[Line], kind: str) -> list[str]:
    heads = (
        "", "hours ahead", "scored", "pinball over HAR", f"pinball over {RIVAL}", "before calibration: over HAR",
        f"over {RIVAL}", f"R2 of log variance: {kind}", "HAR", RIVAL, "RMSE over random walk",
    )  # fmt: skip
    rows = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for line in lines:
        cells = (
            _series(line.series), str(line.horizon), f"{line.scored:,}",
            *(_ratio(line.calibrated[rival]) for rival in ("har", RIVAL)),
            *(_ratio(line.raw[rival]) for rival in ("har", RIVAL)),
            *(f"{line.r2[each].value:.3f}" for each in (kind, "har", RIVAL)),
            _ratio(line.rmse_vs_random_walk),
        )  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _coverage(lines: Sequence[Line]) -> list[str]:
    heads = " | ".join(f"{percent}% | worst quarter" for percent in INTERVALS)
    rows = [f"| | hours ahead | {heads} |", "|---|---:|" + "---:|---:|" * len(INTERVALS)]
    for line in lines:
        cells = " | ".join(
            f"{100 * line.coverage[percent].value:.1f} ± {100 * line.coverage[percent].standard_error:.1f} "
            f"| {100 * line.worst[percent]:.1f}"
            for percent in INTERVALS
        )
        rows.append(f"| {_series(line.series)} | {line.horizon} | {cells} |")
    return rows


def _targets(lines: Sequence[Line], kind: str) -> list[str]:
    """The targets of one hour ahead, by symbol."""
    each = [line for line in lines if line.horizon == 1 and line.series != "all"]
    goals = [
        ("pinball at least 2% below HAR", [line.calibrated["har"].value <= 0.98 for line in each]),
        (f"pinball below {RIVAL}", [line.calibrated[RIVAL].value < 1.0 for line in each]),
        ("R2 of log variance at least 0.03 above HAR", [_gain(line, kind) >= 0.03 for line in each]),
        (
            "coverage within 1 point",
            [all(abs(line.coverage[p].value - p / 100) <= 0.01 for p in INTERVALS) for line in each],
        ),
        (
            "coverage of every quarter within 3 points",
            [all(abs(line.worst[p] - p / 100) <= 0.03 for p in INTERVALS) for line in each],
        ),
        ("RMSE ratio at most 1.000", [round(line.rmse_vs_random_walk.value, 3) <= 1.0 for line in each]),
    ]
    rows = [
        "| one hour ahead | " + " | ".join(_series(line.series) for line in each) + " |",
        "|---|" + "---|" * len(each),
    ]
    rows += [f"| {words} | {' | '.join('yes' if met else 'no' for met in mets)} |" for words, mets in goals]
    return rows


def _gain(line: Line, kind: str) -> float:
    return line.r2[kind].value - line.r2["har"].value


def _series(name: str) -> str:
    return "all" if name == "all" else name.partition(":")[2]


def _ratio(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ± {estimate.standard_error:.4f}"
