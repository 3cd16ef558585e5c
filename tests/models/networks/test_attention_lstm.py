"""Properties of the attention LSTM alone: its initial attention, and its unknown symbol."""

import pytest
import torch

from features.catalogue import FEATURE_NAMES
from models.networks.attention_lstm import AttentionLSTM, AttentionLSTMConfig
from models.networks.builder import build_network, network_config
from models.networks.network import UNKNOWN_SYMBOL
from models.presets import PRESETS

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def network() -> AttentionLSTM:
    torch.manual_seed(0)
    config = AttentionLSTMConfig(
        features=5, window=48, symbols=4, horizons=2, levels=LEVELS, hidden=16, layers=2, widths=(8, 6)
    )
    return AttentionLSTM(config)


def test_attention_starts_with_the_newest_hours(network: AttentionLSTM) -> None:
    """Untrained, an hour weighs less the older it is, and the last four weigh more than half."""
    values, mask = torch.zeros(1, 48, 5), torch.ones(1, 48, dtype=torch.bool)
    output = network.eval()(values, mask, torch.zeros(1, dtype=torch.int64), torch.zeros(1, 2, 9), with_attention=True)
    [weights] = output.attention
    assert (weights.diff() > 0).all()
    assert weights[-4:].sum() > 0.5


def test_symbols_are_hidden_in_training_only(network: AttentionLSTM) -> None:
    """Symbol dropout turns some symbols into the unknown one while training, and none when serving."""
    symbol = torch.full((10_000,), 2)
    hidden = (network.train()._hide_symbols(symbol) == UNKNOWN_SYMBOL).float().mean().item()
    assert 0.08 < hidden < 0.12
    assert (network.eval()._hide_symbols(symbol) == 2).all()


def test_reference_shape_is_three_layers_of_256() -> None:
    """The reference: 3 LSTM layers of 256 and a 256-128-64 trunk (with the symbol beside it)."""
    network = build_network(
        network_config(
            "attention_lstm",
            PRESETS["attention_lstm"]["reference"].shape,
            feature_names=FEATURE_NAMES,
            window=48,
            symbols=4,
            horizons=6,
            levels=LEVELS,
        )
    )
    assert (network.lstm.num_layers, network.lstm.hidden_size, network.lstm.input_size) == (3, 256, 111)
    assert [layer.out_features for layer in network.trunk if hasattr(layer, "out_features")] == [128, 64]
