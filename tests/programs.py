"""Programs that some tests run: each is found, or its test is skipped with the Debian package that has it."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
}
# Debian installs daemons where the PATH of an ordinary user does not look. `.ci/bare` sets SYSTEM_FOLDERS to nothing.
_SYSTEM_FOLDERS = f"/usr/sbin{os.pathsep}/sbin"
_REASON = "needs the Debian package "


def program(name: str) -> str:
    """The path of a program of PACKAGES. Without it the test is skipped; where CI=true it fails."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), os.environ.get("SYSTEM_FOLDERS", _SYSTEM_FOLDERS)])
    found = shutil.which(name, path=path)
    if found is None:
        reason = _REASON + PACKAGES[name]
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing: {reason}")
        pytest.skip(reason)
    return found


def wants_program(reason: str) -> bool:
    """Whether a test was skipped, for this reason, for want of a program."""
    return _REASON in reason


def missing_packages(reasons: list[str]) -> str:
    """One line about the tests that were skipped for want of a program, "" where there were none.

    reasons: why tests were skipped, one entry a test.
    """
    packages = [reason.partition(_REASON)[2] for reason in reasons if wants_program(reason)]
    if not packages:
        return ""
    names = " ".join(sorted(set(packages)))
    return f"{len(packages)} tests were skipped because programs are missing; to run them: apt install {names}"
