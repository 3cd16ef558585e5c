"""Supervisor of training processes: one run at a time, in a process that cannot harm the daemon.

A finished run leaves an artifact below the specification's ``output_dir``. The supervisor does not promote it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import structlog

from daemon.clock import Clock
from daemon.errors import Fatal, Retryable
from daemon.retraining.child import Child, Ending, ProcessLimits, State
from daemon.retraining.progress import Log, Message, Reported, Started
from daemon.retraining.sandbox import chosen_environment
from models.specification import Progress, TrainingSpec

log = structlog.get_logger(__name__)

WORKER = (sys.executable, "-P", "-m", "daemon.retraining.worker")
_RUN_PREFIX = "run-"


class AlreadyRunning(Retryable):
    """A retraining is running, in this process or in another one with the same models."""


class RetrainOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: ``artifact`` and ``scores`` (those of its manifest) of a finished run, ``reason`` of any other.

    started_us: market time. duration_s: wall time. unusable_bars: the run failed because nothing can be trained on its
    bars.
    """

    run_id: str
    state: State
    started_us: int
    duration_s: float
    artifact: str | None = None
    reason: str | None = None
    unusable_bars: bool = False
    scores: Mapping[str, Any] = {}


class RetrainStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of retraining. ``progress`` is that of the current run, ``last`` the outcome of the previous one."""

    running: bool
    paused: bool = False
    run_id: str | None = None
    started_us: int | None = None
    progress: Progress | None = None
    last: RetrainOutcome | None = None


class RetrainSupervisor:
    """Starts training processes, one at a time among all processes that share ``models_dir``.

    run_dir: scratch folder with one subfolder a run, deleted after the run. on_progress: called from the event loop.
    command: the worker's program; the path of the specification is appended.
    """

    def __init__(
        self,
        *,
        run_dir: Path,
        models_dir: Path,
        clock: Clock,
        on_progress: Callable[[Progress], None],
        command: Sequence[str] = WORKER,
        limits: ProcessLimits | None = None,
    ) -> None:
        self._run_dir = run_dir
        self._models_dir = models_dir
        self._clock = clock
        self._on_progress = on_progress
        self._command = tuple(command)
        self._limits = limits or ProcessLimits()
        self._child: Child | None = None
        self._task: asyncio.Task[RetrainOutcome] | None = None
        self._status = RetrainStatus(running=False)

    @property
    def status(self) -> RetrainStatus:
        return self._status

    async def start(self, spec: TrainingSpec) -> str:
        """Starts a run in the background and returns its id. Raises AlreadyRunning."""
        lock = _lock(self._models_dir / "retrain.lock")
        try:
            started_us = self._clock.market_us()
            run_id = f"{_RUN_PREFIX}{started_us}-{os.getpid()}"
            folder = await asyncio.to_thread(_prepare, self._run_dir, run_id, spec)
        except BaseException:
            lock.close()
            raise
        self._child = Child(
            [*self._command, str(folder / "spec.json")],
            environment=_environment(folder),
            limits=self._limits,
        )
        self._status = RetrainStatus(running=True, run_id=run_id, started_us=started_us, last=self._status.last)
        self._task = asyncio.create_task(self._run(self._child, spec, folder, lock), name=run_id)
        return run_id

    async def wait(self) -> RetrainOutcome:
        """The outcome of the current run, or of the last. Raises RuntimeError where none was started."""
        if self._task is None:
            raise RuntimeError("no retraining was started")
        return await asyncio.shield(self._task)

    def cancel(self, reason: str = "cancelled on request") -> None:
        """Asks the current run to stop between two steps; does nothing where none runs."""
        if self._child is not None:
            self._child.cancel(reason)

    def pause(self) -> None:
        """Halts training between two steps, so that a forecast gets the processor."""
        if self._child is not None and not self._status.paused:
            self._child.pause()
            self._status = msgspec.structs.replace(self._status, paused=True)

    def resume(self) -> None:
        if self._child is not None and self._status.paused:
            self._child.resume()
            self._status = msgspec.structs.replace(self._status, paused=False)

    async def close(self) -> None:
        """Ends the current run at once and waits for the end of its process."""
        if self._child is not None:
            self._child.stop("the daemon stopped")
        if self._task is not None:
            await asyncio.wait({self._task})
            self._task.result()

    async def _run(self, child: Child, spec: TrainingSpec, folder: Path, lock: IO[str]) -> RetrainOutcome:
        started_s = self._clock.wall_s()
        try:
            ending = _checked(await child.run(self._handle), spec)
        finally:
            self._child = None
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            lock.close()
        outcome = RetrainOutcome(
            run_id=folder.name,
            state=ending.state,
            started_us=self._status.started_us or 0,
            duration_s=self._clock.wall_s() - started_s,
            artifact=None if ending.artifact is None else str(ending.artifact),
            reason=ending.reason,
            unusable_bars=ending.unusable_bars,
            scores=ending.scores,
        )
        self._status = RetrainStatus(running=False, last=outcome)
        return outcome

    def _handle(self, message: Message) -> None:
        if isinstance(message, Reported):
            self._status = msgspec.structs.replace(self._status, progress=message.progress)
            self._on_progress(message.progress)
        elif isinstance(message, Started):
            log.info("retraining started", run=self._status.run_id, pid=message.pid, shortfalls=message.shortfalls)
        elif isinstance(message, Log):
            log.info("retraining", run=self._status.run_id, says=message.message)


def run_in_foreground(
    spec: TrainingSpec,
    on_progress: Callable[[Progress], None],
    *,
    run_dir: Path,
    models_dir: Path,
    clock: Clock,
    command: Sequence[str] = WORKER,
) -> RetrainOutcome:
    """Performs one run without a daemon, in the same kind of process. Raises AlreadyRunning.

    KeyboardInterrupt ends the process and is raised again.
    """

    async def run() -> RetrainOutcome:
        supervisor = RetrainSupervisor(
            run_dir=run_dir,
            models_dir=models_dir,
            clock=clock,
            on_progress=on_progress,
            command=command,
        )
        await supervisor.start(spec)
        try:
            return await supervisor.wait()
        finally:
            await supervisor.close()

    return asyncio.run(run())


def _checked(ending: Ending, spec: TrainingSpec) -> Ending:
    """A finished run whose artifact is not in the output folder has failed."""
    if ending.artifact is None:
        return ending
    if ending.artifact.is_dir() and ending.artifact.resolve().parent == spec.output_dir.resolve():
        return ending
    return Ending(state=State.FAILED, reason=f"{ending.artifact} is no artifact in {spec.output_dir}")


def _lock(path: Path) -> IO[str]:
    """Takes the lock of a models folder; the kernel releases it when the holder dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise Fatal(f"{path} cannot be written: {error.strerror}; retraining needs the models folder") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunning(f"a retraining runs already, started by process {holder}") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _prepare(run_dir: Path, run_id: str, spec: TrainingSpec) -> Path:
    """Deletes the folders of dead runs (all others, as this process holds the lock) and writes the specification."""
    for leftover in run_dir.glob(f"{_RUN_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = run_dir / run_id
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    return folder


def _environment(folder: Path) -> dict[str, str]:
    """The environment of training, with a temporary folder that is deleted after the run and with our packages."""
    inherited = chosen_environment(os.environ)
    environment = inherited | {"TMPDIR": str(folder)}
    packages = str(Path(__file__).parents[2])
    if packages != sysconfig.get_path("purelib"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [packages, inherited.get("PYTHONPATH")]))
    return environment
