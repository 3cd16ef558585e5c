"""Small work for engines, found by name in any process, which imports nothing else for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Errand(NamedTuple):
    """Multiply, after ``pause_s``; die by ``signal_number`` the first ``deaths`` times, counted in ``folder``."""

    number: int
    folder: Path
    pause_s: float = 0.0
    deaths: int = 0
    signal_number: int = signal.SIGKILL


class Odd(Exception):
    """An error that cannot be pickled back: it wants two arguments."""

    def __init__(self, what: str, *, why: str) -> None:
        super().__init__(f"{what}, {why}")


def square(errand: Errand, *, on_step: Callable[[str], None]) -> tuple[int, int]:
    """The square, and the id of the process that found it."""
    on_step(f"begun {errand.number}")
    time.sleep(errand.pause_s)
    died = errand.folder / f"deaths-{errand.number}"
    count = len(died.read_text()) if died.exists() else 0
    if count < errand.deaths:
        died.write_text("x" * (count + 1))
        os.kill(os.getpid(), errand.signal_number)
    on_step(f"done {errand.number}")
    return errand.number**2, os.getpid()


def refuse(errand: Errand, *, on_step: Callable[[str], None]) -> int:
    """Raises a ValueError with a note, and leaves a trace of having been tried."""
    (errand.folder / f"tried-{errand.number}-{time.monotonic_ns()}").touch()
    error = ValueError(f"there is no {errand.number}")
    error.add_note("said by the task")
    raise error


def refuse_oddly(errand: Errand, *, on_step: Callable[[str], None]) -> int:
    """Raises an error that does not survive pickling."""
    raise Odd("odd", why="on purpose")


def threads(errand: Errand, *, on_step: Callable[[str], None]) -> tuple[int, int]:
    """How many threads torch and polars use here."""
    import polars as pl
    import torch

    return torch.get_num_threads(), pl.thread_pool_size()


def wait_for_ever(errand: Errand, *, on_step: Callable[[int], None]) -> int:
    """Reports its process id and never ends."""
    on_step(os.getpid())
    time.sleep(600)
    return 0
