"""The handle of a training process: every run returns an ending and leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from daemon.retraining.child import Child, Ending, ProcessLimits, State
from daemon.retraining.progress import Log, Message, Reported
from tests.daemon.retraining.programs import HANG, OBEDIENT, SUCCESS, command, gone, specification
from tests.limits import LIMIT_S, SLACK_S


class Run:
    """A child that runs a program, and its messages."""

    def __init__(self, folder: Path, body: str, **limits: float) -> None:
        spec = folder / "spec.json"
        spec.write_text(specification(folder).to_json(), encoding="utf-8")
        self.child = Child(
            [*command(folder, body), str(spec)],
            environment=dict(os.environ),
            limits=ProcessLimits(**{"silence_s": 15.0, "cancel_s": 5.0, "run_s": 20.0} | limits),
        )
        self.messages: list[Message] = []
        self.first = asyncio.Event()

    async def ending(self) -> Ending:
        return await asyncio.wait_for(self.child.run(self.received), LIMIT_S)

    def received(self, message: Message) -> None:
        self.messages.append(message)
        self.first.set()


async def test_success(tmp_path: Path) -> None:
    """Progress arrives in order and the ending holds the artifact and its scores."""
    run = Run(tmp_path, SUCCESS)
    ending = await run.ending()
    assert ending.state is State.FINISHED
    assert ending.artifact == tmp_path / "models" / "artifacts" / "artifact-1"
    assert ending.scores == {"1": {"pinball_vs_har": 0.99}}
    assert [each.progress.ratio for each in run.messages if isinstance(each, Reported)] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("progress(0.5); raise MemoryError('the last words')", "ended with exit code 1\n"),
        ("progress(0.5); raise MemoryError('the last words')", "MemoryError: the last words"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL (by hand, or because memory ran out)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("progress(0.5)", "ended without a result"),
        ("say(type='failed', reason='too few bars'); sys.exit(70)", "too few bars"),
        ("print('Epoch 1/10', flush=True); time.sleep(60)", "wrote an invalid line: JSON is malformed"),
        (
            "sys.stdout.buffer.write(b'x' * 10_000_000); time.sleep(60)",
            "a line of more than 65536 bytes",
        ),
        ("os.write(2, b'e' * 10_000_000); sys.exit(3)", "ended with exit code 3\n"),
    ],
)
async def test_failures_are_named(tmp_path: Path, body: str, reason: str) -> None:
    """A crash, a kill, a silent end, an invalid line, a huge line and a flood of errors end in a bounded reason."""
    ending = await Run(tmp_path, body).ending()
    assert ending.state is State.FAILED
    assert ending.reason is not None
    assert reason in ending.reason
    assert len(ending.reason) < 6_000


async def test_a_hang_is_killed(tmp_path: Path) -> None:
    """Without a line for ``silence_s`` the process is killed and the reason says so."""
    ending = await Run(tmp_path, HANG, silence_s=0.5).ending()
    assert (ending.state, ending.reason) == (State.FAILED, "hung: silent for 0.5 s")


async def test_a_run_without_end_is_killed(tmp_path: Path) -> None:
    """A process that reports without end is killed after ``run_s``."""
    ending = await Run(tmp_path, "while True: say(type='alive'); time.sleep(0.01)", run_s=0.5).ending()
    assert ending.reason == "still running after 0.5 s"


async def test_a_result_counts_although_the_interpreter_hangs_at_its_end(tmp_path: Path) -> None:
    """The artifact is complete once it is announced; the process is killed after ``cancel_s``."""
    run = Run(tmp_path, "finish(); time.sleep(60)", cancel_s=0.3)
    started_s = time.monotonic()
    assert (await run.ending()).state is State.FINISHED
    assert time.monotonic() - started_s < 5 + SLACK_S


async def test_grandchildren_are_killed(tmp_path: Path) -> None:
    """A helper process that holds the pipes dies with the process that started it."""
    body = "helper = subprocess.Popen(['sleep', '60']); say(type='log', message=str(helper.pid)); sys.exit(9)"
    run = Run(tmp_path, body)
    started_s = time.monotonic()
    ending = await run.ending()
    assert ending.reason == "ended with exit code 9"
    assert time.monotonic() - started_s < 10 + SLACK_S
    (message,) = run.messages
    assert isinstance(message, Log)
    assert gone(int(message.message))


async def test_a_missing_program_is_a_failed_run(tmp_path: Path) -> None:
    """A command that cannot start is a failed run, not an exception."""
    child = Child(["/nowhere/python"], environment={}, limits=ProcessLimits())
    ending = await child.run(lambda _: None)
    assert ending.reason == "/nowhere/python does not start: No such file or directory"


async def test_orders_reach_the_process(tmp_path: Path) -> None:
    """Pause, resume and cancel arrive in this order, and a process that obeys is not killed."""
    run = Run(tmp_path, OBEDIENT)
    task = asyncio.create_task(run.ending())
    await asyncio.wait_for(run.first.wait(), LIMIT_S)
    run.child.pause()
    run.child.resume()
    run.child.cancel("enough")
    ending = await task
    assert [each.message for each in run.messages if isinstance(each, Log)] == ["pause", "resume", "cancel"]
    assert (ending.state, ending.reason) == (State.CANCELLED, "enough")


async def test_a_pause_before_the_start_is_not_lost(tmp_path: Path) -> None:
    """An order given while the process was being started is sent after the start."""
    run = Run(tmp_path, OBEDIENT)
    run.child.pause()
    task = asyncio.create_task(run.ending())
    while not any(isinstance(each, Log) for each in run.messages):  # bounded by ending()
        await asyncio.sleep(0.01)
    run.child.stop("enough")
    assert (await task).state is State.CANCELLED
    assert Log("pause") in run.messages


async def test_a_process_that_ignores_cancel_is_killed(tmp_path: Path) -> None:
    """A process that ignores cancel is killed after ``cancel_s``."""
    run = Run(tmp_path, HANG, cancel_s=0.3)
    task = asyncio.create_task(run.ending())
    await asyncio.wait_for(run.first.wait(), LIMIT_S)
    run.child.cancel("enough")
    assert (await asyncio.wait_for(task, LIMIT_S)).state is State.CANCELLED


async def test_a_cancelled_task_leaves_no_process(tmp_path: Path) -> None:
    """Cancelling the daemon's task kills the process."""
    run = Run(tmp_path, "say(type='started', pid=os.getpid()); time.sleep(60)")
    task = asyncio.create_task(run.ending())
    await asyncio.wait_for(run.first.wait(), LIMIT_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (message,) = run.messages
    assert gone(message.pid)  # type: ignore[union-attr]  # the program says nothing else
