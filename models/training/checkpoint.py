"""Checkpoint of an unfinished training run: one file, written in full or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from models.atomic_file import replace_file

_STATE = "state"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Tensors by name, on the CPU, and JSON values."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below ``prefix.``, by the rest of their names."""
        start = f"{prefix}."
        return {name.removeprefix(start): each for name, each in self.tensors.items() if name.startswith(start)}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replaces the file at ``path`` by one rename. Raises OSError."""
    tensors = {name: each.detach().cpu().contiguous().clone() for name, each in checkpoint.tensors.items()}
    content = save(tensors, {_STATE: json.dumps(checkpoint.values)})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)


def read_checkpoint(path: Path, *, fingerprint: str) -> Checkpoint | None:
    """The checkpoint of a run with this ``fingerprint``; None if there is none, or it is of another run."""
    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})[_STATE])
            if values.get("fingerprint") != fingerprint:
                return None
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, values)  # noqa: SIM118  # no dict
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def fingerprint(values: Mapping[str, Any], tensors: Iterable[Tensor]) -> str:
    """SHA-256 over JSON values and the contents of tensors."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for tensor in tensors:
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def optimiser_state(optimiser: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state of each parameter, by ``<index>.<field>``."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{field}": each for index, fields in state.items() for field, each in fields.items()}


def restore_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of ``optimiser_state``, into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, each in tensors.items():
        index, _, field = name.partition(".")
        state.setdefault(int(index), {})[field] = each
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
