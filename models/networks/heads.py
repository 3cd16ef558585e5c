"""The heads that networks share: quantiles that cannot cross and a volatility that cannot be negative.

Both speak in units of a scale that the forecaster knows at the cut-off (the standard deviation that HAR
predicts for each horizon), so that a network learns only what it can add to HAR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.distribution import central_index

_LEAST_STEP = 1e-4  # quantiles closer than this, in units of the scale, start no softplus gradient
# Direction is nearly noise: a centre that learns as fast as the width only overfits, and errs more than a random walk.
CENTRE_GAIN = 0.01
_OUTLIER = 3.0  # of a log variance; a bar of next to no range says little of how little
_INITIAL_WEIGHT = 0.01  # small, so that training starts at the given quantiles, and not zero, so that gradients flow


class QuantileHead(nn.Module):
    """A centre and cumulative softplus steps outwards, so quantiles never cross.

    (B, D), one context for all horizons, or (B, H, D), one for each, to (B, H, Q).
    """

    def __init__(self, width: int, horizons: int, levels: Sequence[float]) -> None:
        super().__init__()
        self.horizons = horizons
        self.centre = central_index(levels)
        self.output = nn.Linear(width, horizons * len(levels))
        nn.init.normal_(self.output.weight, std=_INITIAL_WEIGHT)

    @torch.no_grad()
    def start_at(self, quantiles: npt.NDArray[np.float64]) -> None:
        """Sets the biases so that an untrained head answers about these (H, Q) quantiles."""
        steps = np.maximum(np.diff(quantiles, axis=1), _LEAST_STEP)
        raw = np.log(np.expm1(steps))  # the inverse of softplus
        bias = np.concatenate(
            [raw[:, : self.centre], quantiles[:, self.centre, None] / CENTRE_GAIN, raw[:, self.centre :]], axis=1
        )
        self.output.bias.copy_(torch.from_numpy(bias.astype(np.float32)).flatten())

    def forward(self, context: Tensor) -> Tensor:
        raw = _by_horizon(self.output, context, self.horizons)  # (B, H, Q)
        centre = CENTRE_GAIN * raw[..., self.centre, None]  # (B, H, 1)
        below = F.softplus(raw[..., : self.centre]).flip(-1).cumsum(-1).flip(-1)
        above = F.softplus(raw[..., self.centre + 1 :]).cumsum(-1)
        return torch.cat([centre - below, centre, centre + above], dim=-1)


class VolatilityHead(nn.Module):
    """(B, D) or (B, H, D) to (B, H): the log of the standard deviation in units of the scale; untrained, about 0."""

    def __init__(self, width: int, horizons: int) -> None:
        super().__init__()
        self.horizons = horizons
        self.output = nn.Linear(width, horizons)
        nn.init.normal_(self.output.weight, std=_INITIAL_WEIGHT)
        nn.init.zeros_(self.output.bias)

    def forward(self, context: Tensor) -> Tensor:
        # A bounded logarithm: within a factor of 20 of the scale, so that no input can overflow.
        raw = _by_horizon(self.output, context, self.horizons).squeeze(-1)  # (B, H)
        return 3.0 * torch.tanh(raw / 3.0)


def _by_horizon(output: nn.Linear, context: Tensor, horizons: int) -> Tensor:
    """(B, D) or (B, H, D) to (B, H, K) by a layer of H times K outputs: a horizon's own context meets its own K."""
    if context.dim() == 2:
        answer: Tensor = output(context)
        return answer.reshape(len(context), horizons, -1)
    weight = output.weight.view(horizons, -1, output.in_features)  # (H, K, D)
    return torch.einsum("bhd,hkd->bhk", context, weight) + output.bias.view(horizons, -1)


def pinball_loss(truth: Tensor, quantiles: Tensor, levels: Tensor, weights: Tensor | None = None) -> Tensor:
    """truth (B, H) with NaN where unknown, quantiles (B, H, Q), levels (Q,); the mean over what is known.

    weights, of a shape that goes with (B, H): how much each label counts in the mean; None: all alike.
    """
    known = truth.isfinite()
    error = torch.where(known, truth, 0.0).unsqueeze(-1) - quantiles
    loss = torch.maximum(levels * error, (levels - 1.0) * error).mean(-1)  # (B, H)
    return _mean_where(loss, known, weights)


def log_variance_loss(log_variance: Tensor, log_sigma: Tensor, weights: Tensor | None = None) -> Tensor:
    """Huber's loss (1964) of the log variance, (B, H) with NaN where unknown, forecast by log_sigma (B, H).

    Realised variances are about log-normal: their logarithm teaches evenly, where QLIKE hangs on a few great hours.
    """
    known = log_variance.isfinite()
    error = torch.where(known, log_variance, 0.0) - 2.0 * log_sigma
    return _mean_where(F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=_OUTLIER), known, weights)


def _mean_where(loss: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
    """loss (B, H), known (B, H), weights (B, H), (B, 1) or (H,)."""
    if weights is None:
        return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)
    share = known * weights  # (B, H)
    # Whatever is known counts for something, so only where nothing is known is the divisor not the sum.
    return torch.where(known, loss * share, 0.0).sum() / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
