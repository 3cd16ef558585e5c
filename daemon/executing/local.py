"""The engines of one machine: in this process, or in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic

from daemon.executing.base import ATTEMPTS, Cancelled, Result, Step, Task, Work, WorkerLost
from daemon.executing.worker import Stepped, TaskDone, TaskFailed, serve

_END_TIMEOUT_S = 5.0  # for a worker that was asked to end; after this it is killed


class InProcess:
    """Runs the tasks one after the other in this process."""

    def map(
        self,
        work: Work[Task, Step, Result],
        tasks: Sequence[Task],
        *,
        on_step: Callable[[int, Step], None] = lambda _index, _step: None,
        on_done: Callable[[int, Result], None] = lambda _index, _result: None,
        on_lost: Callable[[int, str], None] = lambda _index, _reason: None,  # noqa: ARG002  # nothing can be lost
    ) -> list[Result]:
        """See ``Executor.map``."""
        results: list[Result] = []
        try:
            for index, task in enumerate(tasks):
                results.append(work(task, on_step=lambda step, index=index: on_step(index, step)))  # type: ignore[misc]
                on_done(index, results[-1])
        except KeyboardInterrupt:
            raise _cancelled(len(results), len(tasks)) from None
        return results


class Processes:
    """Up to ``workers`` processes, each with one thread, one task at a time each.

    They are spawned, not forked: a fork copies locks that threads of polars and torch may hold.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(
        self,
        work: Work[Task, Step, Result],
        tasks: Sequence[Task],
        *,
        on_step: Callable[[int, Step], None] = lambda _index, _step: None,
        on_done: Callable[[int, Result], None] = lambda _index, _result: None,
        on_lost: Callable[[int, str], None] = lambda _index, _reason: None,
    ) -> list[Result]:
        """See ``Executor.map``."""
        job = _Job(work, tasks, on_step, on_done, on_lost)
        try:
            job.run(min(self.workers, len(tasks)))
        except KeyboardInterrupt:
            raise _cancelled(len(job.results), len(tasks)) from None
        finally:
            job.end()
        return [job.results[index] for index in range(len(tasks))]


def _cancelled(done: int, of: int) -> Cancelled:
    return Cancelled(f"cancelled; {done} of {of} tasks were done")


@dataclass(slots=True, eq=False)
class _Worker:
    """A process, this end of its pipe, and the index of its current task; None while idle."""

    process: SpawnProcess
    pipe: Connection
    index: int | None = None


class _Job(Generic[Task, Step, Result]):
    """One call of ``map``: the waiting tasks, the current task of each worker, and the results.

    Every worker has a pipe of its own: one that dies in mid-message spoils no other's. A pipe holds what the kernel
    buffers; where that is full the worker waits until its steps are read.
    """

    def __init__(
        self,
        work: Work[Task, Step, Result],
        tasks: Sequence[Task],
        on_step: Callable[[int, Step], None],
        on_done: Callable[[int, Result], None],
        on_lost: Callable[[int, str], None],
    ) -> None:
        self.results: dict[int, Result] = {}
        self._work = work
        self._tasks = tasks
        self._on_step, self._on_done, self._on_lost = on_step, on_done, on_lost
        self._waiting = deque(range(len(tasks)))
        self._begun = [0] * len(tasks)
        self._workers: dict[Connection, _Worker] = {}

    def run(self, workers: int) -> None:
        for _ in range(workers):
            self._start()
        while len(self.results) < len(self._tasks):
            for pipe in wait(list(self._workers)):
                self._receive(self._workers[pipe])  # type: ignore[index]  # pipes are what was waited for

    def end(self) -> None:
        """Ends every worker, also in the middle of a task."""
        workers = [*self._workers.values()]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            self._drop(worker)

    def _start(self) -> None:
        """A new worker, at its first task if there is one."""
        if not self._waiting:
            return
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()  # so that the worker's death is the end of the pipe
        self._workers[ours] = worker = _Worker(process, ours)
        self._assign(worker)

    def _assign(self, worker: _Worker) -> None:
        worker.index = self._waiting.popleft() if self._waiting else None
        if worker.index is not None:
            self._begun[worker.index] += 1
            # A worker that is dead already is noticed where its pipe ends.
            with suppress(BrokenPipeError, ConnectionResetError):
                worker.pipe.send((self._work, worker.index, self._tasks[worker.index]))

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._mark_dead(worker)
            return
        match message:
            case Stepped(index, step):
                self._on_step(index, step)
            case TaskDone(index, result):
                self.results[index] = result
                self._on_done(index, result)
                self._assign(worker)
            case TaskFailed(error):
                raise error

    def _mark_dead(self, worker: _Worker) -> None:
        """Handles a worker's death: another worker starts its task again, up to ``ATTEMPTS`` times in all."""
        reason = self._drop(worker)
        if (index := worker.index) is not None:
            if self._begun[index] >= ATTEMPTS:
                raise WorkerLost(
                    f"task {index + 1} of {len(self._tasks)} ended its process {ATTEMPTS} times, at last "
                    f"{reason}; where memory is short, fewer --workers need less"
                )
            self._waiting.appendleft(index)
            self._on_lost(index, reason)
        self._start()

    def _drop(self, worker: _Worker) -> str:
        """Forgets a worker that is ending. Returns how it ended."""
        worker.process.join(_END_TIMEOUT_S)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
        self._workers.pop(worker.pipe, None)
        worker.pipe.close()
        return _ending(worker.process.exitcode)


def _ending(exit_code: Any) -> str:
    return f"by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"with exit code {exit_code}"
