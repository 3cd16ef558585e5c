"""LSTM: reads the window hour by hour; the forecast derives from its state at the newest known hour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.networks.network import (
    Encoded,
    Network,
    NetworkConfig,
    NetworkInput,
    at_hour,
    lstm_over_hours,
    newest_known,
    trunk,
    with_mask,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LSTMConfig(NetworkConfig):
    """The shape of an LSTM."""

    hidden: int = 256  # width of each LSTM layer
    layers: int = 3  # LSTM layers
    widths: tuple[int, ...] = (128, 64)  # layers between the newest hour and the heads


class LSTM(Network):
    """The last step of an LSTM (Hochreiter and Schmidhuber 1997); its attention is all on the newest known hour."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__(config, context=config.widths[-1])
        self.lstm = lstm_over_hours(config.features, config.hidden, config.layers, config.dropout)
        self.trunk = trunk((config.hidden + config.embedding, *config.widths), config.dropout)

    def encode(self, given: NetworkInput, symbols: Tensor, *, with_attention: bool) -> Encoded:
        hours, _ = self.lstm(with_mask(given.values, given.mask))  # (B, L, hidden)
        newest = newest_known(given.mask)  # (B,)
        context = self.trunk(torch.cat([at_hour(hours, newest), symbols], dim=1))  # (B, widths[-1])
        return Encoded(context, F.one_hot(newest, given.mask.shape[1]) if with_attention else None)
