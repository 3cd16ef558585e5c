"""One trained model as one folder: weights, manifest, scaler, HAR, a golden window, and a sum over each file.

    <id>/manifest.json        what it is, what it was trained on, how it scored
         weights.safetensors  the network
         scaler.json          the feature scaler, fitted on training rows only
         har.json             HAR of the same training span: the scale that the network multiplies
         golden.safetensors   a few windows and what the network answered when it was saved
         SHA256SUMS           readable by ``sha256sum -c``

The folder is written aside, flushed to disk and renamed, so that it is there in full or not at all. Nothing in
it is pickled. This module needs no torch; models/networks/network_forecaster.py brings the network to life.

ArtifactError
|-- ArtifactDamaged    a file is missing, changed or not what its sum says
`-- ArtifactMismatch   the artifact is sound, but was made for other features or by another program
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

FORMAT = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
SCALER = "scaler.json"
HAR = "har.json"
GOLDEN = "golden.safetensors"
SUMS = "SHA256SUMS"
_FILES = (MANIFEST, WEIGHTS, SCALER, HAR, GOLDEN)
_PARTIAL = ".partial-"

Tensors = dict[str, npt.NDArray[Any]]


class ArtifactError(Exception):
    """A model artifact cannot be written, found or served."""


class ArtifactDamaged(ArtifactError):
    """A file of the artifact is missing or changed."""


class ArtifactMismatch(ArtifactError):
    """The artifact was made for other features, another format or another network than this program has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact is. ``symbols[i]`` ("venue:symbol") has index i + 1 in the embedding, 0 is unknown.

    fitted_until_us: the last instant that the weights were fitted on. trained_until_us: the last instant that
    had any part in the model, the choice of the best epoch included; later forecasts are out of sample.
    scores: on the span between the two, per horizon, beside the random walk and HAR, with standard errors.
    """

    id: str
    kind: str
    preset: str
    feature_names: tuple[str, ...]
    schema_hash: str
    interval_us: int
    horizons: tuple[int, ...]
    levels: tuple[float, ...]
    window: int
    symbols: tuple[str, ...]
    network: Mapping[str, Any]
    data_from_us: int
    fitted_until_us: int
    trained_until_us: int
    scores: Mapping[str, Any]
    training: Mapping[str, Any]
    seed: int
    parent: str | None
    versions: Mapping[str, str]
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises ArtifactMismatch for another format."""
        given = json.loads(text)
        if given.get("format") != FORMAT or set(given) != {field.name for field in fields(cls)}:
            raise ArtifactMismatch(f"the manifest has format {given.get('format')}, this program reads {FORMAT}")
        for name in ("feature_names", "horizons", "levels", "symbols"):
            given[name] = tuple(given[name])
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artifact:
    """What is in the folder, with hashes verified and nothing built yet."""

    manifest: Manifest
    weights: Tensors
    scaler: Mapping[str, Any]
    har: Mapping[str, Any]
    golden: Tensors


def write_artifact(folder: Path, artifact: Artifact) -> Path:
    """Writes ``folder/<id>`` and returns it. Raises ArtifactError where that id is already there."""
    final = folder / artifact.manifest.id
    if final.exists():
        raise ArtifactError(f"{final} is already there")
    aside = folder / f"{_PARTIAL}{artifact.manifest.id}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        _write_files(aside, artifact)
        aside.rename(final)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise ArtifactError(f"{final} cannot be written: {error}") from error
    sync_folder(folder)
    return final


def read_artifact(path: Path) -> Artifact:
    """Raises ArtifactDamaged or ArtifactMismatch, each naming the file or field at fault."""
    contents = _verified(path)
    try:
        manifest = Manifest.from_json(contents[MANIFEST].decode())
        return Artifact(
            manifest=manifest,
            weights=_finite(load_tensors(contents[WEIGHTS]), path / WEIGHTS),
            scaler=json.loads(contents[SCALER]),
            har=json.loads(contents[HAR]),
            golden=_finite(load_tensors(contents[GOLDEN]), path / GOLDEN),
        )
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactDamaged(f"{path} cannot be read: {error}") from error


def weights_digest(weights: Tensors) -> str:
    """Eight hexadecimal digits that stand for the weights."""
    return hashlib.sha256(save_tensors(_sorted(weights))).hexdigest()[:8]


def remove_partial(folder: Path) -> None:
    """Removes what a killed writer left half done."""
    for path in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(path, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_files(folder: Path, artifact: Artifact) -> None:
    contents = {
        MANIFEST: artifact.manifest.to_json().encode(),
        WEIGHTS: save_tensors(_sorted(artifact.weights)),
        SCALER: json.dumps(artifact.scaler, allow_nan=False).encode(),
        HAR: json.dumps(artifact.har, allow_nan=False).encode(),
        GOLDEN: save_tensors(_sorted(artifact.golden)),
    }
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    for name, content in {**contents, SUMS: sums.encode()}.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)


def _verified(path: Path) -> dict[str, bytes]:
    """Every file's bytes, read once and checked against its sum."""
    sums = {}
    for line in _read(path / SUMS).decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        sums[name] = digest
    contents = {name: _read(path / name) for name in _FILES}
    for name, content in contents.items():
        if sums.get(name) != hashlib.sha256(content).hexdigest():
            raise ArtifactDamaged(f"{path / name} is not the file that {SUMS} describes")
    return contents


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactDamaged(f"{path} cannot be read: {error.strerror}") from error


def _finite(tensors: Tensors, path: Path) -> Tensors:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ArtifactDamaged(f"{path} holds values in {name} that are not finite")
    return tensors


def _sorted(tensors: Tensors) -> Tensors:
    return {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
