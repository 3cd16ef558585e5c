"""Transformer: pre-norm encoder layers over the window, and a read-out by attention from its newest hour."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.network import (
    Encoded,
    Network,
    NetworkConfig,
    NetworkInput,
    at_hour,
    attendable,
    newest_known,
    trunk,
    with_mask,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig(NetworkConfig):
    """The shape of a transformer."""

    hidden: int = 128  # width of an hour, a multiple of ``heads``
    layers: int = 4  # encoder layers
    heads: int = 8
    feedforward: int = 512  # width inside a layer's feed-forward part
    widths: tuple[int, ...] = (128, 64)  # layers between the read-out and the heads


class Transformer(Network):
    """Self-attention among the hours (Vaswani et al. 2017), normalised before each part (Xiong et al. 2020).

    In the read-out, the newest known hour is the query and all known hours are keys; the returned attention is that of
    the read-out, averaged over the heads.
    """

    positions: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, context=config.widths[-1])
        self.hour = nn.Linear(config.features + 1, config.hidden)
        self.register_buffer("positions", sinusoids(config.window, config.hidden), persistent=False)
        self.dropout = nn.Dropout(config.dropout)
        # Built one by one: nn.TransformerEncoder would initialise all of them as copies of the first.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.hidden,
                config.heads,
                config.feedforward,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.hidden)
        self.readout = nn.MultiheadAttention(config.hidden, config.heads, config.dropout, batch_first=True)
        self.trunk = trunk((config.hidden + config.embedding, *config.widths), config.dropout)

    def encode(self, given: NetworkInput, symbols: Tensor, *, with_attention: bool) -> Encoded:
        ignored = ~attendable(given.mask)  # (B, L)
        hours = self.dropout(self.hour(with_mask(given.values, given.mask)) + self.positions)  # (B, L, hidden)
        for layer in self.layers:
            hours = layer(hours, src_key_padding_mask=ignored)
        hours = self.norm(hours)
        newest = at_hour(hours, newest_known(given.mask))  # (B, hidden)
        readout, attention = self.readout(
            newest.unsqueeze(1), hours, hours, key_padding_mask=ignored, need_weights=with_attention
        )  # (B, 1, hidden), (B, 1, L)
        context = self.trunk(torch.cat([newest + readout.squeeze(1), symbols], dim=1))  # (B, widths[-1])
        return Encoded(context, attention.squeeze(1) if with_attention else None)


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) positional encoding of Vaswani et al. 2017, section 3.5; ``width`` is even."""
    position = torch.arange(length, dtype=torch.float32).unsqueeze(1)
    angle = position * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))  # (length, width / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
