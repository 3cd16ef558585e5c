"""Builds networks from a kind and preset, or from the configuration in an artifact's manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from models.networks.attention_lstm import AttentionLSTM, AttentionLSTMConfig
from models.networks.ensemble import Ensemble
from models.networks.lstm import LSTM, LSTMConfig
from models.networks.network import Network, NetworkConfig
from models.networks.tft import TFT, TFTConfig
from models.networks.transformer import Transformer, TransformerConfig


class _Kind(NamedTuple):
    config: type[NetworkConfig]
    network: Callable[[Any], Network]


_KINDS: Mapping[str, _Kind] = {
    "lstm": _Kind(LSTMConfig, LSTM),
    "attention_lstm": _Kind(AttentionLSTMConfig, AttentionLSTM),
    "transformer": _Kind(TransformerConfig, Transformer),
    "tft": _Kind(TFTConfig, TFT),
}


def network_config(
    kind: str,
    shape: Mapping[str, Any],
    *,
    feature_names: Sequence[str],
    window: int,
    symbols: int,
    horizons: int,
    levels: Sequence[float],
) -> NetworkConfig:
    """The configuration of a preset's ``shape`` for these data. ``symbols`` counts the unknown symbol too.

    Raises KeyError for an unknown kind, ValueError if a feature is absent that the kind needs.
    """
    config = _KINDS[kind].config
    return config(
        features=len(feature_names),
        window=window,
        symbols=symbols,
        horizons=horizons,
        levels=tuple(levels),
        **config.columns(feature_names),
        **shape,
    )


def config_from_json(kind: str, state: Mapping[str, Any]) -> NetworkConfig:
    """The inverse of ``dataclasses.asdict`` and JSON. Raises KeyError for another kind, TypeError for other fields."""
    lists = {name: tuple(value) for name, value in state.items() if isinstance(value, list)}
    return _KINDS[kind].config(**{**state, **lists})


def build_network(config: NetworkConfig) -> Network | Ensemble:
    """The network, or ensemble, that ``config`` describes, with random weights."""
    if config.members > 1:
        return ensemble([build_member(config) for _ in range(config.members)])
    return build_member(config)


def build_member(config: NetworkConfig) -> Network:
    """A single network of ``config``; its ``members`` is ignored."""
    [network] = [kind.network for kind in _KINDS.values() if type(config) is kind.config]
    return network(replace(config, members=1))


def ensemble(members: Sequence[Network]) -> Ensemble:
    """An ensemble of networks of one configuration."""
    return Ensemble(replace(members[0].config, members=len(members)), members)


def parameter_count(network: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
