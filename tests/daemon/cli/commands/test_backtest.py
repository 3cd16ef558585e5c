"""``forecastd backtest`` from files: the document, the tables and the page, from one small run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import polars as pl
import psutil
import pytest

from daemon.backtesting.document import SCHEMA
from daemon.backtesting.tables import figure, print_document
from daemon.cli.commands.console import open_console
from tests.daemon.cli.in_process import Ended, run_forecastd
from tests.limits import LIMIT_S
from tests.models.synthetic import garch_bars
from tests.paths import ROOT

BEGIN, END = "2024-03-05", "2024-03-20"


def forecastd(*arguments: str, state_dir: Path) -> Ended:
    names = {"FORECASTD__INSTANCE__NAME": f"backtest-{os.getpid()}", "FORECASTD__INSTANCE__STATE_DIR": str(state_dir)}
    names |= {"FORECASTD__MODEL__HORIZONS": "[1, 6]", "FORECASTD__MODEL__DEVICE": "cpu"}
    return run_forecastd("backtest", *arguments, environment=names)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Klines of two symbols as a collector stores them: 2024-01-01 to 2024-03-24."""
    file = tmp_path_factory.mktemp("bars") / "klines.parquet"
    open_time = (pl.col("open_time_us") // 1000).alias("open_time")
    named = garch_bars(2000).with_columns(open_time, pl.col("symbol").str.replace("-", ""))
    named.drop("venue", "open_time_us", "complete").write_parquet(file)
    return file


@pytest.fixture(scope="module")
def report(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run with a network left, its standard output as JSON beside it."""
    folder = tmp_path_factory.mktemp("backtest")
    done = forecastd(
        *("--data", str(bars), "--from", BEGIN, "--to", END, "--folds", "2", "--model", "attention_lstm"),
        *("--preset", "small", "--epochs", "1", "--baselines", "ewma", "--json", "--report", str(folder / "report")),
        *("--workers", "1"),
        state_dir=folder,
    )
    assert done.returncode == 0, done.stderr
    assert "retraining 2/2: attention_lstm" in done.stderr
    (folder / "report" / "stdout.json").write_text(done.stdout)
    return folder / "report"


@pytest.fixture(scope="module")
def published(report: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((report / "backtest.json").read_text())
    return content


def gone(process: psutil.Process) -> bool:
    """Whether it has ended, within a few seconds."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE or process.wait(LIMIT_S) is None
    return True


def keys(value: Any) -> set[str]:
    """Every key of a JSON value, at any depth."""
    if isinstance(value, dict):
        return set(value) | {name for each in value.values() for name in keys(each)}
    return {name for each in value for name in keys(each)} if isinstance(value, list) else set()


@pytest.mark.slow
def test_the_document_holds_every_measure_beside_every_baseline(report: Path, published: dict[str, Any]) -> None:
    """What is printed with --json is what the report's folder holds."""
    assert json.loads((report / "stdout.json").read_text()) == published
    assert published["schema"] == SCHEMA
    assert published["kinds"] == ["attention_lstm", "ewma", "random_walk", "reversal", "har"]
    assert [fold["from"][:10] for fold in published["folds"]] == [BEGIN, "2024-03-12"]
    names = {(result["series"], result["horizon"]) for result in published["results"]}
    assert names == {(name, bars) for name in ("binance:BTC-USDT", "binance:ETH-USDT", "all") for bars in (1, 6)}
    for result in published["results"]:
        assert result["scored"] == (720 if result["series"] == "all" else 360)
        assert set(result["measures"]) == set(published["kinds"])
        assert len(result["diebold_mariano"]) == 10
        network = result["measures"]["attention_lstm"]
        assert set(network["pinball_vs"]) == {"ewma", "random_walk", "reversal", "har"}
        assert 0.8 < network["pinball_vs"]["har"]["value"] < 1.2
        assert network["pinball_vs"]["har"]["se"] > 0
        assert set(network["coverage"]) == {"50", "80", "90", "95"}
        assert len(network["pit"]) == 10
        assert network["leak_alarm"]["verdict"] == "too_short"
        assert result["measures"]["har"]["rmse_vs_random_walk"] == {"value": 1.0, "se": 0.0}
        for measures in result["measures"].values():
            assert set(measures["calibrated"]["coverage"]) == set(measures["coverage"])
            assert measures["calibrated"]["crps_over_raw"]["value"] == pytest.approx(
                measures["calibrated"]["crps_bp"]["value"] / measures["crps_bp"]["value"]
            )
        assert network["calibrated"]["crps_over_raw"]["value"] < 1.03


@pytest.mark.slow
def test_no_measure_of_the_price_level_is_reported(published: dict[str, Any], report: Path) -> None:
    """No R2 of a price, no MAPE, no min-max error: neither in the document nor on the page."""
    words = ("mape", "price_r2", "r2_price", "min_max", "accuracy")
    assert not {name for name in keys(published) if any(word in name.lower() for word in words)}
    assert "MAPE" not in (report / "report.html").read_text()


@pytest.mark.slow
def test_the_page_is_whole_in_itself(report: Path) -> None:
    """No script, nothing fetched; every plot is well-formed, the attention map among them."""
    page = (report / "report.html").read_text()
    assert "<script" not in page
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[^\"'\s>]+", page)
    drawings = [ET.fromstring(each) for each in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]  # noqa: S314  # our own
    labels = [each.attrib["aria-label"] for each in drawings]
    for wanted in ("Fan chart of attention_lstm", "Intervals of", "PIT histogram", "Coverage", "Attention", "week to"):
        assert any(label.startswith(wanted) or wanted in label for label in labels), wanted
    for drawing in drawings:
        width, height = map(float, drawing.attrib["viewBox"].split()[2:])
        for circle in drawing.iter("circle"):
            assert 0 <= float(circle.attrib["cx"]) <= width
            assert 0 <= float(circle.attrib["cy"]) <= height
    assert "nan" not in re.sub(r"base64,[^\"]+", "", page).lower().replace("binance", "")


@pytest.mark.slow
def test_the_network_of_each_fold_is_kept(report: Path, published: dict[str, Any]) -> None:
    """So that the same command after a kill trains only what is missing."""
    kept = list((report / "models").glob("attention_lstm-*/attention_lstm-*"))
    assert len(kept) == len(published["folds"]) == 2


def test_the_tables_say_what_the_document_says(report: Path, published: dict[str, Any]) -> None:
    """One table a series, every kind a row, a second table over the horizons."""
    out = io.StringIO()
    print_document(open_console(out, width=200), published)
    text = out.getvalue()
    assert "binance:BTC-USDT, 1 bar ahead, 360 targets" in text
    assert "all, 1 bar ahead, 720 targets" in text
    assert "all, vs HAR by bars ahead" in text
    network = published["results"][0]["measures"]["attention_lstm"]
    assert figure(network["pinball_vs"]["har"], 4) in text
    assert "LEAK" not in text


def test_calibration_is_reported_where_it_was_measured(report: Path, published: dict[str, Any]) -> None:
    """A table of before and after for each series, on the page too; without calibration not a word of it."""
    with_it, without = io.StringIO(), io.StringIO()
    print_document(open_console(with_it, width=200), published)
    assert with_it.getvalue().count("before and after calibration") == 3
    assert "Before and after online calibration" in (report / "report.html").read_text()
    results = [
        {**result, "measures": {kind: {**each, "calibrated": None} for kind, each in result["measures"].items()}}
        for result in published["results"]
    ]
    print_document(open_console(without, width=200), {**published, "results": results})
    assert "calibrat" not in without.getvalue()


def test_a_suspected_leak_and_a_silent_model_are_reported(published: dict[str, Any]) -> None:
    """Both stand under the table that they concern."""
    result = json.loads(json.dumps(published["results"][0]))
    result["measures"]["ewma"]["leak_alarm"] = {"verdict": "suspect", "reasons": ["RMSE is 0.4600"]}
    result["silent"]["har"] = 7
    out = io.StringIO()
    print_document(open_console(out, width=200), {**published, "results": [result]})
    assert "LEAK SUSPECTED in ewma (binance:BTC-USDT, 1 ahead): RMSE is 0.4600" in out.getvalue()
    assert "har has no forecast for 7 targets" in out.getvalue()


@pytest.mark.parametrize(
    ("estimate", "digits", "percent", "expected"),
    [
        (None, 2, False, "-"),
        ({"value": 0.98123, "se": 0.0031}, 4, False, "0.9812 ± 0.0031"),
        ({"value": 1.0, "se": 0.0}, 4, False, "1.0000"),
        ({"value": 0.801, "se": 0.0123}, 1, True, "80.1 ± 1.2%"),
    ],
)
def test_figures(estimate: dict[str, float] | None, digits: int, percent: bool, expected: str) -> None:
    """A value with its error; no error where it is exact."""
    assert figure(estimate, digits, percent=percent) == expected


@pytest.mark.slow
def test_too_little_history_is_one_line_with_the_fold(bars: Path, tmp_path: Path) -> None:
    """HAR cannot be fitted on ten days; the exit code is that of a usage error."""
    done = forecastd("--data", str(bars), "--from", "2024-01-11", "--to", "2024-01-20", "--folds", "1",
                     "--baselines", "har", state_dir=tmp_path)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("forecastd: HAR needs 500 bars")
    assert "(har, fold 1)" in done.stderr


@pytest.mark.long
@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_says_so_on_one_line(bars: Path, tmp_path: Path) -> None:
    """Sent to every process of the terminal, as a terminal does; the exit code is that of an interrupt."""
    command = [sys.executable, "-m", "daemon", "backtest", "--data", str(bars), "--from", BEGIN, "--to", END]
    with subprocess.Popen(
        [*command, "--folds", "2", "--workers", "2", "--model", "lstm", "--epochs", "500"],
        env={**os.environ, "FORECASTD__INSTANCE__STATE_DIR": str(tmp_path), "FORECASTD__MODEL__DEVICE": "cpu"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().endswith("/2: lstm\n")
        workers = psutil.Process(process.pid).children()
        assert len(workers) >= 2
        os.killpg(process.pid, signal.SIGINT)
        *_, last = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert last == "forecastd: cancelled; 0 of 2 tasks were done"
    assert all(gone(worker) for worker in workers)


def test_a_report_that_cannot_be_written_is_said_first(bars: Path, tmp_path: Path) -> None:
    """Before an hour of work, not after it."""
    (tmp_path / "file").write_text("in the way")
    done = forecastd("--data", str(bars), "--report", str(tmp_path / "file" / "report"), "--from", BEGIN,
                     state_dir=tmp_path)  # fmt: skip
    assert done.returncode == 2
    assert "--report was" in done.stderr
    assert "retraining" not in done.stderr
