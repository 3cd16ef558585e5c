"""Small training programs, correct and faulty, and their specification."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from models.specification import TrainingSpec

# What every program finds: its specification, and the messages a worker sends.
_PRELUDE = """
import json, os, signal, subprocess, sys, time
spec = json.load(open(sys.argv[1]))
def say(**message):
    print(json.dumps(message), flush=True)
def progress(ratio):
    say(type="progress", progress={"phase": "training", "ratio": ratio, "elapsed_s": 1.0, "epoch": 1, "epochs": 2})
def finish():
    folder = os.path.join(spec["output_dir"], "artifact-1")
    os.makedirs(folder)
    say(type="finished", artifact=folder, scores={"1": {"pinball_vs_har": 0.99}})
"""

SUCCESS = "say(type='started', pid=os.getpid()); progress(0.25); progress(0.75); finish()"
HANG = "progress(0.5); time.sleep(60)"
OBEDIENT = """
progress(0.5)
for line in sys.stdin:
    say(type="log", message=line.strip())
    progress({"pause": 0.6, "resume": 0.7, "cancel": 0.8}[line.strip()])
    if line.strip() == "cancel":
        sys.exit(75)
"""


def command(folder: Path, body: str) -> list[str]:
    """The command line of a program with this body; the supervisor appends the specification's path."""
    path = folder / "program.py"
    path.write_text(_PRELUDE + body, encoding="utf-8")
    return [sys.executable, "-IS", str(path)]


def specification(folder: Path) -> TrainingSpec:
    return TrainingSpec(data_file=folder / "bars.parquet", output_dir=folder / "models" / "artifacts")


def gone(pid: int, *, within_s: float = 5.0) -> bool:
    """Whether a process ends in time: a kill takes effect a moment after it was sent."""
    deadline_s = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return not alive(pid)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
