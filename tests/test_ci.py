"""`.ci/run`: installs only missing tools, passes failures on, and ends with the test summaries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT

SCRIPT, BARE = ROOT / ".ci" / "run", ROOT / ".ci" / "bare"
TOOLS = ("mosquitto", "mosquitto_sub", "prometheus", "promtool", "systemd-analyze", "python3", "sudo", "apt-get")
SUMMARY = "1200 passed in 200.00s"
SKIPPED = "9 tests were skipped because programs are missing; to run them: apt install mosquitto prometheus systemd"


def stub(path: Path, body: str) -> None:
    """A program that records its name and arguments, then runs ``body``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> "$CALLS"\n{body}\n')
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with only the script, beside programs that all succeed."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci" / "run")
    for name in TOOLS:
        stub(tmp_path / "bin" / name, "exit 0")
    stub(tmp_path / "bin" / "make", f'[ "$1" = test ] && printf "{SKIPPED}\\n{SUMMARY}\\n"; exit 0')
    stub(tmp_path / ".ci" / "bare", 'exec "$@"')
    stub(tmp_path / ".venv" / "bin" / "python", "exit 0")
    return tmp_path


def run(checkout: Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The outcome, and the calls in order."""
    calls = checkout / "calls"
    environment = {
        **os.environ,
        "PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(calls),
        "PYTHON": "python3",
    }
    ran = subprocess.run(
        [checkout / ".ci" / "run"], capture_output=True, text=True, timeout=30, check=False, env=environment
    )
    return ran, calls.read_text().splitlines()


def test_with_every_tool_there_nothing_is_installed(checkout: Path) -> None:
    """Lint, tests, dashboards, simulation and soak run in this order, without apt and without the network."""
    ran, calls = run(checkout)
    assert ran.returncode == 0, ran.stderr
    assert [re.sub("@.*", "@SKIPPED", call) for call in calls if not call.startswith("python3")] == [
        "make lint",
        "bare make test",
        "make test",
        "python -m pytest -q @SKIPPED",
        "make check",
        "python -m grafana.verify --demo",
        "make simulate",
        "make soak SOAK=--bars 48 SOAK_BROKER=--bars 62",
    ]


def test_the_last_line_is_the_tests_summary(checkout: Path) -> None:
    """The end of the output shows how many tests passed."""
    ran, _ = run(checkout)
    assert ran.stdout.splitlines()[-1] == SUMMARY


@pytest.mark.parametrize(("failing", "body"), [("bin/make", "exit 2"), (".venv/bin/python", "exit 1")])
def test_a_failing_check_fails_the_run(checkout: Path, failing: str, body: str) -> None:
    """Pipes do not hide an exit code."""
    stub(checkout / failing, body)
    ran, _ = run(checkout)
    assert ran.returncode != 0


def test_a_failing_test_fails_the_run(checkout: Path) -> None:
    """The tests' output goes through a pipe and ends the run all the same, before the dashboards."""
    stub(checkout / "bin" / "make", '[ "$1" = test ] && { echo "1 failed"; exit 2; }; exit 0')
    ran, calls = run(checkout)
    assert ran.returncode != 0
    assert ran.stdout.splitlines()[-1] == "1 failed"
    assert "python -m grafana.verify --demo" not in calls


def test_tools_that_are_missing_fail_rather_than_skip(checkout: Path) -> None:
    """CI=true reaches the checks unless the caller set another value."""
    stub(checkout / "bin" / "make", 'echo "CI=$CI"; exit 0')
    ran, _ = run(checkout)
    assert "CI=true" in ran.stdout


def test_a_failing_long_test_fails_the_run(checkout: Path) -> None:
    """A failure of `make check` ends the run before the dashboards, too."""
    stub(checkout / "bin" / "make", '[ "$1" = check ] && { echo "1 failed"; exit 2; }; exit 0')
    ran, calls = run(checkout)
    assert ran.returncode != 0
    assert "python -m grafana.verify --demo" not in calls


def test_a_bare_machine_has_none_of_the_programs() -> None:
    """The command finds what a fresh machine has, no more, is not in CI, and its exit code is passed on."""
    command = 'command -v make || exit 9; command -v mosquitto promtool; echo "CI=$CI$SYSTEM_FOLDERS"; exit 7'
    environment = os.environ | {"CI": "true", "PATH": f"{os.environ['PATH']}{os.pathsep}/usr/sbin"}
    ran = subprocess.run(
        [BARE, "bash", "-c", command], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    make, ci = ran.stdout.splitlines()
    assert Path(make).name == "make"
    assert ci == "CI="
    assert ran.returncode == 7


def test_a_suite_that_skips_nothing_on_a_bare_machine_fails_the_run(checkout: Path) -> None:
    """Then the programs were not hidden, or the line that names their packages is gone."""
    stub(checkout / "bin" / "make", f'[ "$1" = test ] && echo "{SUMMARY}"; exit 0')
    ran, _ = run(checkout)
    assert ran.returncode != 0
