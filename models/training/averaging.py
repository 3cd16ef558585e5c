"""Exponential moving average of a network's weights, which is validated and kept instead of the last step's weights."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn


class WeightAverage:
    """``average = decay * average + (1 - decay) * weights`` after each step (Polyak and Juditsky 1992).

    In the first steps the decay is (1 + n) / (10 + n) if that is less, so that the influence of the random initial
    weights decays quickly. With a decay of 0 the average equals the weights.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(requires_grad=False)
        self.decay = decay
        self.steps = 0
        self._source = network

    @torch.no_grad()
    def update(self) -> None:
        """Adds the current weights to the average."""
        decay = min(self.decay, (1.0 + self.steps) / (10.0 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(list(_tensors(self.network)), list(_tensors(self._source)), 1.0 - decay)


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    return (parameter.detach() for parameter in network.parameters())
