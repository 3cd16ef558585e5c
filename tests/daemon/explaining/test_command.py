"""``forecastd explain`` as it is typed: exit codes, streams, JSON, and whose store is read."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.serving.control import SOCKET_NAME, ControlServer
from daemon.serving.status import MqttStatus, StatusDocument, StoreStatus
from tests.daemon.cli.in_process import Ended, run_forecastd
from tests.daemon.explaining.conftest import Filled

EMPTY = "/dev/null"  # a configuration file that sets nothing: without any file a running demo would be found


def environment(folder: Path, **changes: str) -> dict[str, str]:
    own = {"FORECASTD__INSTANCE__NAME": f"cli-{os.getpid()}", "FORECASTD__INSTANCE__STATE_DIR": str(folder)}
    return {**os.environ, **own, **changes}


def explain(folder: Path, *arguments: str) -> Ended:
    return run_forecastd("explain", *arguments, "-c", EMPTY, environment=environment(folder))


def test_text_and_picture(filled_by_tft: Filled, tmp_path: Path) -> None:
    """Text on standard output, the picture in its file, and nothing else."""
    file = tmp_path / "report.png"
    done = explain(filled_by_tft.folder, "--plot", str(file), "--last", "3")
    assert done.returncode == 0, done.stderr
    assert "What it looked at most" in done.stdout
    assert "\x1b" not in done.stdout
    assert f"picture: {file}" in done.stderr
    assert file.read_bytes().startswith(b"\x89PNG")


def test_json(filled: Filled) -> None:
    """One document: hours that sum to one, the top five among them, features or null, and the recent forecasts."""
    newest = [each for each in filled.issued if each.forecast.symbol == "ETH-USDT"][-1]
    done = explain(filled.folder, newest.id, "--last", "4", "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["schema"], report["id"], report["model"]["kind"]) == (
        "forecastd.explanation.v1",
        newest.id,
        filled.kind,
    )
    assert sum(hour["weight"] for hour in report["hours"]) == pytest.approx(1.0, abs=1e-6)
    assert report["hours"][-1]["to"] == report["bar_close"]
    assert [hour in report["hours"] for hour in report["top_hours"]] == [True] * (1 if filled.kind == "lstm" else 5)
    assert (report["features"] is None) == (report["families"] is None) == (filled.kind != "tft")
    assert [each["id"] for each in report["recent"]][-1] == newest.id
    assert len(report["recent"]) == 4


def test_refusals_are_one_line(filled_by_tft: Filled, tmp_path: Path) -> None:
    """With their exit codes: 2 for wrong arguments, 69 where there is no store."""
    for folder, arguments, exit_code, says in (
        (filled_by_tft.folder, ["nonsense"], 2, "holds no forecast nonsense"),
        (filled_by_tft.folder, [filled_by_tft.issued[0].id], 2, "made by the baseline har"),
        (filled_by_tft.folder, ["--symbol", "XRP-USDT"], 2, "there are forecasts of binance:BTC-USDT"),
        (filled_by_tft.folder, ["--plot", "picture.gif"], 2, "ends in .png"),
        (tmp_path, [], 69, "is not there; start forecastd"),
    ):
        done = explain(folder, *arguments)
        assert done.returncode == exit_code, done.stderr
        (line,) = done.stderr.strip().splitlines()
        assert says in line
        assert done.stdout == ""


def test_without_matplotlib_only_the_picture_is_refused(
    filled_by_tft: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text needs no extra; a picture names the one that it needs, before anything is read."""
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    refused = explain(filled_by_tft.folder, "--plot", str(tmp_path / "picture.png"))
    assert refused.returncode == 2
    assert 'pip install "forecastd[plot]"' in refused.stderr
    assert refused.stdout == ""
    assert explain(filled_by_tft.folder).returncode == 0


async def test_the_running_daemon_s_store_is_read(filled_by_tft: Filled, tmp_path: Path) -> None:
    """Without a configuration file the running daemon names its store; a given folder has priority."""
    document = StatusDocument(
        instance="demo",
        version="1",
        state="online",
        reason="",
        since="2026-01-05T13:00:00Z",
        clock="2026-01-05T13:00:00Z",
        speed=1.0,
        interval="1h",
        symbols=[],
        mqtt=MqttStatus(url="mqtt://127.0.0.1:1883", connected=True),
        store=StoreStatus(path=str(filled_by_tft.folder)),
    )

    async def answer(_command: str, _arguments: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        yield msgspec.to_builtins(document)

    nowhere = tmp_path / "nowhere"
    server = ControlServer(tmp_path / SOCKET_NAME, answer)
    await server.start()
    try:
        for arguments, exit_code in (([], 0), (["--state-dir", str(nowhere)], 69)):
            asked = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "daemon", "explain", "--json", *arguments),
                env=environment(nowhere, RUNTIME_DIRECTORY=str(tmp_path)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, _ = await asyncio.wait_for(asked.communicate(), 60)
            assert asked.returncode == exit_code
            assert bool(out) == (exit_code == 0)
    finally:
        await server.stop()
