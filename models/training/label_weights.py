"""Weights of labels in the training loss, by horizon and by age."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def horizon_weights(horizons: Sequence[int], device: torch.device) -> Tensor:
    """(H,) weight of each horizon in the loss, the inverse square of its length.

    Outcomes of h bars overlap, so long horizons have the fewest independent ones and, weighted alike, overfit before
    the shortest horizon is learned. A window adds 1/h of an independent outcome; the square of that scored better,
    because all horizons share the layers below the heads.
    """
    return torch.tensor(horizons, dtype=torch.float32, device=device) ** -2.0


def age_weights(age_days: Tensor, half_life_days: float | None) -> Tensor:
    """(N, 1) weight of each sample, halved per half-life of its age; all 1 without a half-life."""
    ages = torch.zeros_like(age_days) if half_life_days is None else age_days / half_life_days
    return torch.exp2(-ages).unsqueeze(1)
