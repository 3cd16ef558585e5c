"""The systemd units: accepted by systemd's own tools, and holding what the daemon relies on."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.specification import BASELINE_KINDS
from tests.paths import ROOT
from tests.programs import program

UNITS = ROOT / "deploy" / "systemd"
SERVICE = UNITS / "forecastd.service"
DROP_IN = Path("forecastd.service.d") / "gpu.conf.example"

needs_systemd = pytest.mark.usefixtures("systemd_analyze")


@pytest.fixture(scope="module")
def systemd_analyze() -> str:
    return program("systemd-analyze")


def verify(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [UNITS / "verify", folder],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the units to spoil."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    return folder


def spoil(folder: Path, old: str, new: str) -> None:
    unit = folder / SERVICE.name
    text = unit.read_text()
    assert old in text
    unit.write_text(text.replace(old, new))


@needs_systemd
def test_the_units_pass() -> None:
    """With and without the GPU drop-in."""
    checked = verify(UNITS)
    assert (checked.returncode, checked.stderr) == (0, "")


@needs_systemd
def test_a_misspelt_key_fails(copy: Path) -> None:
    """systemd itself ignores it and says so only on stderr."""
    spoil(copy, "WatchdogSec=", "WatchdogSecs=")
    checked = verify(copy)
    assert checked.returncode == 1
    assert "WatchdogSecs" in checked.stderr


@needs_systemd
def test_a_misspelt_key_of_the_drop_in_fails(copy: Path) -> None:
    """The example is a file that users copy as it is."""
    drop_in = copy / DROP_IN
    drop_in.write_text(drop_in.read_text().replace("DevicePolicy=", "DevicesPolicy="))
    checked = verify(copy)
    assert checked.returncode == 1
    assert "DevicesPolicy" in checked.stderr


@needs_systemd
def test_lost_hardening_fails(copy: Path) -> None:
    """The exposure has a ceiling."""
    spoil(copy, "CapabilityBoundingSet=\n", "")
    spoil(copy, "SystemCallFilter=@system-service\n", "")
    checked = verify(copy)
    assert checked.returncode == 1
    assert "exposure" in checked.stderr


def test_a_missing_tool_fails_in_ci_and_is_said_elsewhere(tmp_path: Path) -> None:
    """A check that did not run must not look like one that passed."""

    def verify_without_tools(ci: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": str(tmp_path), "CI": ci}
        command = [sys.executable, str(UNITS / "verify")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    in_ci, elsewhere = verify_without_tools("true"), verify_without_tools("")
    assert (in_ci.returncode, elsewhere.returncode) == (1, 0)
    assert "the units were not checked" in in_ci.stderr
    assert "the units were not checked" in elsewhere.stderr


def test_the_unit_says_what_the_daemon_relies_on() -> None:
    """The daemon's protocol with systemd and its exit codes are in the unit, not in people's heads."""
    # Keys repeat in units; the last one wins here, which is enough for those that stand once.
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep capital letters
    parser.read(SERVICE)
    service = parser["Service"]
    assert service["Type"] == "notify"
    assert int(service["TimeoutStartSec"]) > 90
    assert service["RestartPreventExitStatus"].split() == ["78", "2"]
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["RestartMaxDelaySec"] == "5min"
    assert service["OOMPolicy"] == "continue"
    assert service["ExecReload"] == "kill -HUP $MAINPID"
    assert (service["StateDirectory"], service["RuntimeDirectory"]) == ("forecastd", "forecastd/main")


PROBE = """
import ctypes, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if sys.argv[1] == "yes":
    refused = ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)
    assert refused == 0, "this kernel cannot forbid code pages"
import polars
import torch
torch.set_num_threads(1)
with torch.inference_mode():
    torch.nn.LSTM(8, 16, 3)(torch.zeros(4, 2, 8))
"""


@pytest.mark.slow
@pytest.mark.parametrize("text", ["deploy/systemd/forecastd.service", "docs/operations.md"])
def test_only_kinds_that_exist_are_named(text: str) -> None:
    """Where the unit and its manual speak of model kinds without a network, each is one that can be configured."""
    (kinds,) = re.findall(r"\[model\] kind = ([^)]*)\)", (ROOT / text).read_text())
    assert set(re.findall(r"\w+", kinds)) - {"or"} == set(BASELINE_KINDS)


@pytest.mark.long
def test_polars_and_torch_run_under_the_units_memory_rule() -> None:
    """MemoryDenyWriteExecute breaks `import polars` without its variable, and torch's LSTM with or without it."""
    text = SERVICE.read_text()
    denied = "yes" if "\nMemoryDenyWriteExecute=yes" in text else "no"
    assert "\nEnvironment=POLARS_SKIP_CPU_CHECK=1" in text
    environment = {**os.environ, "POLARS_SKIP_CPU_CHECK": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, denied], capture_output=True, text=True, timeout=120, env=environment
    )
    assert (ran.returncode, ran.stderr) == (0, "")
