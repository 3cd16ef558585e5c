"""The interface of task engines: results in the order of the tasks, with progress, retries and cancellation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from daemon.errors import Fatal, ForecastdError

ATTEMPTS = 3
"""How often a task is started before the run fails: its process can be killed for lack of memory, its machine lost."""

_Task_contra = TypeVar("_Task_contra", contravariant=True)
_Step_co = TypeVar("_Step_co", covariant=True)
_Result_co = TypeVar("_Result_co", covariant=True)
Task = TypeVar("Task")
Step = TypeVar("Step")
Result = TypeVar("Result")


class WorkerLost(Fatal):
    """Every attempt at a task ended with the loss of its process or machine."""


class Cancelled(ForecastdError):
    """The run was cancelled by Ctrl-C; every process that the engine had started has ended."""

    exit_code = 130  # 128 + SIGINT, what shells expect


class Work(Protocol[_Task_contra, _Step_co, _Result_co]):
    """The work on one task: a function of a module, so that another process can import it by name.

    Tasks, steps and results are pickled. ``on_step`` is called with the progress of the task.
    """

    def __call__(self, task: _Task_contra, /, *, on_step: Callable[[_Step_co], None]) -> _Result_co: ...


class Executor(Protocol):
    """An engine. It holds processes or a connection only while ``map`` runs."""

    def map(
        self,
        work: Work[Task, Step, Result],
        tasks: Sequence[Task],
        *,
        on_step: Callable[[int, Step], None] = lambda _index, _step: None,
        on_done: Callable[[int, Result], None] = lambda _index, _result: None,
        on_lost: Callable[[int, str], None] = lambda _index, _reason: None,
    ) -> list[Result]:
        """The results in the order of ``tasks``, equal to those of ``map`` whatever the engine.

        on_step: a task's index and how far it is; an engine may leave steps out.
        on_done: as each task is finished, in any order. on_lost: a task lost its process or machine and starts again.
        All are called in the caller's thread.

        Raises what a task raised, without a retry, and starts no other task. Raises
        WorkerLost after ``ATTEMPTS`` of one task, Cancelled on Ctrl-C.
        """
        ...
