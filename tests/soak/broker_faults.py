"""``python -m tests.soak.broker_faults``: a daemon whose broker refuses, limits, takes over; a locked store."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from daemon.simulator.exchange import Addresses
from daemon.store.ledger import LEDGER_NAME
from tests.daemon.publishing.brokers import free_port, subscribed
from tests.soak.bar_checks import CheckResults
from tests.soak.broker_checks import check
from tests.soak.broker_link import NOT_AUTHORIZED, QUOTA_EXCEEDED, SERVER_BUSY, BrokerLink, linked
from tests.soak.environment import SoakEnvironment, finished

KINDS = ("denied", "quota", "announced", "enforced", "takeover", "busy", "stalled", "store")
_SIZE_LIMIT = 700  # bytes: a bar fits, a forecast does not
_SAMPLE = re.compile(r'^forecastd_(mqtt_\w+|queue_capacity)(?:\{\w+="([^"]*)"\})? (\S+)$', re.MULTILINE)


class BrokerFaults(SoakEnvironment):
    """A soak without kills and without faults of the venue.

    injected: kind and monotonic start and end of each fault. figures: the daemon's MQTT metrics at its end, by name and
    label. deepest: the most messages seen in the outbox. retained: what the broker holds at the end, by topic.
    """

    def __init__(self, folder: Path, *, bars: int, bar_s: float, seed: int) -> None:
        super().__init__(
            folder,
            venues=("binance",),
            symbols=("BTC-USDT", "SOL-USDT"),
            bars=bars,
            bar_s=bar_s,
            seed=seed,
            faults_per_hour={},
        )
        self.link: BrokerLink
        self.injected: list[tuple[str, float, float]] = []
        self.figures: dict[tuple[str, str], float] = {}
        self.deepest = 0.0
        self.retained: dict[str, bytes] = {}
        self._listen_at = f"127.0.0.1:{free_port()}"
        self._kinds = random.Random(seed)

    async def run(self) -> None:
        async with linked(self._broker.port) as self.link:
            await super().run()

    def _configuration(self, addresses: dict[str, Addresses]) -> Path:  # type: ignore[override]
        file = super()._configuration(addresses)
        text = file.read_text("utf-8").replace(self._broker.url, self.link.url)
        file.write_text(text.replace("127.0.0.1:0", self._listen_at), "utf-8")
        return file

    async def _run_daemon(self, config: Path) -> None:
        self._start(config, wrong_us=0)
        tasks = [asyncio.create_task(each) for each in (self._inject(), self._sample())]
        try:
            await self._watch(self.ends_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._read_figures()
        async with subscribed(self._broker.port, "forecastd/v1/soak/#") as subscriber:
            await asyncio.sleep(1.0)
            self.retained = {message.topic.value: bytes(message.payload) for message in subscriber.of(None)}
        self._end(signal.SIGTERM)

    async def _restart_broker(self) -> None:
        """The broker stays up behind the link."""

    async def _inject(self) -> None:
        """Every kind in random order, then again, each for two bars with three bars between, up to a quiet end."""
        await asyncio.sleep(6 * self.bar_s)
        while True:
            for kind in self._kinds.sample(KINDS, len(KINDS)):
                if time.monotonic() > self.ends_s - 14 * self.bar_s:
                    return
                began_s = time.monotonic()
                async with self._fault(kind):
                    await asyncio.sleep(2 * self.bar_s)
                self.injected.append((kind, began_s, time.monotonic()))
                await asyncio.sleep(3 * self.bar_s)

    @asynccontextmanager
    async def _fault(self, kind: str) -> AsyncIterator[None]:
        link = self.link
        match kind:
            case "denied" | "quota":
                code = NOT_AUTHORIZED if kind == "denied" else QUOTA_EXCEEDED
                part = self._kinds.choice(("/forecast/", "/bar/", "BTC-USDT"))
                link.refusal = lambda topic: code if part in topic else 0
            case "announced":
                link.announced = _SIZE_LIMIT
                link.cut()
            case "enforced":
                link.enforced = _SIZE_LIMIT
            case "takeover":
                await link.take_over()
            case "busy":
                link.connect_code = SERVER_BUSY
                link.cut()
            case "stalled":
                link.stalled = True
            case "store":
                with contextlib.closing(sqlite3.connect(self.folder / "state" / LEDGER_NAME, timeout=20)) as other:
                    other.execute("BEGIN IMMEDIATE")
                    yield
                    other.rollback()
                return
        yield
        link.refusal = lambda _topic: 0
        link.enforced, link.connect_code, link.stalled = None, 0, False
        if link.announced is not None:
            link.announced = None
            link.cut()

    async def _sample(self) -> None:
        while True:
            await self._read_figures()
            await asyncio.sleep(0.5)

    async def _read_figures(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(3)) as session,
                session.get(f"http://{self._listen_at}/metrics") as answer,
            ):
                text = await answer.text()
            self.figures = {(name, label): float(value) for name, label, value in _SAMPLE.findall(text)}
            self.deepest = max(self.deepest, self.figures.get(("mqtt_outbox_depth", ""), 0.0))


def report(soak: BrokerFaults, results: CheckResults) -> dict[str, Any]:
    return {
        "seed": soak.seed,
        "bars": results.bars,
        "forecasts": results.forecasts,
        "completeness": {name: dict(counts) for name, counts in results.completeness.items()},
        "faults": {kind: sum(each == kind for each, *_ in soak.injected) for kind in KINDS},
        "refused": sum(soak.link.refused.values()),
        "oversized": sum(soak.link.oversized.values()),
        "connections": soak.link.connects,
        "outbox_most": soak.deepest,
        "figures": {f"{name}{{{label}}}": value for (name, label), value in sorted(soak.figures.items()) if value},
        "problems": results.problems,
    }


async def _soak(options: argparse.Namespace, folder: Path) -> tuple[BrokerFaults, CheckResults]:
    soak = BrokerFaults(folder, bars=options.bars, bar_s=options.bar_seconds, seed=options.seed)
    async with finished(soak):
        return soak, await asyncio.to_thread(check, soak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=100)
    parser.add_argument("--bar-seconds", type=float, default=5.0, help="wall seconds of a bar")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the faults")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forecastd-broker-", ignore_cleanup_errors=True) as folder:
        soak, results = uvloop.run(_soak(options, Path(folder)))
        if results.problems:
            kept = Path(tempfile.mkdtemp(prefix="forecastd-broker-log-")) / "daemon.log"
            kept.write_bytes((Path(folder) / "daemon.log").read_bytes())
            print(f"the daemon's log is kept in {kept}")
    print(json.dumps(report(soak, results), indent=1))
    print("BROKEN" if results.problems else "every promise was kept")
    return 1 if results.problems else 0


if __name__ == "__main__":
    sys.exit(main())
