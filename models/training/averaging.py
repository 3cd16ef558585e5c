"""An exponential moving average of a network's weights: what is validated and kept instead of the last step's."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn


class WeightAverage:
    """``average = decay * average + (1 - decay) * weights`` after each step (Polyak and Juditsky 1992).

    In the first steps the decay is (1 + n) / (10 + n) where that is less, so that the random start is soon forgotten.
    A decay of 0 follows the weights themselves.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(requires_grad=False)
        self.decay = decay
        self.steps = 0
        self._source = network

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights as they are now."""
        decay = min(self.decay, (1.0 + self.steps) / (10.0 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(list(_tensors(self.network)), list(_tensors(self._source)), 1.0 - decay)


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    return (parameter.detach() for parameter in network.parameters())
