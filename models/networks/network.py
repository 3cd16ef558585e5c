"""Base class of all networks: their inputs, outputs, configuration, symbol embedding and heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.networks.heads import QuantileHead, VolatilityHead
from models.networks.seasons import season_count, seasons
from models.networks.shortcut import Shortcut

UNKNOWN_SYMBOL = 0


class NetworkInput(NamedTuple):
    """B windows of L hours and F features, and the calendar of H targets, which is known beforehand.

    values (B, L, F) scaled, ignored where masked; mask (B, L) bool, True where the hour is known; symbol (B,)
    int64; calendar (B, H, C), the clock and calendar of each target's last bar (features.calendar.calendar_ahead).
    """

    values: Tensor
    mask: Tensor
    symbol: Tensor
    calendar: Tensor


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """In units of the window's scale, float32: quantiles (B, H, Q), which never cross, and log_sigma (B, H).

    attention (B, L): weight of each hour, sum 1; None unless requested.
    importance (B, F): weight of each feature, averaged over the known hours, sum 1; None if the network selects none.
    """

    quantiles: Tensor
    log_sigma: Tensor
    attention: Tensor | None = None
    importance: Tensor | None = None


class Encoded(NamedTuple):
    """Encoder output: context (B, D) for all horizons or (B, H, D) for each, and the weights of hours and features."""

    context: Tensor
    attention: Tensor | None
    importance: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """The shape of a network; networks of the same kind and configuration have weights of the same shapes."""

    features: int  # F, columns of a window
    window: int  # L, hours of a window
    symbols: int  # rows of the symbol embedding, the unknown symbol included
    horizons: int  # H
    levels: tuple[float, ...]  # the Q quantile levels, ascending
    embedding: int = 8  # width of the symbol embedding
    dropout: float = 0.1
    symbol_dropout: float = 0.1  # share of training windows whose symbol is hidden, which trains the unknown symbol
    members: int = 1  # networks of different seeds whose outputs are averaged
    shortcut: int = 0  # width of the shortcut from the newest hour to the heads; 0: no shortcut
    day_harmonics: int = 0  # of the hour of the day, which the shortcut reads too
    week_harmonics: int = 0  # of the day of the week

    @classmethod
    def columns(cls, feature_names: Sequence[str]) -> dict[str, Any]:  # noqa: ARG003  # for subclasses
        """The configuration fields that give the window columns of features with a special role."""
        return {}


class Network(nn.Module, ABC):
    """Maps windows of a panel of symbols to quantiles and volatility of H horizons; subclasses implement ``encode``."""

    def __init__(self, config: NetworkConfig, *, context: int) -> None:
        """``context``: D, the width of what ``encode`` returns."""
        super().__init__()
        self.config = config
        self.symbol = nn.Embedding(config.symbols, config.embedding)
        if config.shortcut:
            season = season_count(config.day_harmonics, config.week_harmonics)
            self.shortcut = Shortcut(
                config.features, season, config.embedding, width=config.shortcut, dropout=config.dropout
            )
        wide = self.shortcut.wide if config.shortcut else 0
        self.quantiles = QuantileHead(context + config.shortcut, config.horizons, config.levels)
        self.volatility = VolatilityHead(context + config.shortcut + wide, config.horizons)

    @abstractmethod
    def encode(self, given: NetworkInput, symbols: Tensor, *, with_attention: bool) -> Encoded:
        """Encodes windows; ``given`` has values of 0 where masked, ``symbols`` is embedded (B, embedding)."""

    def forward(
        self, values: Tensor, mask: Tensor, symbol: Tensor, calendar: Tensor, *, with_attention: bool = False
    ) -> NetworkOutput:
        """Forecasts from the fields of a ``NetworkInput``, in its order."""
        known = values.masked_fill(~mask.unsqueeze(-1), 0.0)
        symbols = self.symbol(self._hide_symbols(symbol))  # (B, embedding)
        encoded = self.encode(NetworkInput(known, mask, symbol, calendar), symbols, with_attention=with_attention)
        # Half precision has three digits; a skill of one percent needs the fourth.
        with torch.autocast(values.device.type, enabled=False):
            context = linear = encoded.context.float()
            if self.config.shortcut:
                season = seasons(calendar, day=self.config.day_harmonics, week=self.config.week_harmonics)
                wide, deep = self.shortcut(at_hour(known, newest_known(mask)), season, symbols.float())
                context = _beside(context, deep)
                linear = _beside(context, wide)
            log_sigma = self.volatility(linear)  # (B, H)
            # The realised variance is far more informative about the width of the distribution than a single return.
            quantiles = self.quantiles(context) * log_sigma.exp().unsqueeze(-1)  # (B, H, Q)
        return NetworkOutput(quantiles, log_sigma, _normalised(encoded.attention), _normalised(encoded.importance))

    def _hide_symbols(self, symbol: Tensor) -> Tensor:
        if not self.training or self.config.symbol_dropout == 0.0:
            return symbol
        hidden = torch.rand(symbol.shape, device=symbol.device) < self.config.symbol_dropout
        return symbol.masked_fill(hidden, UNKNOWN_SYMBOL)


def with_mask(values: Tensor, mask: Tensor) -> Tensor:
    """(B, L, F) and (B, L) to (B, L, F + 1): the last column is 1 for a known hour."""
    return torch.cat([values, mask.unsqueeze(-1).to(values.dtype)], dim=-1)


def attendable(mask: Tensor) -> Tensor:
    """(B, L) bool: the known hours, or all if none is known, because a softmax over no hour is NaN."""
    return mask | ~mask.any(dim=1, keepdim=True)


def newest_known(mask: Tensor) -> Tensor:
    """(B,) position of the newest known hour; the newest of all if none is known."""
    return mask.shape[1] - 1 - mask.to(torch.uint8).flip(1).argmax(dim=1)


def at_hour(hours: Tensor, position: Tensor) -> Tensor:
    """hours (B, L, D) at position (B,): (B, D)."""
    return hours[torch.arange(len(hours), device=hours.device), position]


def lstm_over_hours(features: int, hidden: int, layers: int, dropout: float) -> nn.LSTM:
    """LSTM layers over hours of ``with_mask`` (B, L, features + 1), with dropout between them."""
    return nn.LSTM(features + 1, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)


def trunk(widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Fully connected layers between an encoder and the heads."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def _beside(context: Tensor, other: Tensor) -> Tensor:
    """Appends other (B, K) to the last dimension of context (B, D) or (B, H, D), repeated for every horizon."""
    if context.dim() == 3:
        other = other.unsqueeze(1).expand(-1, context.shape[1], -1)
    return torch.cat([context, other], dim=-1)


def _normalised(weights: Tensor | None) -> Tensor | None:
    """Weights rescaled to a sum of 1, which half precision rounds."""
    if weights is None:
        return None
    weights = weights.float()
    return weights / weights.sum(dim=1, keepdim=True)
