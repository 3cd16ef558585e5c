"""A benchmark's venue in a process of its own, so that the measured process is the daemon's alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def venue_process(module: str, *arguments: str) -> Iterator[str]:
    """Runs ``python -m module arguments`` and yields its first line of output, the venue's address."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()
