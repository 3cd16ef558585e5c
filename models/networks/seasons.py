"""The hour of the day and the day of the week as harmonics: sharp seasons, which one sine and cosine cannot draw."""

from __future__ import annotations

import torch
from torch import Tensor

from features.calendar import DAY_WAVE, WEEK_WAVE


def season_count(day: int, week: int) -> int:
    """How many columns ``seasons`` gives."""
    return 2 * (day + week)


def seasons(calendar: Tensor, *, day: int, week: int) -> Tensor:
    """calendar (B, H, C), of which the first target counts, to the first ``day`` and ``week`` harmonics (B, S).

    Eleven harmonics of the day span what HAR's 24 dummies do, but for one alternation. Of a longer target the hour in
    which it begins says it all, as in HAR.
    """
    first = calendar[:, 0]  # (B, C)
    return torch.cat([_harmonics(first, *DAY_WAVE, day), _harmonics(first, *WEEK_WAVE, week)], dim=1)


def _harmonics(calendar: Tensor, sine: int, cosine: int, count: int) -> Tensor:
    """(B, C) to the sines and cosines of the wave's phase times 1 .. count: (B, 2 * count)."""
    phase = torch.atan2(calendar[:, sine], calendar[:, cosine]).unsqueeze(1)  # (B, 1)
    phases = phase * torch.arange(1, count + 1, device=calendar.device, dtype=calendar.dtype)  # (B, count)
    return torch.cat([phases.sin(), phases.cos()], dim=1)
