"""A trained model as a folder: weights, manifest, scaler, HAR, golden windows, and a checksum for each file.

    <id>/manifest.json        kind, training data and scores
         weights.safetensors  the network
         scaler.json          the feature scaler, fitted on training rows only
         har.json             HAR of the same training span, which gives the scale of the network's output
         golden.safetensors   a few windows and the output of the network when it was saved
         SHA256SUMS           readable by ``sha256sum -c``

The folder is written under another name, flushed to disk and renamed, so that it is present in full or not at all.
No file is a pickle. This module needs no torch; models/networks/network_forecaster.py builds the network.

ArtifactError
|-- ArtifactDamaged    a file is missing, or differs from its checksum
`-- ArtifactMismatch   the artifact is intact, but was made for other features or by another program
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
    """The artifact was made for features, a format or a network that this program does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Description of an artifact. ``symbols[i]`` ("venue:symbol") has index i + 1 in the embedding, 0 is unknown.

    fitted_until_us: the last instant that the weights were fitted on. trained_until_us: the last instant that
    influenced the model, the choice of the best epoch included; later forecasts are out of sample.
    scores: on the span between the two, per horizon, compared with the random walk and HAR, with standard errors.
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
        if not isinstance(given, dict):
            raise ArtifactMismatch(f"the manifest is {type(given).__name__}, not an object")
        if given.get("format") != FORMAT or set(given) != {field.name for field in fields(cls)}:
            raise ArtifactMismatch(f"the manifest has format {given.get('format')}, this program reads {FORMAT}")
        for name in ("feature_names", "horizons", "levels", "symbols"):
            given[name] = tuple(given[name])
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artifact:
    """The contents of the folder, with checksums verified; the network is not built yet."""

    manifest: Manifest
    weights: Tensors
    scaler: Mapping[str, Any]
    har: Mapping[str, Any]
    golden: Tensors


def write_artifact(folder: Path, artifact: Artifact) -> Path:
    """Writes ``folder/<id>`` and returns it. Raises ArtifactError if it exists or cannot be written."""
    final = folder / artifact.manifest.id
    if final.exists():
        raise ArtifactError(f"{final} exists already")
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
    """Reads and verifies an artifact. Raises ArtifactDamaged or ArtifactMismatch, naming the file or field at fault."""
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise ArtifactDamaged(f"{path} cannot be read: {error}") from error


def weights_digest(weights: Tensors) -> str:
    """Eight hexadecimal digits of a hash of the weights."""
    return hashlib.sha256(save_tensors(_sorted(weights))).hexdigest()[:8]


def remove_partial(folder: Path) -> None:
    """Removes unfinished folders that a killed writer left."""
    for path in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(path, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to disk, so that a rename in it survives a power failure."""
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
    """The bytes of every file, read once and verified against its checksum."""
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
