"""``python -m tests.soak.many``: one daemon with hundreds of instruments, undisturbed: is every bar proven, in time?"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import uvloop

from daemon.errors import ForecastdError
from daemon.serving.control import ControlClient
from daemon.simulator.loading import load_sample
from daemon.simulator.market_data import MarketData
from tests.soak.bar_checks import CheckResults
from tests.soak.checks import check_promises
from tests.soak.environment import HISTORY_BARS, SoakEnvironment, finished

_TRADES = 30  # a bar and symbol at most: three a second, hundreds a second in all
_LONGEST_STATUS_S = 2.0
_LATEST_FORECAST_S = 5.0


class ManyInstruments(SoakEnvironment):
    """A soak without kills and faults. ``status_s``: wall seconds of each status reply. started_s: of the start."""

    def __init__(self, folder: Path, *, venues: Sequence[str], instruments: int, bars: int, bar_s: float) -> None:
        symbols = [f"S{number:03d}-USDT" for number in range(-(-instruments // len(venues)))]
        super().__init__(
            folder,
            venues=venues,
            symbols=symbols,
            bars=bars,
            bar_s=bar_s,
            seed=1,
            faults_per_hour={},
            data=many(symbols, bars),
        )
        self.status_s: list[float] = []
        self.started_s: float | None = None
        self.late_s: list[float] = []

    async def _run_daemon(self, config: Path) -> None:
        self._start(config, wrong_us=0)
        asking = asyncio.create_task(self._ask_for_status())
        try:
            await self._watch(self.ends_s)
        finally:
            asking.cancel()
        self._end(signal.SIGTERM)

    async def _restart_broker(self) -> None:
        """The broker stays up."""

    async def _ask_for_status(self) -> None:
        """Asks for the status every few seconds; each symbol that has a price is warm."""
        client = ControlClient([self.folder / "control.sock"])
        began_s = time.monotonic()
        while True:
            asked_s = time.monotonic()
            try:
                async for reply in client.stream("status"):
                    symbols = reply["symbols"]
                    self.status_s.append(time.monotonic() - asked_s)
                    warm = sum(each["state"] == "live" for each in symbols)
                    if self.started_s is None and warm == len(symbols):
                        self.started_s = time.monotonic() - began_s
            except (ForecastdError, OSError):
                pass  # it has not started yet
            await asyncio.sleep(2.0)


def many(symbols: Sequence[str], bars: int) -> MarketData:
    """The bars of the sample's symbols under many names, each from another time, with few trades a bar."""
    sample = load_sample()
    sources = list(sample.series.values())
    length = HISTORY_BARS + bars + 8
    series = {}
    for number, symbol in enumerate(symbols):
        source = sources[number % len(sources)]
        first = len(sample) - length - 7 * (number // len(sources))
        names = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume")
        columns = {name: getattr(source, name)[first : first + length] for name in names}
        columns["taker_buy_quote_volume"] = source.taker_buy_quote_volume[first : first + length]
        columns["trades"] = np.minimum(source.trades[first : first + length], _TRADES)
        columns["present"] = source.present[first : first + length]
        native, base = symbol.replace("-", ""), symbol.partition("-")[0]
        series[native] = replace(source, symbol=native, base=base, **columns)
    first_us = sample.open_us(len(sample) - length)
    return MarketData(first_us, sample.interval_us, MappingProxyType(series), sample.notes)


def check(soak: ManyInstruments) -> CheckResults:
    """The promises of a soak; beyond them every bar is proven, every forecast in time, and every status answered."""
    results = check_promises(soak)
    for name, counts in results.completeness.items():
        if others := {kind: count for kind, count in counts.items() if kind not in {"proven", "empty"}}:
            results.broken("not proven", f"{name}: {others}")
    for name in sorted(soak.received.forecasts):
        for payload in soak.received.forecasts[name]:
            late_s = msgspec.json.decode(payload)["latency_ms"]["bar_close_to_publish"] / 1000 / soak.clock.speed
            soak.late_s.append(late_s)
            if late_s > _LATEST_FORECAST_S:
                results.broken("late forecast", f"{name}: {late_s:.1f} s after its bar's close")
    if not soak.status_s or max(soak.status_s) > _LONGEST_STATUS_S:
        results.broken("status", f"{len(soak.status_s)} replies, the slowest in {max(soak.status_s, default=0):.1f} s")
    return results


def report(soak: ManyInstruments, results: CheckResults) -> dict[str, Any]:
    memory = [size for _, size in soak.daemon_runs[0].memory]
    late_s = sorted(soak.late_s) or [0.0]
    return {
        "instruments": len(soak.symbols) * len(soak.venues),
        "bars": results.bars,
        "completeness": {name: dict(counts) for name, counts in results.completeness.items()},
        "forecasts": results.forecasts,
        "forecast_after_close_s": {
            name: round(late_s[int(share * (len(late_s) - 1))], 2)
            for name, share in (("median", 0.5), ("p99", 0.99), ("most", 1))
        },
        "start_s": None if soak.started_s is None else round(soak.started_s, 1),
        "status_replies": len(soak.status_s),
        "status_s_most": round(max(soak.status_s, default=0.0), 2),
        "memory_mb_most": round(max(memory) / 1e6),
        "memory_mb_last": round(memory[-1] / 1e6),
        "problems": results.problems,
    }


async def _soak(options: argparse.Namespace, folder: Path) -> tuple[ManyInstruments, CheckResults]:
    soak = ManyInstruments(
        folder,
        venues=options.venues.split(","),
        instruments=options.instruments,
        bars=round(options.minutes * 60 / options.bar_seconds),
        bar_s=options.bar_seconds,
    )
    async with finished(soak):
        return soak, await asyncio.to_thread(check, soak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=300, help="together at all venues")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--bar-seconds", type=float, default=10.0, help="wall seconds of a bar")
    parser.add_argument(
        "--venues", default="binance,coinbase", help="venues with contiguous ids, so that bars can be proven"
    )
    parser.add_argument("--report", type=Path, help="where to write the report as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forecastd-many-", ignore_cleanup_errors=True) as folder:
        soak, results = uvloop.run(_soak(options, Path(folder)))
        written = json.dumps(report(soak, results), indent=1)
        if results.problems:
            kept = Path(tempfile.mkdtemp(prefix="forecastd-many-log-")) / "daemon.log"
            kept.write_bytes((Path(folder) / "daemon.log").read_bytes())
            print(f"the daemon's log is kept in {kept}")
    print(written)
    if options.report:
        options.report.write_text(written + "\n", encoding="utf-8")
    print("BROKEN" if results.problems else "every bar was proven and every forecast in time")
    return 1 if results.problems else 0


if __name__ == "__main__":
    sys.exit(main())
