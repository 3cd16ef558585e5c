"""The Ray engine on a real cluster of two nodes on this machine, one of which is lost in mid-job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from daemon.executing import choice
from daemon.executing.base import Cancelled, WorkerLost
from daemon.executing.ray_engine import RayCluster, RayUnreachable
from models.evaluation.outcomes import joined
from models.evaluation.walkforward import Step, fold_tasks, walk_forward
from tests.daemon.cli.in_process import run_forecastd
from tests.daemon.executing.gated_folds import GatedFold, evaluate_gated
from tests.daemon.executing.test_folds import equal
from tests.daemon.executing.work import Errand, refuse, square, wait_for_ever
from tests.models.evaluation.test_walkforward import BARS, SETTINGS, folds
from tests.paths import ROOT

pytestmark = pytest.mark.slow


class TwoNodes:
    """A head and another node with one core each; the nodes are processes of this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}, shutdown_at_exit=False
        )
        self._other = self._cluster.add_node(num_cpus=1)
        self.address: str = self._cluster.address

    def lose_one(self) -> None:
        """Kills every process of the node that is not the head, as a machine that loses its power does."""
        self._cluster.remove_node(self._other, allow_graceful=False)

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = TwoNodes()
    yield nodes
    nodes.close()


@pytest.mark.long
def test_results_steps_and_errors_are_as_of_the_local_engine(cluster: TwoNodes, tmp_path: Path) -> None:
    """In the order of the tasks; an error of the task's own comes as it was raised."""
    engine = RayCluster(address=cluster.address, workers=2)
    steps: list[tuple[int, str]] = []
    done: list[int] = []
    results = engine.map(
        square,
        [Errand(number, tmp_path, pause_s=0.3) for number in (3, 4, 5)],
        on_step=lambda index, step: steps.append((index, step)),
        on_done=lambda index, _: done.append(index),
    )
    assert [value for value, _ in results] == [9, 16, 25]
    assert sorted(done) == [0, 1, 2]
    assert steps
    assert {step for _, step in steps} <= {f"{word} {number}" for word in ("begun", "done") for number in (3, 4, 5)}
    with pytest.raises(ValueError, match="there is no 7") as refused:
        engine.map(refuse, [Errand(7, tmp_path)])
    assert refused.value.__notes__ == ["said by the task"]


@pytest.mark.long
def test_a_task_that_always_kills_its_process_ends_the_run(cluster: TwoNodes, tmp_path: Path) -> None:
    """Retried twice; the third loss raises."""
    engine = RayCluster(address=cluster.address, workers=2)
    lost: list[str] = []
    with pytest.raises(WorkerLost, match="task 1 of 1 was lost 3 times, at last to WorkerCrashedError"):
        engine.map(square, [Errand(2, tmp_path, deaths=99)], on_lost=lambda _, reason: lost.append(reason))
    assert lost == ["WorkerCrashedError"] * 2


@pytest.mark.long
def test_ctrl_c_cancels(cluster: TwoNodes, tmp_path: Path) -> None:
    """The driver lets go; the cluster stays and ends what the job had begun."""

    def interrupt(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Cancelled, match="cancelled; 0 of 2 tasks were done"):
        RayCluster(address=cluster.address, workers=2).map(
            wait_for_ever, [Errand(number, tmp_path) for number in range(2)], on_step=interrupt
        )


@pytest.mark.long
def test_a_node_that_is_lost_in_mid_job_changes_nothing(cluster: TwoNodes, tmp_path: Path) -> None:
    """Two folds are under way, one on each node; one node dies; the outcomes are the local engine's, bit for bit."""
    tasks = fold_tasks(BARS, folds(3), ("ewma",), SETTINGS)
    gate = tmp_path / "gate"
    begun: set[int] = set()
    lost: list[int] = []

    def watch(index: int, step: Step) -> None:
        begun.add(index)
        if len(begun) == 2 and not gate.exists():
            cluster.lose_one()
            gate.touch()

    engine = RayCluster(address=cluster.address, workers=2)
    outcomes = engine.map(
        evaluate_gated,
        [GatedFold(task, gate) for task in tasks],
        on_step=watch,
        on_lost=lambda index, _: lost.append(index),
    )
    assert lost
    assert set(lost) <= begun
    equal(joined(outcomes), walk_forward(tasks))


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", r"no Ray cluster answers at 127\.0\.0\.1:1: Connection refused"),
        ("ray://head:x", "the address was 'ray://head:x'; write the head node's HOST:PORT"),
    ],
)
def test_no_cluster_is_one_line(address: str, says: str) -> None:
    """The error comes at once, with the requested address."""
    with pytest.raises(RayUnreachable, match=says):
        RayCluster(address=address, workers=2).map(square, [])


@pytest.mark.long
def test_the_command_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    """``--engine ray`` needs no address: it prints what the local engine prints."""
    file = tmp_path / "bars.parquet"
    BARS.write_parquet(file)
    command = [
        *(
            sys.executable,
            "-m",
            "daemon",
            "backtest",
            "--data",
            str(file),
            "--from",
            "2024-02-25",
            "--to",
            "2024-03-05",
        ),
        *("--folds", "2", "--baselines", "ewma", "--json"),
    ]
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "FORECASTD__INSTANCE__STATE_DIR": str(tmp_path),
        "FORECASTD__MODEL__HORIZONS": "[1, 3]",
    }
    local, ray = (
        subprocess.run(
            [*command, "--engine", engine, "--workers", workers],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        for engine, workers in (("local", "1"), ("ray", "2"))
    )
    assert ray.returncode == local.returncode == 0, ray.stderr
    assert json.loads(ray.stdout) == json.loads(local.stdout)


def test_without_the_extra_the_command_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, one line, before anything is read."""
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    done = run_forecastd("backtest", "--engine", "ray", "--data", str(tmp_path), environment={})
    assert done.returncode == 2
    assert done.stderr == 'forecastd: --engine ray: Ray is not installed: pip install "forecastd[ray]"\n'
