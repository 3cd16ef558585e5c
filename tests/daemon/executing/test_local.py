"""The local engines: order, progress, retries, errors and the end on Ctrl-C, in real processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from daemon.executing.base import ATTEMPTS, Cancelled, Executor, WorkerLost
from daemon.executing.choice import EngineOptions, EngineRefused, make_executor
from daemon.executing.local import InProcess, Processes
from tests.daemon.executing.work import Errand, refuse, refuse_oddly, square, threads, wait_for_ever

BOTH: tuple[Executor, ...] = (InProcess(), Processes(2))


def gone(process: int) -> bool:
    """Whether no such process is left, waiting a moment for it to go."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("executor", BOTH, ids=lambda each: type(each).__name__)
def test_results_come_in_the_order_of_the_tasks(executor: Executor, tmp_path: Path) -> None:
    """The first task takes longest; every step and every result is reported with its task's index."""
    errands = [Errand(number, tmp_path, pause_s=0.4 if number == 3 else 0.0) for number in (3, 4, 5)]
    steps: list[tuple[int, str]] = []
    done: dict[int, int] = {}
    results = executor.map(
        square,
        errands,
        on_step=lambda index, step: steps.append((index, step)),
        on_done=lambda index, result: done.update({index: result[0]}),
    )
    assert [value for value, _ in results] == [9, 16, 25]
    assert done == {0: 9, 1: 16, 2: 25}
    for index, errand in enumerate(errands):
        assert [step for at, step in steps if at == index] == [f"begun {errand.number}", f"done {errand.number}"]


def test_two_workers_are_two_processes_that_end(tmp_path: Path) -> None:
    """Neither is the test's own process, and both end."""
    results = Processes(2).map(square, [Errand(number, tmp_path, pause_s=0.3) for number in range(4)])
    processes = {process for _, process in results}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert all(gone(process) for process in processes)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_task_whose_process_died_is_begun_again(tmp_path: Path, signal_number: int) -> None:
    """Killed twice, done the third time; the other tasks lose nothing and the order stays."""
    errands = [
        Errand(number, tmp_path, deaths=2 if number == 1 else 0, signal_number=signal_number) for number in range(4)
    ]
    lost: list[tuple[int, str]] = []
    results = Processes(2).map(square, errands, on_lost=lambda index, reason: lost.append((index, reason)))
    assert [value for value, _ in results] == [0, 1, 4, 9]
    assert lost == [(1, f"by {signal.Signals(signal_number).name}")] * 2


def test_a_task_that_always_kills_its_process_ends_the_run(tmp_path: Path) -> None:
    """After the third time, in words that say which and how."""
    errands = [Errand(number, tmp_path, deaths=99 if number == 1 else 0) for number in range(2)]
    with pytest.raises(WorkerLost, match="task 2 of 2 ended its process 3 times, at last by SIGKILL"):
        Processes(2).map(square, errands)
    assert len((tmp_path / "deaths-1").read_text()) == ATTEMPTS


@pytest.mark.parametrize("executor", BOTH, ids=lambda each: type(each).__name__)
def test_an_error_of_the_tasks_own_is_raised_and_not_tried_again(executor: Executor, tmp_path: Path) -> None:
    """As it was raised, with its note."""
    with pytest.raises(ValueError, match="there is no 7") as refused:
        executor.map(refuse, [Errand(7, tmp_path)] if executor is BOTH[0] else [Errand(7, tmp_path)] * 2)
    assert refused.value.__notes__ == ["said by the task"]
    assert len(list(tmp_path.glob("tried-*"))) <= 2


def test_an_error_that_cannot_be_pickled_keeps_its_message(tmp_path: Path) -> None:
    """Its class wants arguments that pickling does not give."""
    with pytest.raises(RuntimeError, match="Odd: odd, on purpose"):
        Processes(1).map(refuse_oddly, [Errand(1, tmp_path)])


def test_a_worker_has_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers share the cores by being many, not by having many threads each."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert Processes(1).map(threads, [Errand(1, tmp_path)]) == [(1, 1)]


def test_ctrl_c_ends_the_workers(tmp_path: Path) -> None:
    """One error that says how much was done, and no process is left behind."""
    processes: list[int] = []

    def interrupt(_: int, process: int) -> None:
        processes.append(process)
        if len(processes) == 2:
            raise KeyboardInterrupt

    with pytest.raises(Cancelled, match="cancelled; 0 of 3 tasks were done"):
        Processes(2).map(wait_for_ever, [Errand(number, tmp_path) for number in range(3)], on_step=interrupt)
    assert all(gone(process) for process in processes)


def test_the_choice_of_an_engine() -> None:
    """One task or one GPU needs no processes, and no more workers are started than there are tasks."""
    assert isinstance(make_executor(EngineOptions(workers=4), tasks=1, on_gpu=False), InProcess)
    assert isinstance(make_executor(EngineOptions(), tasks=9, on_gpu=True), InProcess)
    chosen = make_executor(EngineOptions(workers=4), tasks=9, on_gpu=True)
    assert isinstance(chosen, Processes)
    assert chosen.workers == 4
    for options, says in (
        (EngineOptions(engine="spark"), "--engine was 'spark'; there are local, ray"),
        (EngineOptions(ray_address="head:6379"), "--ray-address needs --engine ray"),
        (EngineOptions(engine="ray", ray_address="head:6379", workers=2), "--workers counts processes of this machine"),
    ):
        with pytest.raises(EngineRefused, match=says):
            make_executor(options, tasks=1, on_gpu=False)
