"""Which device a network runs on."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where torch finds it. Raises ValueError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device was {name!r}, but torch finds no CUDA here")
    return device
