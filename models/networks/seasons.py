"""Harmonics of the hour of the day and the day of the week, for seasons too sharp for one sine and cosine."""

from __future__ import annotations

import torch
from torch import Tensor

from features.calendar import DAY_WAVE, WEEK_WAVE


def season_count(day: int, week: int) -> int:
    """The number of columns that ``seasons`` returns."""
    return 2 * (day + week)


def seasons(calendar: Tensor, *, day: int, week: int) -> Tensor:
    """The first ``day`` and ``week`` harmonics (B, S) of the first target of calendar (B, H, C).

    Eleven harmonics of the day span all but one dimension of HAR's 24 dummies. The hour in which a longer target begins
    determines its later hours, as in HAR.
    """
    first = calendar[:, 0]  # (B, C)
    return torch.cat([_harmonics(first, *DAY_WAVE, day), _harmonics(first, *WEEK_WAVE, week)], dim=1)


def _harmonics(calendar: Tensor, sine: int, cosine: int, count: int) -> Tensor:
    """(B, C) to the sines and cosines of the wave's phase times 1 .. count: (B, 2 * count)."""
    phase = torch.atan2(calendar[:, sine], calendar[:, cosine]).unsqueeze(1)  # (B, 1)
    phases = phase * torch.arange(1, count + 1, device=calendar.device, dtype=calendar.dtype)  # (B, count)
    return torch.cat([phases.sin(), phases.cos()], dim=1)
