"""Which engine does the work: from a command's options."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.errors import EXIT_USAGE, Fatal
from daemon.executing.base import Executor
from daemon.executing.local import InProcess, Processes
from daemon.retraining.priority import spare_cores

ENGINES = ("local",)


class EngineRefused(Fatal):
    """There is no such engine, or not here."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What was asked for. workers: processes at a time, None for what suits the machine."""

    engine: str = "local"
    workers: int | None = None


def check_engine(options: EngineOptions) -> None:
    """Raises EngineRefused; asked before anything is read, so that a slip costs no time."""
    if options.engine not in ENGINES:
        raise EngineRefused(f"--engine was {options.engine!r}; there are {', '.join(ENGINES)}")


def make_executor(options: EngineOptions, *, tasks: int, on_gpu: bool) -> Executor:
    """The engine for ``tasks`` tasks. Raises EngineRefused.

    on_gpu: whether they compute on this machine's one GPU, which they would only take turns on.
    """
    check_engine(options)
    workers = options.workers or (1 if on_gpu else spare_cores())
    return InProcess() if min(workers, tasks) <= 1 else Processes(workers)
