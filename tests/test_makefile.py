"""Makefile targets: announced downloads, and which tests each target runs."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.paths import ROOT


def dry_run(*words: str) -> str:
    command = ["make", "--dry-run", "--always-make", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout


@pytest.mark.parametrize("target", ["run", "test"])
def test_setting_up_announces_the_download(target: str) -> None:
    """The line comes before the installation and names the size that the README names."""
    before, installed, _ = dry_run(target).partition(" install --require-hashes")
    assert installed
    assert "about 300 MB" in before
    assert "about 300 MB" in (ROOT / "README.md").read_text()


def test_fuzzing_is_bounded_and_apart() -> None:
    """`make fuzz` takes its duration from FUZZ_SECONDS and installs the fuzzer; `make test` does not."""
    assert "fuzz_parsers --seconds 60\n" in dry_run("fuzz")
    assert "fuzz_parsers --seconds 7\n" in dry_run("fuzz", "FUZZ_SECONDS=7")
    assert "requirements/fuzz.txt" in dry_run("fuzz")
    assert "fuzz" not in dry_run("test")


@pytest.mark.parametrize(("target", "lock"), [("run", "run"), ("test", "dev"), ("fuzz", "fuzz")])
def test_nothing_is_installed_without_a_hash(target: str, lock: str) -> None:
    """Every installation is from a lock file, or of forecastd itself, whose build downloads nothing."""
    installs = [line for line in dry_run(target).splitlines() if re.search(r"pip .*\binstall\b", line)]
    assert any(f"requirements/{lock}.txt" in line for line in installs)
    for line in installs:
        assert "--require-hashes" in line or "--no-deps --no-build-isolation -e ." in line


def test_every_test_is_run_by_test_or_check() -> None:
    """`make test` leaves out exactly what `make check` selects, beside properties, of which it tries fewer examples."""
    commands = {
        target: [line for line in dry_run(target).splitlines() if " -m pytest " in line] for target in ("test", "check")
    }
    assert len(commands["test"]) == 2
    left_out = [line.replace('-m "not long"', "-m long") for line in commands["test"]]
    thorough = '-m "long or hypothesis" --hypothesis-profile thorough'
    assert [left_out[0].replace("-m long", thorough), left_out[1]] == commands["check"]
