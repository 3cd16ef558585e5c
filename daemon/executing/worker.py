"""A worker process of the local engine: takes tasks from its pipe until the pipe ends.

Nothing heavy is imported here: numerical libraries read how many threads they may start when they are imported, which
the first task does.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from daemon.retraining.priority import die_with_parent, limit_threads


@dataclass(frozen=True, slots=True)
class Stepped:
    """How far a task is."""

    index: int
    step: Any


@dataclass(frozen=True, slots=True)
class TaskDone:
    """A task's result."""

    index: int
    result: Any


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A task raised."""

    error: Exception


def serve(pipe: Connection) -> None:
    """One task after the other; returns when the other end of the pipe is closed."""
    # Ctrl-C goes to every process of the terminal's group; the one that started this one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # where the kernel cannot see to it, the end of the pipe does
        die_with_parent()
    limit_threads(1)
    try:
        while True:
            work, index, task = pipe.recv()
            pipe.send(attempt(work, index, task, lambda step, index=index: pipe.send(Stepped(index, step))))  # type: ignore[misc]
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone: no result is needed


def attempt(work: Callable[..., Any], index: int, task: Any, on_step: Callable[[Any], None]) -> TaskDone | TaskFailed:
    """The task's result, or the error that it raised."""
    try:
        return TaskDone(index, work(task, on_step=on_step))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001  # the caller of map receives what a task raises
        return TaskFailed(portable(error))


def portable(error: Exception) -> Exception:
    """The error itself where it survives pickling, else a RuntimeError with its words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:  # noqa: BLE001  # an exception class may do anything when it is pickled
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
