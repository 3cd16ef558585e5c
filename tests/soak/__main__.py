"""``python -m tests.soak``: the daemon against faulty exchanges for hundreds of bars, then a check of every promise."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop

from daemon.exchanges import VENUE_NAMES
from tests.soak.bar_checks import CheckResults
from tests.soak.checks import check_promises
from tests.soak.environment import SoakEnvironment, finished
from tests.soak.schedule import rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=500, help="bars per venue and symbol")
    parser.add_argument("--bar-seconds", type=float, default=5.0, help="wall seconds that a minute of market lasts")
    parser.add_argument("--seed", type=int, default=1, help="of faults, kills and restarts")
    parser.add_argument("--venues", default=",".join(VENUE_NAMES))
    parser.add_argument("--symbols", default="BTC-USDT,SOL-USDT")
    parser.add_argument("--faults", default="", help="kinds to inject, separated by commas; by default the active ones")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the usual number of faults an hour")
    parser.add_argument("--report", type=Path, help="where to write the report as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forecastd-soak-", ignore_cleanup_errors=True) as folder:
        started_s = time.monotonic()
        soak, results = uvloop.run(_soak(options, Path(folder)))
        report = _report(soak, results, time.monotonic() - started_s)
        if results.problems:
            kept = Path(tempfile.mkdtemp(prefix="forecastd-soak-log-")) / "daemon.log"
            kept.write_bytes((Path(folder) / "daemon.log").read_bytes())
            print(f"the daemon's log is kept in {kept}")
    print(_table(report))
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for problem in results.problems:
        print(problem, file=sys.stderr)
    print("BROKEN" if results.problems else "every promise was kept")
    return 1 if results.problems else 0


async def _soak(options: argparse.Namespace, folder: Path) -> tuple[SoakEnvironment, CheckResults]:
    soak = SoakEnvironment(
        folder,
        venues=options.venues.split(","),
        symbols=options.symbols.split(","),
        bars=options.bars,
        bar_s=options.bar_seconds,
        seed=options.seed,
        faults_per_hour=rates(options.faults, options.rate),
    )
    async with finished(soak):
        return soak, await asyncio.to_thread(check_promises, soak)


def _report(soak: SoakEnvironment, results: CheckResults, took_s: float) -> dict[str, Any]:
    faults = {
        name: dict(Counter(entry.kind for entry in exchange.log.entries)) for name, exchange in soak.exchanges.items()
    }
    memory = [size for run in soak.daemon_runs for _, size in run.memory]
    return {
        "seed": soak.seed,
        "bars": results.bars,
        "bars_per_venue_and_symbol": soak.bars - 3,
        "symbols": list(soak.symbols),
        "forecasts": results.forecasts,
        "messages": soak.received.messages,
        "completeness": {name: dict(counts) for name, counts in results.completeness.items()},
        "audits": {name: dict(counts) for name, counts in results.audits.items()},
        "unproven_and_wrong": results.unproven_and_wrong,
        "faults": faults,
        "daemon_kills": len(soak.daemon_runs) - 1,
        "broker_restarts": soak.broker_restarts,
        "memory_mb_most": round(max(memory) / 1e6),
        "closes_in_stalls": results.stalled,
        "broken": dict(results.counts),
        "problems": results.problems,
        "took_s": round(took_s),
    }


def _table(report: dict[str, Any]) -> str:
    kinds = ("proven", "empty", "unproven", "venue_candle", "gap")
    lines = ["| venue | " + " | ".join(kinds) + " | audit equal | audit differs | faults |", "|---|" + "---|" * 8]
    for name, counts in report["completeness"].items():
        audits = report["audits"][name]
        cells = [str(counts.get(each, 0)) for each in kinds]
        faults = sum(report["faults"][name].values())
        cells += [str(audits.get("equal", 0)), str(audits.get("differs", 0)), str(faults)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append(
        f"\n{report['bars']} bars, {report['forecasts']} forecasts, {report['messages']} messages, "
        f"{report['daemon_kills']} kills -9, {report['broker_restarts']} broker restarts, "
        f"{report['unproven_and_wrong']} unproven bars wrong, {report['closes_in_stalls']} closes in stalls, "
        f"{report['memory_mb_most']} MB at most, "
        f"seed {report['seed']}, {report['took_s']} s"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
