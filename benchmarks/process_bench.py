"""How long the command line takes to start, and how much memory a demo holds as time goes by.

The demo is the real one without its view: simulated exchange, daemon, embedded broker and training child, market
time 360 times as fast. The memory is that of its main process.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.table import Row, ratio, row
from daemon.clock import ScaledClock
from daemon.config import load_config
from daemon.logs import start_logging
from daemon.runtime.app import App
from daemon.runtime.hooks import Hooks
from daemon.simulator.exchange import SimulatedExchange
from daemon.simulator.loading import load_sample

STARTS = 15
KINDS = {"attention_lstm": ("with torch", 600), "har": ('with kind = "har"', 150)}
_GROWTH_MB = 20
_TRAINING_TIMEOUT_S = 300.0
_SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
_BIN = Path(sys.executable).parent


def run(memory_minutes: float = 3.0) -> list[Row]:
    """The rows of the benchmark table; ``memory_minutes``: how long each demo goes on once its model speaks."""
    return [*_starts(), *(figure for kind in KINDS for figure in _memory(kind, memory_minutes))]


def _starts() -> list[Row]:
    commands = ([sys.executable, "-c", "import typer"], [str(_BIN / "forecastd"), "--help"])
    rounds = [[_wall_s(command) for command in commands] for _ in range(STARTS)]
    bare, help_text = zip(*rounds, strict=True)
    return [
        row("python -c 'import typer'", statistics.median(bare) * 1e3, "ms"),
        row("forecastd --help", statistics.median(help_text) * 1e3, "ms"),
        row("forecastd --help over import typer", ratio(help_text, bare), "ratio", 1.6),
    ]


def _wall_s(command: Sequence[str]) -> float:
    started_s = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started_s


def _memory(kind: str, minutes: float) -> list[Row]:
    command = [sys.executable, "-m", "benchmarks.process_bench", kind, str(minutes)]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])
    assert answer["torch"] == (kind != "har"), f"torch imported: {answer['torch']}, with kind {kind}"
    name, guide = KINDS[kind]
    return [
        row(f"resident at minute 1, {name}", answer["early_mb"], "MB"),
        row(f"resident at minute {minutes:g}, {name}, {answer['forecasts']} forecasts", answer["late_mb"], "MB", guide),
        row(f"growth since minute 1, {name}", answer["late_mb"] - answer["early_mb"], "MB", _GROWTH_MB),
    ]


# The demo, in a process of its own


async def _demo(kind: str, minutes: float, folder: Path) -> dict[str, object]:
    market = load_sample()
    live_from_us = market.open_us(market.live_index(live_days=60.0))
    clock = ScaledClock(start_us=live_from_us, speed=360.0)
    exchange = SimulatedExchange(market, clock=clock, live_from_us=live_from_us)
    addresses = await exchange.start()
    feed = {
        "venue": "binance",
        "symbols": list(_SYMBOLS),
        "ws_url": addresses.ws_url,
        "rest_url": addresses.rest_url,
    }
    values = {
        "instance.state_dir": str(folder),
        "feeds": [feed],
        "http.listen": "127.0.0.1:0",
        "model.kind": kind,
        "mqtt.embedded_port": 0,
    }
    app = App(
        load_config(None, command_line=values, environ={}),
        clock=clock,
        environ={},
        hooks=Hooks(training_budget_s=20.0),
    )
    running = asyncio.create_task(app.run())
    try:
        async with asyncio.timeout(_TRAINING_TIMEOUT_S):
            while not (app.started.is_set() and _forecasts(app, _SYMBOLS[0])):  # noqa: ASYNC110  # a sample, not a signal
                await asyncio.sleep(0.5)
        early_minutes = min(1.0, minutes / 2)
        await asyncio.sleep(early_minutes * 60)
        early_mb = resident_mb()
        await asyncio.sleep((minutes - early_minutes) * 60)
        return {
            "early_mb": early_mb,
            "late_mb": resident_mb(),
            "torch": "torch" in sys.modules,
            "forecasts": sum(_forecasts(app, symbol) for symbol in _SYMBOLS),
        }
    finally:
        app.stop()
        await running
        await exchange.stop()


def _forecasts(app: App, symbol: str) -> int:
    """The number of forecasts by the configured model."""
    labels = {"venue": "binance", "symbol": symbol, "source": "model"}
    return int(app.components.metrics.registry.get_sample_value("forecastd_forecasts_total", labels) or 0)


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(kind: str, minutes: float) -> None:
    start_logging(level="error")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(uvloop.run(_demo(kind, minutes, Path(folder)))))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
