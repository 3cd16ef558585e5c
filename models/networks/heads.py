"""Output heads of the networks, quantiles that cannot cross and a volatility that cannot be negative, and their losses.

Outputs are in units of a scale known at the cut-off (the standard deviation that HAR predicts for each horizon), so a
network learns only its improvement over HAR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.distribution import central_index

_LEAST_STEP = 1e-4  # in units of the scale: initial quantiles closer than this would have no softplus gradient
# Direction is nearly noise: a centre that learns as fast as the width overfits, and is worse than a random walk.
CENTRE_GAIN = 0.01
_OUTLIER = 3.0  # of a log variance: the exact value for a bar with almost no range carries little information
_INITIAL_WEIGHT = 0.01  # small, so that training starts at the given quantiles; not zero, so that gradients flow


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
        """Sets the biases so that an untrained head outputs about these (H, Q) quantiles."""
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
    """(B, D) or (B, H, D) to (B, H, K) by a layer of H * K outputs; a horizon's context maps to its own K outputs."""
    if context.dim() == 2:
        outputs: Tensor = output(context)
        return outputs.reshape(len(context), horizons, -1)
    weight = output.weight.view(horizons, -1, output.in_features)  # (H, K, D)
    return torch.einsum("bhd,hkd->bhk", context, weight) + output.bias.view(horizons, -1)


def pinball_loss(truth: Tensor, quantiles: Tensor, levels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean pinball loss over known labels; truth (B, H) with NaN where unknown, quantiles (B, H, Q), levels (Q,).

    weights, broadcastable to (B, H): the weight of each label in the mean; None: all alike.
    """
    known = truth.isfinite()
    error = torch.where(known, truth, 0.0).unsqueeze(-1) - quantiles
    loss = torch.maximum(levels * error, (levels - 1.0) * error).mean(-1)  # (B, H)
    return _mean_where(loss, known, weights)


def log_variance_loss(log_variance: Tensor, log_sigma: Tensor, weights: Tensor | None = None) -> Tensor:
    """Huber's loss (1964) of the log variance, (B, H) with NaN where unknown, forecast by log_sigma (B, H).

    Realised variances are about log-normal: a loss of their logarithm weighs hours evenly, whereas a few extreme hours
    dominate QLIKE.
    """
    known = log_variance.isfinite()
    error = torch.where(known, log_variance, 0.0) - 2.0 * log_sigma
    return _mean_where(F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=_OUTLIER), known, weights)


def _mean_where(loss: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
    """loss (B, H), known (B, H), weights (B, H), (B, 1) or (H,)."""
    if weights is None:
        return torch.where(known, loss, 0.0).sum() / known.sum().clamp(min=1)
    share = known * weights  # (B, H)
    # Known labels have positive weights, so the bound takes effect only if no label is known.
    return torch.where(known, loss * share, 0.0).sum() / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
