"""The attention LSTM: an LSTM reads the window, a learned score per hour, by content and age, says which count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.heads import QuantileHead, VolatilityHead

UNKNOWN_SYMBOL = 0
_INITIAL_MEMORY_HOURS = 4.0  # at the start an hour this much older weighs 1/e: an even mean over 48 hours learns slowly


@dataclass(frozen=True, slots=True)
class AttentionLSTMConfig:
    """The shape of the network; one with the same configuration accepts the same weights."""

    features: int  # F, columns of a window
    window: int  # L, hours of a window
    symbols: int  # rows of the symbol embedding, the unknown symbol included
    horizons: int  # H
    levels: tuple[float, ...]  # the Q quantile levels, ascending
    hidden: int = 256  # width of each LSTM layer
    layers: int = 3  # LSTM layers
    embedding: int = 8  # width of the symbol embedding
    widths: tuple[int, ...] = (128, 64)  # layers between the weighted sum of hours and the heads
    dropout: float = 0.1  # between LSTM layers and before the heads
    symbol_dropout: float = 0.1  # share of training windows whose symbol is hidden, which trains the unknown symbol


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """In units of the window's scale: quantiles (B, H, Q), log_sigma (B, H); attention (B, L) where asked for."""

    quantiles: Tensor
    log_sigma: Tensor
    attention: Tensor | None


class AttentionLSTM(nn.Module):
    """(B, L, F) windows of one panel of symbols to quantiles and volatility of H horizons."""

    def __init__(self, config: AttentionLSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.symbol = nn.Embedding(config.symbols, config.embedding)
        self.lstm = nn.LSTM(
            config.features + 1,
            config.hidden,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.score = nn.Linear(config.hidden, 1)
        age = torch.arange(config.window - 1, -1, -1, dtype=torch.float32)
        self.recency = nn.Parameter(-age / _INITIAL_MEMORY_HOURS)
        self.trunk = _trunk((config.hidden + config.embedding, *config.widths), config.dropout)
        self.quantiles = QuantileHead(config.widths[-1], config.horizons, config.levels)
        self.volatility = VolatilityHead(config.widths[-1], config.horizons)

    def forward(self, values: Tensor, mask: Tensor, symbol: Tensor, *, with_attention: bool = False) -> NetworkOutput:
        """values (B, L, F) scaled and 0 where masked, mask (B, L) bool, symbol (B,) int64."""
        inputs = torch.cat([values, mask.unsqueeze(-1).to(values.dtype)], dim=-1)  # (B, L, F + 1)
        hours, _ = self.lstm(inputs)  # (B, L, hidden)
        attention = self._attention(hours, mask)  # (B, L)
        context = (attention.unsqueeze(-1) * hours).sum(1)  # (B, hidden)
        symbols = self.symbol(self._hide_symbols(symbol))  # (B, embedding)
        trunk = self.trunk(torch.cat([context, symbols], dim=1))  # (B, widths[-1])
        log_sigma = self.volatility(trunk)  # (B, H)
        # The realised variance says far more about the width of the distribution than one return does.
        quantiles = self.quantiles(trunk) * log_sigma.exp().unsqueeze(-1)  # (B, H, Q)
        return NetworkOutput(quantiles, log_sigma, attention if with_attention else None)

    def _attention(self, hours: Tensor, mask: Tensor) -> Tensor:
        scores = self.score(hours).squeeze(-1) + self.recency  # (B, L)
        # A window without a single known hour attends to all of them: a softmax over nothing is NaN.
        empty = ~mask.any(dim=1, keepdim=True)
        return torch.softmax(scores.masked_fill(~(mask | empty), -torch.inf), dim=1)

    def _hide_symbols(self, symbol: Tensor) -> Tensor:
        if not self.training or self.config.symbol_dropout == 0.0:
            return symbol
        hidden = torch.rand(symbol.shape, device=symbol.device) < self.config.symbol_dropout
        return symbol.masked_fill(hidden, UNKNOWN_SYMBOL)


def _trunk(widths: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)
