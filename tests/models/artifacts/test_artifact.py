"""Artifacts on real files: equality after a round trip, and every kind of damage named."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.artifacts.artifact import (
    Artifact,
    ArtifactDamaged,
    ArtifactError,
    ArtifactMismatch,
    Manifest,
    read_artifact,
    weights_digest,
    write_artifact,
)
from models.artifacts.registry import Registry
from tests.paths import ROOT


def artifact(name: str = "attention_lstm-1-abcd") -> Artifact:
    manifest = Manifest(
        id=name, kind="attention_lstm", preset="small", feature_names=("a",), schema_hash="0", interval_us=1,
        horizons=(1,), levels=(0.5,), window=2, symbols=("binance:BTC-USDT",), network={"features": 1},
        data_from_us=0, fitted_until_us=1, trained_until_us=2, scores={}, training={}, seed=0, parent=None, versions={},
    )  # fmt: skip
    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(3, dtype=np.float32)}
    return Artifact(manifest=manifest, weights=tensors, scaler={"x": 1}, har={}, golden={"mask": np.array([True])})


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    """Manifest, tensors and JSON come back equal."""
    path = write_artifact(tmp_path, artifact())
    again = read_artifact(path)
    assert again.manifest == artifact().manifest
    assert again.scaler == {"x": 1}
    for name, tensor in artifact().weights.items():
        np.testing.assert_array_equal(again.weights[name], tensor)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_sums_are_readable_by_sha256sum(tmp_path: Path) -> None:
    """The standard tool can verify an artifact."""
    path = write_artifact(tmp_path, artifact())
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=path, check=True, capture_output=True)


@pytest.mark.parametrize(
    "name", ["manifest.json", "weights.safetensors", "scaler.json", "har.json", "golden.safetensors"]
)
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    """A cut, changed or missing file raises ArtifactDamaged with its name."""
    file = write_artifact(tmp_path, artifact()) / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(content[:-1])
    else:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactDamaged, match=name):
        read_artifact(file.parent)


def test_weights_that_are_not_finite_are_rejected(tmp_path: Path) -> None:
    """NaN weights with a correct sum are damage too."""
    spoiled = replace(artifact(), weights={"b": np.array([1.0, np.nan], dtype=np.float32)})
    with pytest.raises(ArtifactDamaged, match="not finite"):
        read_artifact(write_artifact(tmp_path, spoiled))


def test_another_format_is_a_mismatch_not_damage(tmp_path: Path) -> None:
    """An intact artifact of a later program is distinguished from a damaged one."""
    later = replace(artifact(), manifest=replace(artifact().manifest, format=99))
    with pytest.raises(ArtifactMismatch, match="99"):
        read_artifact(write_artifact(tmp_path, later))


def test_an_id_is_never_overwritten(tmp_path: Path) -> None:
    """Writing the same id again raises and leaves the first alone."""
    path = write_artifact(tmp_path, artifact())
    before = (path / "manifest.json").stat().st_mtime_ns
    with pytest.raises(ArtifactError, match="exists already"):
        write_artifact(tmp_path, artifact())
    assert (path / "manifest.json").stat().st_mtime_ns == before


def test_digest_follows_the_weights_not_their_order() -> None:
    """The same tensors in another order have the same digest, one changed value another."""
    weights = artifact().weights
    assert weights_digest(weights) == weights_digest(dict(reversed(weights.items())))
    assert weights_digest(weights) != weights_digest({**weights, "a": weights["a"] * 2})


def test_a_kill_between_write_and_rename_leaves_no_model(tmp_path: Path) -> None:
    """A writer killed just before the rename leaves no folder that a registry lists, and pruning removes the rest."""
    registry = Registry(tmp_path)
    code = (
        "import os, signal, sys, pathlib\n"
        "from tests.models.artifacts.test_artifact import artifact\n"
        "from models.artifacts.artifact import write_artifact\n"
        "pathlib.Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_artifact(pathlib.Path(sys.argv[1]), artifact())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(registry.artifacts_dir)], cwd=ROOT, env=os.environ, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list(registry.artifacts_dir.iterdir())) == 1
    assert registry.artifacts() == []
    registry.prune()
    assert list(registry.artifacts_dir.iterdir()) == []


@pytest.mark.parametrize("text", ["[]", "null", "7", '{"format": 1}'])
def test_a_manifest_of_another_form_is_an_artifact_error(text: str) -> None:
    """Whatever JSON the manifest holds, no other exception reaches the daemon."""
    with pytest.raises(ArtifactError):
        Manifest.from_json(text)
