"""``python -m benchmarks.skill``: the account of docs/skill.md from hourly klines; an interrupted run resumes."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

# An idle OpenMP worker that spins takes a core from other processes; read where torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from benchmarks.skill.account import Line, account
from benchmarks.skill.keeping import fold_file, keep, kept
from benchmarks.skill.page import BEGIN, END, tables
from benchmarks.skill.plan import KIND, SEEDS, SkillRun, tasks
from benchmarks.table import surroundings
from daemon.errors import ForecastdError
from daemon.executing.local import InProcess, Processes
from models.evaluation.outcomes import Outcomes, joined
from models.evaluation.walkforward import FoldTask, evaluate_fold
from models.specification import NETWORK_KINDS

PAGE = Path(__file__).parents[2] / "docs" / "skill.md"


def main() -> int:
    """Returns 0, or 2 where the data are unusable."""
    given = _parser().parse_args()
    run = SkillRun(
        data=given.data, folder=given.out, year=given.year, months=given.months, kind=given.model, seeds=given.seeds
    )
    began_s = time.monotonic()
    try:
        months = tasks(run)
        outcomes = _outcomes(months, run.folder, workers=given.workers)
        lines = account(outcomes, run.kind)
    except (ValueError, ForecastdError) as error:
        print(f"make skill: {error}; SKILL_DATA names a folder of hourly klines", file=sys.stderr)  # a command
        return 2
    minutes = (time.monotonic() - began_s) / 60
    table = [*_about(run, len(months), minutes), "", *tables(lines, run.kind)]
    print("\n".join(table))  # this is a command
    (run.folder / "skill.json").write_text(json.dumps(_document(run, lines), indent=1) + "\n", "utf-8")
    if given.write:
        head, rest = PAGE.read_text("utf-8").split(BEGIN)
        PAGE.write_text("\n".join([f"{head}{BEGIN}", "", *table, "", f"{END}{rest.split(END)[1]}"]), "utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.skill", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of hourly klines, Parquet")
    parser.add_argument("--out", type=Path, default=Path("skill-report"), help="where the run is kept")
    parser.add_argument("--year", type=int, default=2025)
    parser.add_argument("--months", type=int, default=12, help="of the year, from January, as far as the data go")
    parser.add_argument(
        "--model", default=KIND, choices=NETWORK_KINDS, help=f"default: {KIND}, which was fixed beforehand"
    )
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help="networks a month, averaged where that validates better"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/skill.md")
    return parser


def _outcomes(months: list[FoldTask], folder: Path, *, workers: int) -> Outcomes:
    """The outcomes of every month: stored ones are read, the others computed."""
    files = [fold_file(folder, task) for task in months]
    found = {file: kept(file, task) for file, task in zip(files, months, strict=True)}
    todo = [(file, task) for file, task in zip(files, months, strict=True) if found[file] is None]

    def done(index: int, outcomes: Outcomes) -> None:
        file, task = todo[index]
        keep(file, outcomes)
        sys.stderr.write(f"month {task.fold.index + 1} is done: {file.name}\n")

    engine = Processes(workers) if min(workers, len(todo)) > 1 else InProcess()
    made = engine.map(evaluate_fold, [task for _, task in todo], on_done=done)
    found |= {file: outcomes for (file, _), outcomes in zip(todo, made, strict=True)}
    return joined([outcomes for outcomes in found.values() if outcomes is not None])


def _about(run: SkillRun, months: int, minutes: float) -> list[str]:
    seeds = f"{run.seeds} seeds a month, averaged where that validates better"
    what = f"`{run.kind}`, {seeds}, {months} months of {run.year}"
    return [f"{what}; {minutes:.0f} minutes for what was not kept.", "", *surroundings()]


def _document(run: SkillRun, lines: list[Line]) -> dict[str, object]:
    return {"year": run.year, "model": run.kind, "seeds": run.seeds, "lines": [asdict(line) for line in lines]}


if __name__ == "__main__":
    raise SystemExit(main())
