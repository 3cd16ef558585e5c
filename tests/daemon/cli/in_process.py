"""Runs ``forecastd`` commands in the test's own process, because a new one imports Polars and torch for seconds."""

from __future__ import annotations

import io
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TextIO

import pytest

from daemon.cli import main


@dataclass(frozen=True)
class Ended:
    """The outcome of a command, under the names of ``subprocess.CompletedProcess``."""

    returncode: int
    stdout: str
    stderr: str


def run_forecastd(*arguments: str, environment: dict[str, str], stdout: TextIO | None = None) -> Ended:
    """Runs one command to its end; ``environment`` is added to the process's, ``stdout`` replaces what is captured."""
    printed, errors = io.StringIO(), io.StringIO()
    on_reload = signal.getsignal(signal.SIGHUP)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout or printed), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["forecastd", *arguments])
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        finally:
            signal.signal(signal.SIGHUP, on_reload)
    assert isinstance(code, int), code
    return Ended(code, printed.getvalue(), errors.getvalue())
