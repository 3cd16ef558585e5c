"""Failures of a command: one line for the user, an exit code, and for a defect a traceback in a file."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from daemon.errors import EXIT_INTERNAL, EXIT_TRY_AGAIN, ForecastdError

EXIT_READER_GONE = 128 + signal.SIGPIPE
"""Of a command whose reader ended first, as ``head`` does: that of a program that the signal ends."""
ERRORS_FILE = "errors.log"
_STANDARD_OUTPUT = 1
_MOST_BYTES = 1_000_000  # a longer file is kept once more under another name, then replaced


def report(error: BaseException) -> int:
    """Writes the line or lines of ``error`` to standard error and returns the exit code.

    Nothing is written where the reader of standard output ended first.
    """
    from daemon.output_files import causes, disk_refusal

    if reader_is_gone() and any(isinstance(each, BrokenPipeError) for each in causes(error)):
        return EXIT_READER_GONE
    if isinstance(error, ForecastdError):
        refusal = None if error.exit_code == EXIT_TRY_AGAIN else disk_refusal(error)
        for line in str(error).splitlines():
            _say(line)
        return EXIT_TRY_AGAIN if refusal else error.exit_code
    if refusal := disk_refusal(error):
        _say(refusal)
        return EXIT_TRY_AGAIN
    _say(f"internal error: {_one_line(error)}; {_save_traceback(error)}")
    return EXIT_INTERNAL


def flush_output() -> None:
    """Raises OSError where standard output cannot take what was printed, SystemExit where its reader is gone."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter would try again at its end, and print an error of its own.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(EXIT_READER_GONE)
        raise


def reader_is_gone() -> bool:
    """Whether standard output is a pipe that no process reads any more."""
    poller = select.poll()
    poller.register(_STANDARD_OUTPUT, 0)
    return any(events & select.POLLERR for _, events in poller.poll(0))


def _say(line: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"forecastd: {line}\n")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def _save_traceback(error: BaseException) -> str:
    """Appends the traceback to the file of errors; returns where it is."""
    from daemon import __version__
    from daemon.config.sources import default_state_dir

    path = default_state_dir(os.environ) / ERRORS_FILE
    head = f"{datetime.now(UTC).isoformat()} forecastd {__version__}: {' '.join(sys.argv[1:])}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and path.stat().st_size > _MOST_BYTES:
            path.replace(path.with_name(f"{ERRORS_FILE}.1"))
        with open(path, "a", encoding="utf-8", opener=_private) as file:  # Path.open takes no opener
            file.write(head + "".join(traceback.format_exception(error)) + "\n")
    except OSError as refused:
        return f"its traceback cannot be saved in {path} ({refused.strerror})"
    return f"please report it with the traceback in {path}"


def _private(path: str, flags: int) -> int:
    return os.open(Path(path), flags, 0o600)
