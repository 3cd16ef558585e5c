"""Attention LSTM: an LSTM over the window, whose hours are averaged with learned weights by content and age."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.network import (
    Encoded,
    Network,
    NetworkConfig,
    NetworkInput,
    attendable,
    lstm_over_hours,
    trunk,
    with_mask,
)

_INITIAL_MEMORY_HOURS = 4.0  # initially an hour this much older weighs 1/e: an even mean over 48 hours learns slowly


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLSTMConfig(NetworkConfig):
    """The shape of an attention LSTM."""

    hidden: int = 256  # width of each LSTM layer
    layers: int = 3  # LSTM layers
    widths: tuple[int, ...] = (128, 64)  # layers between the weighted mean of hours and the heads


class AttentionLSTM(Network):
    """A weighted mean of an LSTM's hours (additive attention, Bahdanau et al. 2015, with a bias by age)."""

    def __init__(self, config: AttentionLSTMConfig) -> None:
        super().__init__(config, context=config.widths[-1])
        self.lstm = lstm_over_hours(config.features, config.hidden, config.layers, config.dropout)
        self.score = nn.Linear(config.hidden, 1)
        age = torch.arange(config.window - 1, -1, -1, dtype=torch.float32)
        self.recency = nn.Parameter(-age / _INITIAL_MEMORY_HOURS)
        self.trunk = trunk((config.hidden + config.embedding, *config.widths), config.dropout)

    def encode(self, given: NetworkInput, symbols: Tensor, *, with_attention: bool) -> Encoded:
        hours, _ = self.lstm(with_mask(given.values, given.mask))  # (B, L, hidden)
        attention = self._attention(hours, given.mask)  # (B, L)
        context = (attention.unsqueeze(-1) * hours).sum(1)  # (B, hidden)
        context = self.trunk(torch.cat([context, symbols], dim=1))  # (B, widths[-1])
        return Encoded(context, attention if with_attention else None)

    def _attention(self, hours: Tensor, mask: Tensor) -> Tensor:
        scores = self.score(hours).squeeze(-1) + self.recency  # (B, L)
        return torch.softmax(scores.masked_fill(~attendable(mask), -torch.inf), dim=1)
