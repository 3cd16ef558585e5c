"""The command line: exit codes, errors on one line, and help that is quick."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def forecastd(*arguments: str, state_dir: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FORECASTD__INSTANCE__STATE_DIR": str(state_dir)}
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["--version"], 0, "forecastd"),
        (["--help"], 0, "demo"),
        (["nonsense"], 2, "nonsense"),
        (["retrain"], 2, "--now or --cancel"),
        (["config", "check"], 0, "good"),
        (["config", "show", "--origin"], 0, "state_dir"),
        (["config", "schema"], 0, "json-schema.org"),
        (["status"], 69, "no running forecastd"),
        (["retrain", "--cancel"], 69, "no running forecastd"),
        (["retrain", "--now"], 69, "history fetch"),
        (["history", "show"], 2, "no store yet"),
        (["history", "fetch", "--from", "yesterday"], 2, "--from"),
        (["history", "import", "missing.csv"], 2, "missing.csv"),
        (["replay", "missing.parquet"], 2, "no such file"),
        (["replay", __file__, "--interval", "7s"], 2, "--interval"),
        (["demo", "--hours", "100000"], 2, "--hours"),
        (["run", "-c", "missing.toml"], 78, "missing.toml"),
    ],
)
def test_exit_codes_and_messages(arguments: list[str], exit_code: int, says: str, tmp_path: Path) -> None:
    """Each command ends with its documented code and says what, where and the cure."""
    done = forecastd(*arguments, state_dir=tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_every_configuration_error_is_told_at_once(tmp_path: Path) -> None:
    """Two mistakes are two lines and exit code 78."""
    (tmp_path / "bad.toml").write_text('[bars]\ninterval = "7s"\n[mqtt]\nurll = "x"\n')
    done = forecastd("config", "check", "-c", str(tmp_path / "bad.toml"), state_dir=tmp_path)
    assert done.returncode == 78
    assert len(done.stderr.strip().splitlines()) == 2
    assert "mqtt.url" in done.stderr


def test_history_comes_in_and_is_shown(tmp_path: Path) -> None:
    """Klines in Binance's twelve columns are imported, twice as well as once, and shown."""
    rows = [
        f"{t},100,101,99,100.5,10,{t + 3_599_999},1000,5,4,400,0"
        for t in range(1_700_002_800_000, 1_700_020_800_000, 3_600_000)
    ]
    (tmp_path / "klines.csv").write_text("\n".join(rows) + "\n")
    first = forecastd("history", "import", str(tmp_path / "klines.csv"), "--symbol", "BTC-USDT", state_dir=tmp_path)
    again = forecastd("history", "import", str(tmp_path / "klines.csv"), "--symbol", "BTC-USDT", state_dir=tmp_path)
    assert "5 bars of BTC-USDT imported" in first.stdout, first.stderr
    assert again.returncode == 0
    shown = forecastd("history", "show", "--json", state_dir=tmp_path)
    assert '"bars": 5' in shown.stdout
