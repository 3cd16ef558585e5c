"""``forecastd train``: every network by one command, from a file and from the store, and how its scores are shown."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from daemon.cli.commands.console import open_console
from daemon.cli.commands.train import score_table
from daemon.errors import EXIT_USAGE
from models.artifacts.artifact import read_artifact
from models.presets import PRESETS
from tests.daemon.cli.in_process import run_forecastd
from tests.models.synthetic import garch_bars
from tests.paths import ROOT


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Klines of two symbols as a collector stores them."""
    file = tmp_path_factory.mktemp("bars") / "klines.parquet"
    open_time = (pl.col("open_time_us") // 1000).alias("open_time")
    named = garch_bars(1400).with_columns(open_time, pl.col("symbol").str.replace("-", ""))
    named.drop("venue", "open_time_us", "complete").write_parquet(file)
    return file


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "daemon", *arguments]


def environment(state_dir: Path) -> dict[str, str]:
    names = {"FORECASTD__INSTANCE__NAME": f"train-{os.getpid()}", "FORECASTD__INSTANCE__STATE_DIR": str(state_dir)}
    return {**os.environ, **names, "FORECASTD__MODEL__DEVICE": "cpu", "FORECASTD__RETRAIN__HISTORY": "9y"}


def forecastd(*arguments: str, state_dir: Path) -> list[dict[str, Any]]:
    """The JSON lines of a command that ends well."""
    done = run_forecastd(*arguments, environment=environment(state_dir))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def flat(bars: pl.DataFrame) -> pl.DataFrame:
    """The same bars of a price that never moves."""
    return bars.with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))


def refused(*arguments: str, state_dir: Path) -> tuple[int, str]:
    """The exit code and standard error of a command."""
    done = subprocess.run(
        command(*arguments), env=environment(state_dir), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flat, "the price of binance:ETH-USDT never moves"),
        (lambda bars: bars.head(1), "no series has them"),
    ],
)
def test_a_file_that_nothing_can_be_trained_on_is_named(
    change: Callable[[pl.DataFrame], pl.DataFrame], message: str, bars: Path, tmp_path: Path
) -> None:
    """It is the file's fault, not an internal error: one line with the file and the reason, exit code 2."""
    file = tmp_path / "short.parquet"
    change(pl.read_parquet(bars).filter(pl.col("symbol") == "ETHUSDT")).write_parquet(file)
    code, errors = refused("train", "--model", "lstm", "--data", str(file), state_dir=tmp_path)
    assert code == EXIT_USAGE
    (line,) = errors.splitlines()
    assert line.startswith(f"forecastd: {file}: ")
    assert message in line


def test_bars_of_another_interval_are_refused_before_the_training(bars: Path, tmp_path: Path) -> None:
    file = tmp_path / "minutes.parquet"
    klines = pl.read_parquet(bars)
    klines.with_columns((pl.col("open_time") + 60_000).alias("open_time")).write_parquet(file)
    code, errors = refused("train", "--model", "lstm", "--data", str(file), state_dir=tmp_path)
    assert (code, len(errors.splitlines())) == (EXIT_USAGE, 1)
    assert "is not on the 1h grid; set [bars] interval" in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["attention_lstm", *(pytest.param(each, marks=pytest.mark.long) for each in PRESETS if each != "attention_lstm")],
)
def test_every_network_is_trained_by_one_command(kind: str, bars: Path, tmp_path: Path) -> None:
    """Off a terminal: progress as JSON lines up to one, then the candidate and its scores; nothing is promoted."""
    *lines, result = forecastd(
        "train", "--model", kind, "--symbols", "ETH-USDT", "--epochs", "1", "--data", str(bars), state_dir=tmp_path
    )
    ratios = [line["progress"]["ratio"] for line in lines]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1.0
    manifest = read_artifact(Path(result["artifact"])).manifest
    assert (manifest.kind, manifest.preset, manifest.symbols) == (kind, "small", ("binance:ETH-USDT",))
    assert result["scores"] == manifest.scores
    assert result["training"]["parameters"] > 10_000
    assert not (tmp_path / "models" / "champion").exists()
    assert list((tmp_path / "training").iterdir()) == [], "neither snapshot nor checkpoint is left"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("binance:BTC-USDT",)),
        pytest.param(
            ["--symbols", "SOL-USDT,BTC-USDT"], ("binance:BTC-USDT", "binance:SOL-USDT"), marks=pytest.mark.long
        ),
    ],
)
def test_the_store_is_what_is_trained_on_without_a_file(
    arguments: list[str], expected: tuple[str, ...], tmp_path: Path
) -> None:
    """The symbols that are named, or else those of the configuration, as far as the store holds them."""
    file, recent = tmp_path / "klines.parquet", garch_bars(1400, ("BTC-USDT", "SOL-USDT"))
    open_time = (pl.col("open_time_us") // 1000).alias("open_time")
    recent.with_columns(open_time).drop("venue", "open_time_us", "complete").write_parquet(file)
    imported = run_forecastd("history", "import", str(file), environment=environment(tmp_path))
    assert imported.returncode == 0, imported.stderr
    *_, result = forecastd("train", "--model", "lstm", "--epochs", "1", *arguments, state_dir=tmp_path)
    assert read_artifact(Path(result["artifact"])).manifest.symbols == expected


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_command_goes_on(bars: Path, tmp_path: Path) -> None:
    """After ``kill -9`` in its second epoch the same command starts there and leaves the artifact of one left alone."""
    arguments = ("train", "--model", "lstm", "--epochs", "2", "--data", str(bars))
    alone = forecastd(*arguments, state_dir=tmp_path / "alone")[-1]
    with subprocess.Popen(
        command(*arguments), env=environment(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if json.loads(line)["progress"]["epoch"] == 2:
                killed.kill()
                break
    assert killed.returncode == -signal.SIGKILL
    *lines, result = forecastd(*arguments, state_dir=tmp_path)
    assert next(epoch for line in lines if (epoch := line["progress"]["epoch"])) == 2
    assert result["model_id"] == alone["model_id"]


@pytest.mark.long
@pytest.mark.slow
def test_a_terminal_gets_a_bar_and_a_table(bars: Path, tmp_path: Path) -> None:
    """On a terminal: how far it is, the parameter count, each ratio with its standard error, the candidate's folder."""
    ours, theirs = pty.openpty()
    arguments = ("train", "--model", "lstm", "--epochs", "1", "--data", str(bars))
    names = {**environment(tmp_path), "TERM": "xterm", "COLUMNS": "160"}
    with subprocess.Popen(command(*arguments), env=names, cwd=ROOT, stdin=theirs, stdout=theirs) as training:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    assert training.returncode == 0
    text = shown.decode()
    for words in ("epoch 1/1", "100%", "parameters", "vs HAR", "vs random walk", "±", "candidate "):
        assert words in text, words
    assert "{" not in text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end of a terminal is closed
        return b""


def test_no_ratio_is_shown_without_its_error() -> None:
    """One row a horizon: losses of the model and both baselines, ratios with standard errors, coverage."""
    score = {
        "scored": 1234, "pinball_bp_model": 9.5, "pinball_bp_har": 9.6, "pinball_bp_random_walk": 10.0,
        "pinball_vs_har": 0.99, "pinball_vs_har_se": 0.002, "pinball_vs_random_walk": 0.95,
        "pinball_vs_random_walk_se": 0.01, "coverage_80": 0.801, "coverage_95": 0.949,
    }  # fmt: skip
    shown = io.StringIO()
    open_console(shown, width=140).print(score_table({"1": score, "24": score}))
    row = next(line for line in shown.getvalue().splitlines() if line.strip().startswith("24"))
    for cell in ("1,234", "9.50", "9.60", "10.00", "0.9900 ± 0.0020", "0.9500 ± 0.0100", "80.1%", "94.9%"):
        assert cell in row
