"""SIGHUP during the start: remembered instead of fatal, until the daemon can reload. Imports nothing slow."""

from __future__ import annotations

import signal
import sys
from types import FrameType

_received = False


def hold_reloads() -> None:
    """Remembers SIGHUP from now on, where this process is ``forecastd run``."""
    if "run" in sys.argv[1:2]:
        signal.signal(signal.SIGHUP, _remember)


def reload_was_requested() -> bool:
    """Whether SIGHUP came since ``hold_reloads``."""
    return _received


def _remember(_number: int, _frame: FrameType | None) -> None:
    global _received  # noqa: PLW0603  # a signal handler has no other place
    _received = True
