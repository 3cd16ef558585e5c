"""Shortcut from the newest hour to the heads, in parallel to the encoder of the whole window."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LIMIT = 5.0  # in units of a feature's spread: bounds the linear path in a crash


class Shortcut(nn.Module):
    """Wide and deep (H.-T. Cheng et al. 2016) over the newest known hour, the season and the symbol.

    Features already reach back a week, so most of the information is in the newest hour. Through 48 steps of recurrence
    it is learned slowly, directly in an epoch or two; the encoder then adds what the window contributes.
    """

    def __init__(self, features: int, season: int, embedding: int, *, width: int, dropout: float) -> None:
        """``season``: S, columns of the season. ``embedding``: E, of the embedded symbol. ``width``: D, deep path."""
        super().__init__()
        self.wide = features + season
        self.deep = nn.Sequential(*_layer(self.wide + embedding, width, dropout), *_layer(width, width, dropout))

    def forward(self, newest: Tensor, season: Tensor, symbols: Tensor) -> tuple[Tensor, Tensor]:
        """newest (B, F), season (B, S), symbols (B, E): the wide output (B, F + S) and the deep one (B, D)."""
        wide = torch.cat([newest.clamp(-_LIMIT, _LIMIT), season], dim=1)
        return wide, self.deep(torch.cat([wide, symbols], dim=1))


def _layer(inner: int, outer: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(inner, outer), nn.LayerNorm(outer), nn.SiLU(), nn.Dropout(dropout)
