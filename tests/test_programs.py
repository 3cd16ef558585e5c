"""Tests that need a program: skipped by name where it is missing, failed in CI."""

from __future__ import annotations

import pytest

from tests import programs


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine on which no program is found."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("SYSTEM_FOLDERS", "")
    return monkeypatch


def test_a_missing_program_skips_the_test_and_names_the_package(no_programs: pytest.MonkeyPatch) -> None:
    """The reason is what the summary counts."""
    no_programs.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception) as skipped:
        programs.program("mosquitto_passwd")
    assert programs.missing_packages([str(skipped.value)]).endswith("apt install mosquitto")


def test_a_missing_program_fails_the_test_in_ci(no_programs: pytest.MonkeyPatch) -> None:
    """CI installs every package: a skip there would hide a failure."""
    no_programs.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="promtool is missing"):
        programs.program("promtool")


def test_the_summary_is_one_line() -> None:
    """Each package once, other skips left out, nothing where nothing was skipped."""
    reason = "needs the Debian package "
    line = programs.missing_packages([reason + "mosquitto", reason + "prometheus", reason + "mosquitto", "no data"])
    assert line == ("3 tests were skipped because programs are missing; to run them: apt install mosquitto prometheus")
    assert programs.missing_packages(["no data"]) == ""
