"""The network: its attention, its mask, its unknown symbol, and that all of it learns."""

import pytest
import torch

from models.attention_lstm import UNKNOWN_SYMBOL, AttentionLSTM, AttentionLSTMConfig
from models.heads import pinball_loss, qlike_loss

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def network() -> AttentionLSTM:
    torch.manual_seed(0)
    config = AttentionLSTMConfig(
        features=5, window=48, symbols=4, horizons=2, levels=LEVELS, hidden=16, layers=2, widths=(8, 6)
    )
    return AttentionLSTM(config)


def batch(count: int = 3, hours: int = 48) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(count, hours, 5), torch.ones(count, hours, dtype=torch.bool), torch.arange(count) % 4


def test_attention_sums_to_one_and_masked_hours_get_none(network: AttentionLSTM) -> None:
    """The weights are a distribution over the known hours."""
    values, mask, symbol = batch()
    mask[:, 10:20] = False
    attention = network.eval()(values, mask, symbol, with_attention=True).attention
    torch.testing.assert_close(attention.sum(1), torch.ones(3))
    assert (attention[:, 10:20] == 0).all()
    assert (attention[:, :10] > 0).all()


def test_attention_comes_only_on_request(network: AttentionLSTM) -> None:
    """Training does not carry what nobody asked for."""
    assert network(*batch()).attention is None


def test_a_window_without_a_known_hour_is_still_finite(network: AttentionLSTM) -> None:
    """Where nothing is known the attention still sums to one and nothing is NaN."""
    values, mask, symbol = batch()
    mask[:] = False
    output = network.eval()(values * 0, mask, symbol, with_attention=True)
    assert output.quantiles.isfinite().all()
    torch.testing.assert_close(output.attention.sum(1), torch.ones(3))


def test_gradients_reach_every_parameter(network: AttentionLSTM) -> None:
    """Every parameter has a gradient after one step, the embedding rows of the batch's symbols included."""
    network.config = AttentionLSTMConfig(**{**_state(network), "symbol_dropout": 0.5})
    output = network.train()(*batch(64))
    loss = pinball_loss(torch.randn(64, 2), output.quantiles, torch.tensor(LEVELS))
    (loss + qlike_loss(torch.rand(64, 2), output.log_sigma)).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert network.symbol.weight.grad[UNKNOWN_SYMBOL].abs().sum() > 0


def test_symbols_are_hidden_in_training_only(network: AttentionLSTM) -> None:
    """Symbol dropout turns some symbols into the unknown one while training, and none when serving."""
    symbol = torch.full((10_000,), 2)
    hidden = (network.train()._hide_symbols(symbol) == UNKNOWN_SYMBOL).float().mean().item()
    assert 0.08 < hidden < 0.12
    assert (network.eval()._hide_symbols(symbol) == 2).all()


def test_reference_shape_is_three_layers_of_256() -> None:
    """The defaults are the reference: 3 LSTM layers of 256 and a 256-128-64 trunk (with the symbol beside it)."""
    network = AttentionLSTM(AttentionLSTMConfig(features=96, window=48, symbols=4, horizons=6, levels=LEVELS))
    assert (network.lstm.num_layers, network.lstm.hidden_size, network.lstm.input_size) == (3, 256, 97)
    assert [layer.out_features for layer in network.trunk if hasattr(layer, "out_features")] == [128, 64]


def _state(network: AttentionLSTM) -> dict[str, object]:
    return {name: getattr(network.config, name) for name in network.config.__slots__}
