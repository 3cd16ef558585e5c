"""The command line: exit codes, errors on one line, and help that is quick."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.store.ledger import Ledger
from tests.daemon.cli.in_process import Ended, run_forecastd
from tests.paths import ROOT

SAMPLE = str(ROOT / "daemon" / "simulator" / "sample")
EMPTY = "/dev/null"  # a configuration file that sets nothing: without any file a running demo would be found


def forecastd(*arguments: str, state_dir: Path) -> Ended:
    # A name of its own: a daemon that happens to run on this machine must not answer.
    names = {"FORECASTD__INSTANCE__NAME": f"cli-{os.getpid()}", "FORECASTD__INSTANCE__STATE_DIR": str(state_dir)}
    return run_forecastd(*arguments, environment=names)


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
        (["status", "-c", EMPTY], 69, "no running forecastd"),
        (["retrain", "--cancel", "-c", EMPTY], 69, "no running forecastd"),
        (["retrain", "--now", "-c", EMPTY], 69, "history fetch"),
        (["train"], 2, "--model"),
        (["train", "--model", "oracle"], 2, "lstm, attention_lstm, transformer, tft"),
        (["train", "--model", "lstm", "--preset", "large"], 2, "lstm has auto, small, reference"),
        (["train", "--model", "lstm", "--epochs", "0"], 2, "--epochs"),
        (["train", "--model", "lstm", "--data", "missing.parquet"], 2, "missing.parquet: there is no such file"),
        (["train", "--model", "lstm", "--data", SAMPLE, "--symbols", "XRP-USDT"], 2, "the symbols in it: BTC-USDT"),
        (["train", "--model", "lstm", "-c", EMPTY], 69, "history fetch first, or name a file with --data"),
        (["train", "--model", "lstm", "-c", EMPTY, "--symbols", "XRP-USDT"], 2, "holds no XRP-USDT"),
        (["explain", "-c", EMPTY], 69, "is not there; start forecastd"),
        (["explain", "--last", "0"], 2, "--last"),
        (["explain", "--plot", "picture.svg"], 2, "ends in .png"),
        (["explain", "--plot", "/nowhere/picture.png"], 2, "no folder /nowhere"),
        (["backtest", "--folds", "0"], 2, "--folds"),
        (["backtest", "--model", "oracle", "-c", EMPTY], 2, "--model: there is no oracle; there are lstm"),
        (["backtest", "--data", "missing.parquet"], 2, "missing.parquet: there is no such file"),
        (["backtest", "--data", SAMPLE, "--from", "soon"], 2, "--from was 'soon'; write a day"),
        (["backtest", "-c", EMPTY], 69, "history fetch first, or name files with --data"),
        (["history", "show"], 2, "no store yet"),
        (["history", "fetch", "--from", "yesterday"], 2, "--from"),
        (["history", "import", "missing.csv"], 2, "missing.csv"),
        (["replay", "missing.parquet"], 2, "no such file"),
        (["replay", __file__, "--interval", "7s"], 2, "--interval"),
        (["replay", __file__, "--venue", "mtgox"], 2, "mtgox"),
        (["replay", __file__, "--symbol", "BTCUSDT"], 2, "BTC-USDT"),
        (["replay", __file__, "--bars", "/nowhere/bars.parquet"], 2, "no folder /nowhere"),
        (["replay", __file__, "--forecasts", "/nowhere/f.ndjson"], 2, "no folder /nowhere"),
        (["simulate", "--speed", "0"], 2, "--speed"),
        (["simulate", "--data", "missing.parquet"], 2, "missing.parquet"),
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


def test_the_module_is_the_command() -> None:
    """``python -m daemon`` in a process of its own passes on arguments, output and exit code."""
    command = [sys.executable, "-m", "daemon", "run", "-c", "missing.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (78, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("forecastd: ")
    assert "missing.toml" in line


CONFIGURATION = """
[mqtt]
url = "mqtts://broker.example.org:8883"
username = "forecastd"
password_file = "${CREDENTIALS_DIRECTORY}/mqtt-password"
"""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["config", "check"], 0, "mqtt.password_file: not checked"),
        (["config", "show"], 0, "${CREDENTIALS_DIRECTORY}/mqtt-password"),
        (["status"], 69, "no running forecastd"),
        (["retrain", "--now"], 69, "history fetch"),
        (["train", "--model", "lstm", "--data", SAMPLE, "--symbols", "XRP-USDT"], 2, "the symbols in it: BTC-USDT"),
        (["history", "show"], 2, "no store yet"),
        (["run"], 78, "CREDENTIALS_DIRECTORY is not set"),
    ],
)
def test_clients_need_no_secrets(arguments: list[str], exit_code: int, says: str, tmp_path: Path) -> None:
    """With systemd's credentials in the configuration every command but ``run`` works from a shell."""
    file = tmp_path / "forecastd.toml"
    file.write_text(CONFIGURATION)
    done = forecastd(*arguments, "-c", str(file), state_dir=tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert says in done.stdout + done.stderr


def test_a_venue_that_is_not_there_is_69(tmp_path: Path) -> None:
    """``history fetch`` says which address did not answer."""
    file = tmp_path / "forecastd.toml"
    file.write_text(
        '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\n'
        'ws_url = "ws://127.0.0.1:9"\nrest_url = "http://127.0.0.1:9"\n'
    )
    done = forecastd("history", "fetch", "--from", "2024-01-01", "-c", str(file), state_dir=tmp_path)
    assert done.returncode == 69, done.stderr
    assert "127.0.0.1:9" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [["history", "fetch", "--from", "2024-01-01"], ["retrain", "--now", "-c", EMPTY]])
def test_a_state_directory_that_cannot_be_made_is_one_line(arguments: list[str], tmp_path: Path) -> None:
    """A folder below a file is named, without a traceback."""
    (tmp_path / "file").write_text("")
    done = forecastd(*arguments, state_dir=tmp_path / "file" / "state")
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "file/state: Not a directory; make it writable or choose another" in line


def test_a_damaged_store_is_one_line(tmp_path: Path) -> None:
    """SQLite's answer of several lines becomes one that names the file and the cure."""
    with Ledger(tmp_path / "ledger.sqlite"):
        pass
    with (tmp_path / "ledger.sqlite").open("r+b") as file:
        file.seek(4096)
        file.write(b"x" * 4096)
    done = forecastd("history", "show", state_dir=tmp_path)
    assert done.returncode == 70, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "is damaged" in line
    assert "move the file away" in line


def test_all_configuration_errors_are_printed_at_once(tmp_path: Path) -> None:
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
    piped = forecastd("history", "show", state_dir=tmp_path)
    (row,) = [line.split() for line in piped.stdout.splitlines() if "binance:BTC-USDT" in line]
    assert row == [
        *("binance:BTC-USDT", "2023-11-14T23:00:00Z", "2023-11-15T04:00:00Z"),
        *("5", "0", "5", "venue_candle"),
    ]
