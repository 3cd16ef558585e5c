"""``python -m benchmarks``: how fast and how small, as a table. Figures are printed and never asserted.

Each benchmark runs in a process of its own, so that none inherits another's memory, threads or imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.table import Row, markdown, surroundings

BENCHMARKS = {
    "bar": "frame to bar without I/O, beside bare decoding",
    "ingest": "frame to bar over a loopback websocket, beside bare websockets",
    "symbols": "a thousand symbols at 20,000 trades a second: the share of one core",
    "gap": "a gap of 10,000 trades repaired, beside what the venue's limits allow",
    "close": "bar closed to PUBACK, beside bare forward and publish, idle and beside a busy process",
    "features": "feature rows of one bar close and of years of history",
    "inference": "forecasts beside the bare network",
    "training": "training windows a second, beside the same network in a plain DataLoader loop",
    "publish": "the publisher beside a bare client",
    "process": "start of the command line, and memory of a demo",
}
_BEGIN, _END = "<!-- begin: written by python -m benchmarks -->", "<!-- end -->"


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.child:
        module = import_module(f"benchmarks.{arguments.child}_bench")
        options = {"memory_minutes": arguments.memory_minutes} if arguments.child == "process" else {}
        print(json.dumps(module.run(**options)))
        return
    about = surroundings()
    rows = [row for name in arguments.names or BENCHMARKS for row in _measured(name, arguments.memory_minutes)]
    lines = [*(f"- {line}" for line in about), "", *markdown(rows)]
    print(json.dumps({"surroundings": about, "rows": rows}, indent=1) if arguments.json else "\n".join(lines))
    if arguments.write:
        write(arguments.write, lines)


def write(document: Path, lines: list[str]) -> None:
    """Puts the table between the document's two markers."""
    before, _, rest = document.read_text("utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    document.write_text("\n".join([before + _BEGIN, "", *lines, "", _END]) + after, encoding="utf-8")


def _measured(name: str, memory_minutes: float) -> list[Row]:
    started_s = time.monotonic()
    print(f"{name}: {BENCHMARKS[name]} ...", end=" ", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks", "--child", name, "--memory-minutes", str(memory_minutes)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    print(f"{time.monotonic() - started_s:.0f} s", file=sys.stderr)
    rows: list[Row] = json.loads(answer.splitlines()[-1])
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="\n".join(f"{name:10} {text}" for name, text in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *BENCHMARKS], help="default: all")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this document")
    parser.add_argument("--memory-minutes", type=float, default=3.0, help="how long each demo of `process` runs")
    parser.add_argument("--child", choices=BENCHMARKS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
