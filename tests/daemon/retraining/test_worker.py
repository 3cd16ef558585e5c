"""Messages, orders and exit codes of the training process, which ends with its parent.

``models.train`` is replaced by small training programs; test_supervisor.py trains for real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from daemon.errors import EXIT_CONFIG, EXIT_DONE, EXIT_INTERNAL, EXIT_TRY_AGAIN, EXIT_USAGE
from daemon.retraining.progress import Alive, Finished, Log, Message, Reported, Started, TrainingFailed, decode
from tests.daemon.retraining.programs import alive, gone, specification

# A worker whose `models.train` is the function body given on the command line.
_DRIVER = """
import sys, types
module = types.ModuleType("models.train")
exec('''
import json, os, time
from pathlib import Path
from models.specification import Progress
def train(spec, *, on_progress, checkpoint):
''' + sys.argv.pop(1), module.__dict__)
sys.modules["models.train"] = module
import daemon.retraining.worker as worker
worker._ALIVE_EVERY_S = 0.2
worker.LONGEST_PAUSE_S = 0.5
sys.exit(worker.main(sys.argv[1:]))
"""
_SUCCESS = """
    folder = spec.output_dir / "artifact-1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"scores": {"1": {"scored": 5}}}))
    for step in range(100):
        on_progress(Progress(phase="training", ratio=step / 100, elapsed_s=1.0, epoch=1 + step // 50, epochs=2))
        checkpoint()
    return folder
"""
_ENDLESS = """
    step = 0
    while True:
        step += 1
        on_progress(Progress(phase="training", ratio=0.0, elapsed_s=1.0, epoch=step))
        checkpoint()
        time.sleep(0.02)
"""


def start(folder: Path, body: str) -> subprocess.Popen[bytes]:
    spec = folder / "spec.json"
    spec.write_text(specification(folder).to_json(), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-c", _DRIVER, body, str(spec)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def messages(process: subprocess.Popen[bytes]) -> Iterator[Message]:
    return (decode(line) for line in pipe(process.stdout))


def order(process: subprocess.Popen[bytes], text: str) -> None:
    stdin = pipe(process.stdin)
    stdin.write(text.encode() + b"\n")
    stdin.flush()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def end(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=10)
    return process.returncode


def test_a_run_reports_and_ends_with_its_artifact(tmp_path: Path) -> None:
    """Started, each epoch's progress but not each step's, then the artifact with its manifest's scores."""
    process = start(tmp_path, _SUCCESS)
    first, *between, last = messages(process)
    assert first == Started(process.pid)
    assert last == Finished(str(specification(tmp_path).output_dir / "artifact-1"), {"1": {"scored": 5}})
    epochs = [each.progress.epoch for each in between if isinstance(each, Reported)]
    assert set(epochs) == {1, 2}
    assert len(epochs) < 50
    assert end(process) == EXIT_DONE


def test_what_libraries_print_is_no_message(tmp_path: Path) -> None:
    """print() and writes to file descriptor 1 go to standard error; the messages stay complete."""
    process = start(
        tmp_path, "    print('Epoch 1/10'); os.write(1, b'from C'); os.system('echo from a helper')" + _SUCCESS
    )
    assert isinstance(list(messages(process))[-1], Finished)
    _, errors = process.communicate(timeout=10)
    assert {b"Epoch 1/10", b"from a helper"} <= set(errors.replace(b"from C", b"").splitlines())


def test_a_failure_is_reported_with_its_traceback(tmp_path: Path) -> None:
    """The reason goes to the daemon, the traceback to standard error."""
    process = start(tmp_path, "    raise ValueError('too few bars')")
    assert list(messages(process))[-1] == TrainingFailed("ValueError: too few bars")
    _, errors = process.communicate(timeout=10)
    assert b"Traceback" in errors
    assert process.returncode == EXIT_INTERNAL


def test_threads_and_priority_are_set_before_training(tmp_path: Path) -> None:
    """Training finds the lowered priority and the thread limits in place."""
    body = "    raise ValueError(str((os.nice(0), os.environ['OMP_NUM_THREADS'], os.environ['OMP_WAIT_POLICY'])))"
    process = start(tmp_path, body)
    threads = max(1, len(os.sched_getaffinity(0)) - 1)
    assert list(messages(process))[-1] == TrainingFailed(f"ValueError: (10, '{threads}', 'passive')")
    assert end(process) == EXIT_INTERNAL


def test_pause_and_resume_take_effect_between_steps(tmp_path: Path) -> None:
    """A paused child sends only signs of life; after resume training continues."""
    process = start(tmp_path, _ENDLESS)
    said = messages(process)
    assert any(isinstance(each, Reported) for each in said)
    order(process, "pause")
    assert any(each == Log("paused") for each in said)
    order(process, "resume")
    assert next(each for each in said if not isinstance(each, Alive)) == Log("resumed")
    assert any(isinstance(each, Reported) for each in said)
    order(process, "cancel")
    assert end(process) == EXIT_TRY_AGAIN


def test_a_forgotten_pause_ends_by_itself(tmp_path: Path) -> None:
    """Training continues after the longest pause, and the child sends signs of life until then."""
    process = start(tmp_path, _ENDLESS)
    said = messages(process)
    order(process, "pause")
    seen = [next(said) for _ in range(2)]
    while seen[-1] != Log("resumed"):
        seen.append(next(said))
    assert Alive() in seen
    assert any(isinstance(each, Log) and each.message.startswith("no resume within") for each in seen)
    assert any(isinstance(each, Reported) for each in said)
    order(process, "cancel")
    assert end(process) == EXIT_TRY_AGAIN


def test_cancel_ends_a_pause(tmp_path: Path) -> None:
    """A paused run can be cancelled; nothing is reported as failed."""
    process = start(tmp_path, _ENDLESS)
    order(process, "pause")
    order(process, "cancel")
    assert not any(isinstance(each, TrainingFailed | Finished) for each in messages(process))
    assert end(process) == EXIT_TRY_AGAIN


def test_the_end_of_standard_input_ends_the_worker(tmp_path: Path) -> None:
    """The closed pipe ends the worker if the kernel sends no signal."""
    process = start(tmp_path, "    time.sleep(60)")
    next(messages(process))
    pipe(process.stdin).close()
    process.stdin = None
    assert end(process) == EXIT_TRY_AGAIN


def test_a_killed_parent_ends_the_worker(tmp_path: Path) -> None:
    """kill -9 of the parent kills the worker, although another process keeps its standard input open."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path), str(os.getpid())], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.kill()
    parent.communicate()
    assert gone(worker, within_s=2.0)  # well before the helper closes the pipe


# Its own write end of the worker's standard input is held open by a helper, so that only the kernel's signal is left.
_PARENT = """
import subprocess, sys, time
from pathlib import Path
from tests.daemon.retraining.test_worker import messages, start
worker = start(Path(sys.argv[1]), "    time.sleep(60)")
next(messages(worker))
subprocess.Popen(["sleep", "4"], pass_fds=[worker.stdin.fileno()], stdout=subprocess.DEVNULL)
print(worker.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [([], EXIT_USAGE), (["/nowhere.json"], EXIT_CONFIG), (["{bad}"], EXIT_CONFIG)],
)
def test_bad_arguments_are_named(tmp_path: Path, arguments: list[str], code: int) -> None:
    """No specification, a missing one and a wrong one end with the usual exit codes."""
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"kind": "oracle"}))
    done = subprocess.run(
        [sys.executable, "-m", "daemon.retraining.worker", *(each.format(bad=bad) for each in arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    )
    assert done.returncode == code
    assert done.stderr or isinstance(decode(done.stdout), TrainingFailed)
