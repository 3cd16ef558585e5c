"""``forecastd simulate`` as a process: one JSON line, then an exchange, until a signal or the end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.errors import EXIT_USAGE
from daemon.simulator.command import SimulationRefused, simulate
from tests.limits import LIMIT_S

RUN = "import asyncio, sys; from daemon.simulator.command import simulate; asyncio.run(simulate({}))"


async def started(arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN.format(arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        return process, json.loads(await process.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [pytest.param("speed=360", marks=pytest.mark.long), "interval='5s'"])
async def test_it_serves_until_a_signal(arguments: str) -> None:
    """The printed address answers with recent trades, and SIGTERM ends it with exit code 0."""
    process, ready = await started(arguments)
    try:
        assert ready["symbols"] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
        assert ready["ws_url"].startswith("ws://127.0.0.1:")
        url = f"{ready['rest_url']}/api/v3/aggTrades?symbol=SOLUSDT&limit=1"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert len(await response.json()) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_S):
            code = await process.wait()
    assert code == 0


@pytest.mark.slow
async def test_faults_are_printed_as_they_happen(tmp_path: Path) -> None:
    """Each is a JSON line on standard error, with the venue, its kind and its parameters."""
    plan = tmp_path / "faults.toml"
    plan.write_text('[[fault]]\nkind = "drop"\nsymbol = "BTC-USDT"\ncount = 3\nat_s = 0.1\n')
    process, _ = await started(f"venue='okx', speed=60, faults=__import__('pathlib').Path({str(plan)!r})")
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT_S):
        fault = json.loads(await process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert (fault["venue"], fault["kind"], fault["symbol"]) == ("okx", "drop", "BTCUSDT")
    assert fault["details"] == {"count": 3}


async def test_it_ends_with_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    """At a million times speed an hour of live data is over at once, and so is the command."""
    async with asyncio.timeout(LIMIT_S):
        await simulate(speed=1e6, live_days=1 / 24)
    assert json.loads(capsys.readouterr().out)["symbols"] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"venue": "mtgox"}, "speaks binance, coinbase, kraken, bybit, bybit_linear, okx, bitstamp"),
        ({"speed": 2.0, "interval": "5s"}, "exclude each other"),
        ({"interval": "7x"}, "7x"),
        ({"interval": "7h"}, "must divide a day"),
        ({"live_days": 10_000.0}, "live days"),
        ({"speed": 0.0}, "--speed was 0"),
        ({"speed": -5.0}, "--speed was -5"),
        ({"speed": float("nan")}, "--speed was nan"),
        ({"port": 65_535}, "--port was 65535"),
        ({"port": -1}, "--port was -1"),
    ],
)
async def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], problem: str) -> None:
    """Bad settings are usage errors, before the exchange opens a socket."""
    with pytest.raises(SimulationRefused, match=problem) as refused:
        await simulate(**settings)  # type: ignore[arg-type]  # typed as one union
    assert refused.value.exit_code == EXIT_USAGE


async def test_a_plan_of_faults_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The file and what is wrong in it are named."""
    plan = tmp_path / "faults.toml"
    plan.write_text('[[fault]]\nkind = "earthquake"\n')
    with pytest.raises(SimulationRefused, match=r"--faults: .*faults\.toml: Invalid enum value 'earthquake'"):
        await simulate(faults=plan)


async def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong path is a usage error with the path in it."""
    with pytest.raises(SimulationRefused, match=r"--data: .*nowhere\.parquet"):
        await simulate(data=tmp_path / "nowhere.parquet")
