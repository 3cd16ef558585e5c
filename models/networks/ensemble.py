"""Ensemble: networks of one kind and shape, trained from different seeds, whose outputs are averaged."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from models.networks.network import Network, NetworkConfig, NetworkOutput


class Ensemble(nn.Module):
    """The mean of its members' quantiles (Vincent 1912), logarithms of sigma, attention and importance.

    The mean of quantiles that do not cross does not cross.
    """

    def __init__(self, config: NetworkConfig, members: Iterable[Network]) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(members)

    def forward(
        self, values: Tensor, mask: Tensor, symbol: Tensor, calendar: Tensor, *, with_attention: bool = False
    ) -> NetworkOutput:
        """As ``Network.forward``."""
        outputs: list[NetworkOutput] = [
            member(values, mask, symbol, calendar, with_attention=with_attention) for member in self.members
        ]
        return NetworkOutput(
            quantiles=torch.stack([output.quantiles for output in outputs]).mean(0),
            log_sigma=torch.stack([output.log_sigma for output in outputs]).mean(0),
            attention=_mean([output.attention for output in outputs]),
            importance=_mean([output.importance for output in outputs]),
        )


def _mean(weights: list[Tensor | None]) -> Tensor | None:
    present = [each for each in weights if each is not None]
    return torch.stack(present).mean(0) if present else None
