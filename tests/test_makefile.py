"""The Makefile says what it is about to do before it is silent for minutes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("target", ["run", "test"])
def test_setting_up_announces_the_download(target: str) -> None:
    """The line comes before the installation and names the size that the README names."""
    command = ["make", "--dry-run", "--always-make", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    before, installed, _ = done.stdout.partition("pip install")
    assert installed
    assert "about 300 MB" in before
    assert "about 300 MB" in (ROOT / "README.md").read_text()


def test_fuzzing_is_bounded_and_apart() -> None:
    """`make fuzz` takes its time from FUZZ_SECONDS and installs the fuzzer; `make test` does without it."""

    def dry_run(*words: str) -> str:
        command = ["make", "--dry-run", "--always-make", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout

    assert "fuzz_parsers --seconds 60\n" in dry_run("fuzz")
    assert "fuzz_parsers --seconds 7\n" in dry_run("fuzz", "FUZZ_SECONDS=7")
    assert "[dev,fuzz]" in dry_run("fuzz")
    assert "fuzz" not in dry_run("test")
