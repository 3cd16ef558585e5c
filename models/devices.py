"""Choice of the device that a network runs on."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA if torch finds it. Raises ValueError if the device is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device was {name!r}, but torch finds no CUDA here")
    return device
