"""Gated residual networks and the variable selection made of them (Lim et al. 2021, sections 4.1 and 4.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GatedSkip(nn.Module):
    """``norm(skip + GLU(update))``: an update that the network can suppress. (..., D) twice to (..., D)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gate = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, update: Tensor, skip: Tensor) -> Tensor:
        gated: Tensor = self.norm(skip + F.glu(self.gate(self.dropout(update)), dim=-1))
        return gated


class GatedResidualNetwork(nn.Module):
    """A non-linear step that can reduce to its skip connection, optionally conditioned on a context (B, C).

    (B, ..., inner) to (B, ..., outer), ``hidden`` wide in between.
    """

    def __init__(self, inner: int, hidden: int, outer: int, dropout: float, *, context: int = 0) -> None:
        super().__init__()
        self.skip = nn.Identity() if inner == outer else nn.Linear(inner, outer)
        self.first = nn.Linear(inner, hidden)
        self.context = nn.Linear(context, hidden, bias=False) if context else None
        self.second = nn.Linear(hidden, outer)
        self.gate = GatedSkip(outer, dropout)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        hidden = self.first(inputs)  # (B, ..., hidden)
        if self.context is not None:
            conditioning = self.context(context)  # (B, hidden)
            hidden = hidden + conditioning.view(len(conditioning), *(1,) * (hidden.dim() - 2), -1)
        gated: Tensor = self.gate(self.second(F.elu(hidden)), self.skip(inputs))
        return gated


class VariableSelection(nn.Module):
    """(B, T, V) scalars and a static context (B, C) to their selection (B, T, D) and its weights (B, T, V).

    Each variable has its own gated residual network, ``variable`` wide. Its input is one scalar, so its embedding and
    first layer combine into ``x * w + b``; its second layer and gate have no non-linearity between them and are one
    product. The weights are a softmax over the variables, as in the source; the selection is normalised once, after
    expansion to the full width, not for each variable.
    """

    def __init__(self, variables: int, variable: int, width: int, dropout: float, *, context: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.randn(2, variables, variable))
        self.offset = nn.Parameter(torch.zeros(2, variables, variable))
        bound = 1.0 / math.sqrt(variable)  # as nn.Linear starts
        self.mix = nn.Parameter(torch.empty(variables, variable, 2 * variable).uniform_(-bound, bound))
        self.mix_bias = nn.Parameter(torch.zeros(variables, 1, 2 * variable))
        self.weigh = GatedResidualNetwork(variables * variable, width, variables, dropout, context=context)
        self.join = nn.Linear(variables * variable, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, variables: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        batch, steps, count = variables.shape
        scalar = variables.unsqueeze(-1)  # (B, T, V, 1)
        embedded = torch.addcmul(self.offset[0], scalar, self.slope[0])  # (B, T, V, variable)
        weights = torch.softmax(self.weigh(embedded.flatten(2), context), dim=-1)  # (B, T, V)
        hidden = F.elu(torch.addcmul(self.offset[1], scalar, self.slope[1]))  # (B, T, V, variable)
        by_variable = hidden.reshape(batch * steps, count, -1).transpose(0, 1)  # (V, B * T, variable)
        update = F.glu(torch.baddbmm(self.mix_bias, by_variable, self.mix), dim=-1)  # (V, B * T, variable)
        refined = embedded + update.transpose(0, 1).reshape(embedded.shape)  # (B, T, V, variable)
        return self.norm(self.join((weights.unsqueeze(-1) * refined).flatten(2))), weights
