"""Training by several processes under plain ``torchrun``, with gloo on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.artifacts.artifact import read_artifact
from models.networks.network_forecaster import NetworkForecaster
from models.training.ranks import ALONE, Ranks, joined_ranks
from tests.models.tiny_artifacts import tiny_spec
from tests.models.training.ranked import fit
from tests.models.training.test_fitting import CONFIGS
from tests.paths import ROOT


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs two processes on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the results of two processes."""
    made = tmp_path_factory.mktemp("ranks")
    done = torchrun("-m", "tests.models.training.ranked", str(made))
    assert done.returncode == 0, done.stderr
    return made


def results_of(folder: Path, rank: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"results-{rank}.json").read_text())
    return content


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_both_end_with_the_weights_of_one(folder: Path, kind: str) -> None:
    """Bit for bit the same in both; without dropout equal to a single process up to rounding."""
    ours, theirs = (load_file(folder / f"{kind}-{rank}.safetensors") for rank in (0, 1))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    alone = fit(kind)
    assert alone.best_epoch > 0
    assert results_of(folder, 0)[kind] == results_of(folder, 1)[kind]
    assert results_of(folder, 0)[kind]["loss"] == pytest.approx(alone.validation_loss, rel=1e-3)
    for name, tensor in alone.network.state_dict().items():
        torch.testing.assert_close(ours[name], tensor, atol=2e-3, rtol=2e-2)


@pytest.mark.long
@pytest.mark.slow
def test_processes_agree_and_detect_differences(folder: Path) -> None:
    """The first process decides, differing values are an error, and an interrupted run resumes to the same result."""
    for rank in (0, 1):
        content = results_of(folder, rank)
        assert content["size"] == 2
        assert content["agreed"] is True
        assert content["differ"] == "numbers of process 1 differ from those of process 0"
        whole, resumed = content["resumed"]
        assert whole == resumed


@pytest.mark.long
@pytest.mark.slow
def test_the_command_leaves_one_artifact(tmp_path: Path) -> None:
    """One process prints progress and path; the artifact loads and records the number of processes."""
    spec = tiny_spec(tmp_path)
    done = torchrun(
        *("-m", "models.train", "--data", str(spec.data_file), "--out", str(spec.output_dir), "--device", "cpu"),
        *("--epochs", "2", "--run-dir", str(tmp_path / "run"), "--preset", "small", "--model", "lstm"),
    )
    assert done.returncode == 0, done.stderr
    *lines, path = done.stdout.splitlines()
    ratios = [json.loads(line)["ratio"] for line in lines]
    assert ratios == sorted(ratios)
    assert [Path(path)] == list(spec.output_dir.iterdir())
    assert not list((tmp_path / "run").iterdir())
    assert read_artifact(Path(path)).manifest.training["processes"] == 2
    NetworkForecaster.load(Path(path), device="cpu")


def test_a_batch_is_split_among_processes() -> None:
    """Every window is used once; a part weighs by its labels, so that the mean of the parts is that of the batch."""
    batch, weights = torch.arange(7), torch.tensor([[1.0], [2.0], [0.5], [1.0], [3.0], [1.0], [0.25]])
    ranks = [Ranks(rank=rank, size=3, joined=True) for rank in range(3)]
    parts = [each.share(batch) for each in ranks]
    assert torch.equal(torch.cat(parts), batch)

    def mean(of: torch.Tensor) -> torch.Tensor:
        return (of * weights[of, 0]).sum() / weights[of].sum()

    means = [each.weight(weights[part], weights[batch]) * mean(part) for each, part in zip(ranks, parts, strict=True)]
    assert float(sum(means)) / 3 == pytest.approx(float(mean(batch)))
    few = batch[:2]
    assert all(torch.equal(each.share(few), few) for each in ranks)
    assert all(each.weight(weights[few], weights[few]) == 1.0 for each in ranks)


def test_without_torchrun_a_process_is_alone() -> None:
    """There is no process group, and the network is not wrapped."""
    with joined_ranks(torch.device("cpu")) as ranks:
        assert ranks is ALONE
        network = torch.nn.Linear(1, 1)
        assert ranks.wrapped(network) is network
        assert ranks.first
