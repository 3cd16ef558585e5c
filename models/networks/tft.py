"""Temporal fusion transformer (Lim et al. 2021), with attention conditioned on volatility and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from features.calendar import CALENDAR
from models.networks.gating import GatedResidualNetwork, GatedSkip, VariableSelection
from models.networks.network import Encoded, Network, NetworkConfig, NetworkInput, at_hour, attendable, newest_known

# Level of volatility and direction of the market, which condition the attention block.
VOLATILITY_FEATURES = ("log_garman_klass_1", "log_garman_klass_24", "log_realized_24", "volatility_of_volatility_24")
DIRECTION_FEATURES = ("log_return_1", "log_return_6", "log_return_24", "taker_imbalance_24")


@dataclass(frozen=True, slots=True, kw_only=True)
class TFTConfig(NetworkConfig):
    """The shape of a temporal fusion transformer."""

    volatility: tuple[int, ...]  # window columns that measure volatility, at least one
    direction: tuple[int, ...]  # window columns that measure direction, at least one
    calendar: int = len(CALENDAR)  # C, known-future inputs of a horizon
    hidden: int = 128  # width of an hour and of a horizon, a multiple of ``heads``
    variable: int = 8  # width of one variable's embedding
    heads: int = 4

    @classmethod
    def columns(cls, feature_names: Sequence[str]) -> dict[str, Any]:
        """Raises ValueError if no feature measures volatility, or none direction."""
        chosen = {
            "volatility": tuple(feature_names.index(name) for name in VOLATILITY_FEATURES if name in feature_names),
            "direction": tuple(feature_names.index(name) for name in DIRECTION_FEATURES if name in feature_names),
        }
        for signal, columns in chosen.items():
            if not columns:
                raise ValueError(f"a temporal fusion transformer needs a feature of {signal}, the data have none")
        return chosen


class TFT(Network):
    """Selects features, encodes the hours with an LSTM, and reads them by attention from each horizon's calendar.

    Two departures from the source: the decoder's steps are the horizons, which need not be adjacent, and the input
    of the attention block is scaled and shifted (feature-wise linear modulation, Perez et al. 2018) by the newest
    known hour's volatility and direction. Of the future, a horizon reads only its own and nearer horizons'
    calendar. The attention that is returned is the mean over heads and horizons.
    """

    def __init__(self, config: TFTConfig) -> None:
        super().__init__(config, context=config.hidden)
        width, dropout, static = config.hidden, config.dropout, config.embedding
        self.columns = [*config.volatility, *config.direction]
        self.contexts = nn.ModuleDict(
            {
                name: GatedResidualNetwork(static, width, width, dropout)
                for name in ("selection", "hidden", "cell", "enrichment")
            }
        )
        self.select_hours = VariableSelection(config.features, config.variable, width, dropout, context=width)
        self.select_calendar = VariableSelection(config.calendar, config.variable, width, dropout, context=width)
        self.unknown = nn.Parameter(torch.zeros(width))  # replaces an hour that is not known
        self.horizon = nn.Embedding(config.horizons, width)
        self.encoder = nn.LSTM(width, width, batch_first=True)
        self.decoder = nn.LSTM(width, width, batch_first=True)
        self.encoder_skip, self.decoder_skip = GatedSkip(width, dropout), GatedSkip(width, dropout)
        self.enrich = GatedResidualNetwork(width, width, width, dropout, context=width)
        self.modulation = nn.Sequential(nn.Linear(len(self.columns), width), nn.ELU(), nn.Linear(width, 2 * width))
        self.attention = nn.MultiheadAttention(width, config.heads, dropout, batch_first=True)
        self.attention_skip = GatedSkip(width, dropout)
        self.refine = GatedResidualNetwork(width, width, width, dropout)
        self.output_skip = GatedSkip(width, dropout)

    def encode(self, given: NetworkInput, symbols: Tensor, *, with_attention: bool) -> Encoded:
        context = {name: network(symbols) for name, network in self.contexts.items()}  # each (B, D)
        selected, weights = self.select_hours(given.values, context["selection"])  # (B, L, D), (B, L, F)
        selected = torch.where(given.mask.unsqueeze(-1), selected, self.unknown.to(selected.dtype))
        ahead, _ = self.select_calendar(given.calendar, context["selection"])  # (B, H, D)
        ahead = ahead + self.horizon.weight
        hours, steps = self._through_time(selected, ahead, context["hidden"], context["cell"])  # (B, L, D), (B, H, D)
        hours, queries = self.enrich(hours, context["enrichment"]), self.enrich(steps, context["enrichment"])
        queries = self.modulate(queries, self.signals(given))  # (B, H, D)
        ignored = ~attendable(given.mask)
        attended, attention = self.attention(
            queries, hours, hours, key_padding_mask=ignored, need_weights=with_attention
        )  # (B, H, D), (B, H, L)
        enriched = self.refine(self.attention_skip(attended, queries))
        return Encoded(
            context=self.output_skip(enriched, steps),  # (B, H, D)
            attention=attention.mean(1) if with_attention else None,  # (B, L)
            importance=_mean_over_known(weights, given.mask) if with_attention else None,  # (B, F)
        )

    def signals(self, given: NetworkInput) -> Tensor:
        """(B, S) volatility and direction at the newest known hour."""
        return at_hour(given.values, newest_known(given.mask))[:, self.columns]

    def modulate(self, queries: Tensor, signals: Tensor) -> Tensor:
        """Queries (B, H, D) scaled and shifted by a function of ``signals`` (B, S)."""
        scale, shift = self.modulation(signals).unsqueeze(1).chunk(2, dim=-1)  # (B, 1, D) each
        modulated: Tensor = queries * (1.0 + scale) + shift
        return modulated

    def _through_time(self, hours: Tensor, ahead: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        start = (hidden.unsqueeze(0).contiguous(), cell.unsqueeze(0).contiguous())  # (1, B, D) each
        encoded, state = self.encoder(hours, start)
        decoded, _ = self.decoder(ahead, state)
        return self.encoder_skip(encoded, hours), self.decoder_skip(decoded, ahead)


def _mean_over_known(weights: Tensor, mask: Tensor) -> Tensor:
    """(B, L, F) and (B, L) to (B, F)."""
    share = attendable(mask).unsqueeze(-1).to(weights.dtype)  # (B, L, 1)
    return (weights * share).sum(1) / share.sum(1)
