"""The newest hour's direct way to the heads, beside whatever a network reads out of the whole window."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LIMIT = 5.0  # in units of a feature's spread: the linear way must not follow a crash to the end


class Shortcut(nn.Module):
    """Wide and deep (H.-T. Cheng et al. 2016) over the newest known hour and the symbol.

    Features already reach back a week, so most of what can be known lies in the newest hour. Read through 48 steps of
    recurrence it is learned slowly; read directly, in an epoch or two, and the window adds what it can.
    """

    def __init__(self, features: int, embedding: int, *, width: int, dropout: float) -> None:
        """``embedding``: E, width of the embedded symbol. ``width``: D, of the deep way."""
        super().__init__()
        self.deep = nn.Sequential(*_layer(features + embedding, width, dropout), *_layer(width, width, dropout))

    def forward(self, newest: Tensor, symbols: Tensor) -> tuple[Tensor, Tensor]:
        """newest (B, F) and symbols (B, E) to what a head may read linearly (B, F) and what was made of it (B, D)."""
        wide = newest.clamp(-_LIMIT, _LIMIT)
        return wide, self.deep(torch.cat([wide, symbols], dim=1))


def _layer(inner: int, outer: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(inner, outer), nn.LayerNorm(outer), nn.SiLU(), nn.Dropout(dropout)
