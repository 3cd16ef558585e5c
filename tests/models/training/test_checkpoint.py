"""Checkpoints: a write that fails leaves the checkpoint before it, and no other file."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from models.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

MOST_BYTES = 4096


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """No file may grow beyond the limit."""
    small = Checkpoint({"weights": torch.ones(3)}, {"fingerprint": "a"})
    file = tmp_path / "seed-0.safetensors"
    write_checkpoint(file, small)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_checkpoint(file, Checkpoint({"weights": torch.ones(MOST_BYTES)}, {"fingerprint": "a"}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [file]
    read = read_checkpoint(file, fingerprint="a")
    assert read is not None
    assert torch.equal(read.tensors["weights"], torch.ones(3))
