"""The supervisor: one run at a time on a host, callbacks, clean folders, and no process left behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.clock import SystemClock
from daemon.retraining.child import ProcessLimits, State
from daemon.retraining.supervisor import AlreadyRunning, RetrainOutcome, RetrainSupervisor, run_in_foreground
from models.specification import Progress
from tests.daemon.retraining.programs import HANG, OBEDIENT, SUCCESS, alive, command, gone, specification
from tests.limits import LIMIT_S, SLACK_S

WAITING = "say(type='started', pid=os.getpid()); progress(0.5); time.sleep(60)"


class Daemon:
    """A supervisor and the progress that it reported."""

    def __init__(self, folder: Path, body: str) -> None:
        self.folder = folder
        self.progress: list[Progress] = []
        self.first = asyncio.Event()
        self.supervisor = RetrainSupervisor(
            run_dir=folder / "runs",
            models_dir=folder / "models",
            clock=SystemClock(),
            on_progress=self.progressed,
            command=command(folder, body),
            limits=ProcessLimits(silence_s=15.0, cancel_s=10.0, run_s=20.0),
        )

    async def start(self) -> str:
        return await self.supervisor.start(specification(self.folder))

    async def outcome(self) -> RetrainOutcome:
        return await asyncio.wait_for(self.supervisor.wait(), LIMIT_S)

    def progressed(self, progress: Progress) -> None:
        self.progress.append(progress)
        self.first.set()


async def test_a_run_from_start_to_outcome(tmp_path: Path) -> None:
    """Progress is reported while it runs, the outcome once it ended, and the run's folder is gone."""
    daemon = Daemon(tmp_path, SUCCESS)
    assert not daemon.supervisor.status.running
    run_id = await daemon.start()
    assert daemon.supervisor.status.running
    outcome = await daemon.outcome()
    assert outcome.run_id == run_id
    assert outcome.state is State.FINISHED
    assert outcome.artifact == str(tmp_path / "models" / "artifacts" / "artifact-1")
    assert outcome.scores == {"1": {"pinball_vs_har": 0.99}}
    assert 0 < outcome.duration_s < 20
    assert [each.ratio for each in daemon.progress] == [0.25, 0.75]
    status = daemon.supervisor.status
    assert (status.running, status.last) == (False, outcome)
    assert list((tmp_path / "runs").iterdir()) == []


async def test_the_next_run_may_start_after_the_outcome(tmp_path: Path) -> None:
    """The lock and the process of the first run are gone by then."""
    daemon = Daemon(tmp_path, "progress(0.1); sys.exit(1)")
    await daemon.start()
    assert (await daemon.outcome()).state is State.FAILED
    await daemon.start()
    assert (await daemon.outcome()).state is State.FAILED


async def test_a_second_start_is_refused(tmp_path: Path) -> None:
    """A second start raises while a run is active, and the run continues."""
    daemon = Daemon(tmp_path, WAITING)
    await daemon.start()
    with pytest.raises(AlreadyRunning):
        await daemon.start()
    assert daemon.supervisor.status.running
    await daemon.supervisor.close()


async def test_a_start_is_refused_while_another_process_trains(tmp_path: Path) -> None:
    """The lock holds between processes, names the other one, and goes with it, even after kill -9."""
    holder = _other_daemon(tmp_path, HANG)
    daemon = Daemon(tmp_path, SUCCESS)
    try:
        with pytest.raises(AlreadyRunning, match=f"started by process {holder.pid}"):
            await daemon.start()
    finally:
        holder.kill()
        holder.communicate()
    await daemon.start()
    assert (await daemon.outcome()).state is State.FINISHED


async def test_leftovers_of_dead_runs_are_cleared(tmp_path: Path) -> None:
    """What a killed daemon left in the run folder is gone when the next run starts; other files stay."""
    leftover = tmp_path / "runs" / "run-1-2" / "tmp"
    leftover.mkdir(parents=True)
    other = tmp_path / "runs" / "notes.txt"
    other.write_text("mine")
    daemon = Daemon(tmp_path, SUCCESS)
    await daemon.start()
    assert not leftover.exists()
    await daemon.outcome()
    assert other.exists()


async def test_an_artifact_elsewhere_is_refused(tmp_path: Path) -> None:
    """A process that names a folder which is not in the output folder has failed."""
    daemon = Daemon(tmp_path, "say(type='finished', artifact='/', scores={})")
    await daemon.start()
    outcome = await daemon.outcome()
    assert outcome.state is State.FAILED
    assert outcome.artifact is None
    assert "no artifact in" in (outcome.reason or "")


async def test_pause_and_resume_reach_the_process_once(tmp_path: Path) -> None:
    """Repeated pauses send one order, and the status shows the pause."""
    daemon = Daemon(tmp_path, OBEDIENT)
    await daemon.start()
    await asyncio.wait_for(daemon.first.wait(), LIMIT_S)
    daemon.supervisor.pause()
    daemon.supervisor.pause()
    assert daemon.supervisor.status.paused
    daemon.supervisor.resume()
    daemon.supervisor.resume()
    assert not daemon.supervisor.status.paused
    daemon.supervisor.cancel()
    outcome = await daemon.outcome()
    assert (outcome.state, outcome.reason) == (State.CANCELLED, "cancelled on request")
    assert [each.ratio for each in daemon.progress] == [0.5, 0.6, 0.7, 0.8]


async def test_orders_without_a_run_do_nothing(tmp_path: Path) -> None:
    """Pausing, cancelling and closing an idle supervisor is allowed."""
    daemon = Daemon(tmp_path, SUCCESS)
    daemon.supervisor.pause()
    daemon.supervisor.resume()
    daemon.supervisor.cancel()
    await daemon.supervisor.close()
    with pytest.raises(RuntimeError, match="no retraining"):
        await daemon.supervisor.wait()


async def test_close_ends_the_process_at_once(tmp_path: Path) -> None:
    """Closing does not wait for a process that ignores its input, and the status has the outcome."""
    daemon = Daemon(tmp_path, HANG)
    await daemon.start()
    await asyncio.wait_for(daemon.first.wait(), LIMIT_S)
    started_s = time.monotonic()
    await daemon.supervisor.close()
    assert time.monotonic() - started_s < 5 + SLACK_S
    assert [(each.state, each.reason) for each in [daemon.supervisor.status.last]] == [
        (State.CANCELLED, "the daemon stopped")
    ]


async def test_closing_right_after_the_start(tmp_path: Path) -> None:
    """A run that is ended before its process exists leaves none."""
    daemon = Daemon(tmp_path, WAITING)
    await daemon.start()
    await daemon.supervisor.close()
    last = daemon.supervisor.status.last
    assert last is not None
    assert last.state is State.CANCELLED
    assert list((tmp_path / "runs").iterdir()) == []


async def test_a_callback_that_raises_leaves_no_process_and_no_lock(tmp_path: Path) -> None:
    """``wait`` raises the error; the process is gone and the next run may start."""
    daemon = Daemon(tmp_path, WAITING)

    def fail(_: Progress) -> None:
        raise LookupError("a mistake of the owner")

    daemon.supervisor._on_progress = fail
    await daemon.start()
    with pytest.raises(LookupError):
        await daemon.outcome()
    daemon.supervisor._on_progress = daemon.progressed
    await daemon.start()
    await daemon.supervisor.close()


def test_in_the_foreground(tmp_path: Path) -> None:
    """A run without a daemon reports progress and returns the outcome."""
    seen: list[Progress] = []
    outcome = run_in_foreground(
        specification(tmp_path),
        seen.append,
        run_dir=tmp_path / "runs",
        models_dir=tmp_path / "models",
        clock=SystemClock(),
        command=command(tmp_path, SUCCESS),
    )
    assert outcome.state is State.FINISHED
    assert [each.ratio for each in seen] == [0.25, 0.75]


def test_ctrl_c_in_the_foreground_ends_the_process(tmp_path: Path) -> None:
    """SIGINT ends the command and the training process with it."""
    daemon = _other_daemon(tmp_path, WAITING)
    pid = int(_reported(tmp_path)["pid"])
    assert alive(pid)
    daemon.send_signal(signal.SIGINT)
    daemon.communicate(timeout=10)
    assert daemon.returncode != 0
    assert gone(pid)


_OTHER = """
import sys
from dataclasses import replace
from pathlib import Path
from daemon.clock import SystemClock
from daemon.retraining.supervisor import run_in_foreground
from tests.daemon.retraining.programs import command, specification
folder = Path(sys.argv[1])
run_in_foreground(
    specification(folder), lambda progress: print(progress.ratio, flush=True), run_dir=folder / "runs",
    models_dir=folder / "models", clock=SystemClock(), command=command(folder, sys.argv[2]),
)
"""


def _other_daemon(folder: Path, body: str) -> subprocess.Popen[str]:
    """Another process that retrains; returned when its training process has reported progress."""
    write_pid = f"open({str(folder / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    process = subprocess.Popen(
        [sys.executable, "-c", _OTHER, str(folder), write_pid + body],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "0.5\n" in iter(process.stdout.readline, "")  # after what is logged
    return process


def _reported(folder: Path) -> dict[str, str]:
    return {"pid": (folder / "pid").read_text()}


def test_supervision_needs_no_torch() -> None:
    """The daemon that supervises does not load what only the training process needs."""
    program = "import sys, daemon.retraining.supervisor, daemon.retraining.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=20).returncode == 0


@pytest.mark.long
@pytest.mark.slow
async def test_a_real_training_from_start_to_promotion(tmp_path: Path) -> None:
    """The real worker trains a small network on a synthetic market and leaves an artifact that can be promoted."""
    from models.artifacts.artifact import read_artifact
    from models.artifacts.registry import Registry
    from tests.models.synthetic import garch_bars

    spec = replace(specification(tmp_path), preset="small", epochs=1, horizons=(1, 3))
    garch_bars(1_200).write_parquet(spec.data_file)
    progress: list[Progress] = []
    supervisor = RetrainSupervisor(
        run_dir=tmp_path / "runs",
        models_dir=tmp_path / "models",
        clock=SystemClock(),
        on_progress=progress.append,
    )
    await supervisor.start(spec)
    outcome = await asyncio.wait_for(supervisor.wait(), 120)
    assert (outcome.state, outcome.reason) == (State.FINISHED, None)
    assert {"features", "training", "scoring", "done"} == {each.phase for each in progress}
    assert [each.ratio for each in progress] == sorted(each.ratio for each in progress)
    registry = Registry(tmp_path / "models")
    registry.promote(Path(outcome.artifact or ""))
    champion = registry.champion()
    assert champion is not None
    manifest = read_artifact(champion).manifest
    assert dict(outcome.scores) == manifest.scores
    assert set(outcome.scores) == {"1", "3"}
