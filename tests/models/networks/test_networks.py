"""Properties of all kinds of network, and further ones of single kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from features.calendar import CALENDAR
from models.networks.builder import build_member, build_network, config_from_json, ensemble, network_config
from models.networks.heads import log_variance_loss, pinball_loss
from models.networks.network import UNKNOWN_SYMBOL, Encoded, Network, NetworkInput, NetworkOutput
from models.networks.tft import DIRECTION_FEATURES, TFT, VOLATILITY_FEATURES, TFTConfig
from models.presets import PRESETS

B, L, H = 6, 48, 3
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
FEATURES = (*VOLATILITY_FEATURES, *DIRECTION_FEATURES, "rsi_14")
F, Q, C = len(FEATURES), len(LEVELS), len(CALENDAR)
CHANGED = 1e-4  # in units of the scale: less than this is rounding


def build(kind: str, *, seed: int = 0, features: tuple[str, ...] = FEATURES) -> Network:
    """The small preset on few features; its heads have large weights, so that differences are visible."""
    torch.manual_seed(seed)
    config = network_config(
        kind, PRESETS[kind]["small"].shape, feature_names=features, window=L, symbols=4, horizons=H, levels=LEVELS
    )
    network = build_member(config)
    for head in (network.quantiles, network.volatility):
        torch.nn.init.normal_(head.output.weight, std=0.3)
    return network.eval()


@pytest.fixture(params=PRESETS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(kind: str) -> Network:
    return build(kind)


def windows(count: int = B, *, seed: int = 1, features: int = F) -> NetworkInput:
    """Random windows in which seven recent hours are unknown."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.ones(count, L, dtype=torch.bool)
    mask[:, 36:43] = False
    return NetworkInput(
        values=torch.randn(count, L, features, generator=random) * mask.unsqueeze(-1),
        mask=mask,
        symbol=torch.arange(count) % 4,
        calendar=torch.rand(count, H, C, generator=random) * 2.0 - 1.0,
    )


def run(network: torch.nn.Module, given: NetworkInput) -> NetworkOutput:
    with torch.inference_mode():
        output: NetworkOutput = network(*given, with_attention=True)
    return output


def difference(first: NetworkOutput, second: NetworkOutput) -> float:
    """The largest difference of any output."""
    quantiles = (first.quantiles - second.quantiles).abs().max()
    return max(quantiles.item(), (first.log_sigma - second.log_sigma).abs().max().item())


def test_shapes_and_types(kind: str, network: Network) -> None:
    """Quantiles (B, H, Q), log sigma (B, H), attention (B, L), importance (B, F) where features are selected."""
    output = run(network, windows())
    assert output.quantiles.shape == (B, H, Q)
    assert output.log_sigma.shape == (B, H)
    assert output.attention.shape == (B, L)
    assert (output.importance is None) == (kind != "tft")
    if output.importance is not None:
        assert output.importance.shape == (B, F)
        torch.testing.assert_close(output.importance.sum(1), torch.ones(B))
        assert (output.importance > 0).all()
    for answer in (output.quantiles, output.log_sigma, output.attention):
        assert answer.dtype == torch.float32
        assert answer.isfinite().all()


def test_weights_come_only_on_request(network: Network) -> None:
    """Attention and importance are computed only on request, which does not change the forecast."""
    given = windows()
    with torch.inference_mode():
        plain = network(*given)
    assert plain.attention is None
    assert plain.importance is None
    assert difference(plain, run(network, given)) < CHANGED


def test_the_same_window_gives_the_same_output(kind: str, network: Network) -> None:
    """Run twice, and built twice from one seed, bit for bit; another seed gives another network."""
    given = windows()
    assert torch.equal(run(network, given).quantiles, run(network, given).quantiles)
    assert torch.equal(run(network, given).quantiles, run(build(kind), given).quantiles)
    assert difference(run(network, given), run(build(kind, seed=1), given)) > CHANGED


def test_quantiles_never_cross(network: Network) -> None:
    """Also for inputs far outside the range of scaled values."""
    given = windows(64)
    for factor in (1.0, 100.0):
        output = run(network, given._replace(values=given.values * factor))
        assert output.quantiles.isfinite().all()
        assert (output.quantiles.diff(dim=-1) >= 0).all()


def test_values_of_a_masked_hour_do_not_matter(network: Network) -> None:
    """Any values at a masked hour, NaN included, give the same output."""
    given = windows()
    for rubbish in (7.0, torch.nan, torch.inf):
        spoiled = given.values.masked_fill(~given.mask.unsqueeze(-1), rubbish)
        assert difference(run(network, given), run(network, given._replace(values=spoiled))) == 0.0


def test_an_unknown_hour_differs_from_one_of_zeros(network: Network) -> None:
    """The mask itself is an input, so the equality above is not trivial."""
    given = windows()
    known = given._replace(mask=torch.ones_like(given.mask))
    assert difference(run(network, given), run(network, known)) > CHANGED


def test_a_window_without_a_known_hour_is_still_finite(network: Network) -> None:
    """Alone and in a batch with a complete window, whose output is unchanged."""
    given = windows(2)
    given.mask[0] = False
    output = run(network, given)
    assert output.quantiles.isfinite().all()
    assert output.log_sigma.isfinite().all()
    torch.testing.assert_close(output.attention.sum(1), torch.ones(2))
    alone = run(network, NetworkInput(*(each[1:] for each in given)))
    torch.testing.assert_close(output.quantiles[1:], alone.quantiles, rtol=1e-4, atol=1e-5)


def test_attention_is_a_distribution_over_the_known_hours(network: Network) -> None:
    """It sums to one, nothing is negative, and an unknown hour weighs nothing."""
    given = windows()
    attention = run(network, given).attention
    torch.testing.assert_close(attention.sum(1), torch.ones(B))
    assert (attention >= 0).all()
    assert (attention[~given.mask] == 0).all()


def test_the_lstm_looks_at_its_newest_known_hour() -> None:
    """All attention is on it, and later hours, all unknown, have no effect."""
    network, given = build("lstm"), windows()
    given.mask[0, 40:] = False
    assert run(network, given).attention.argmax(dim=1).tolist() == [35, *[47] * (B - 1)]


def test_earlier_hours_are_read(network: Network) -> None:
    """Other hours, half a day ago, change the output of every kind."""
    given = windows()
    values = given.values.clone()
    values[:, 24:36] *= -3.0
    assert difference(run(network, given), run(network, given._replace(values=values))) > CHANGED


def test_a_window_does_not_depend_on_its_batch(network: Network) -> None:
    """Each window alone has the same output as in a batch, up to float32 rounding."""
    given = windows()
    together = run(network, given)
    for row in range(B):
        alone = run(network, NetworkInput(*(each[row : row + 1] for each in given)))
        torch.testing.assert_close(alone.quantiles[0], together.quantiles[row], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.attention[0], together.attention[row], rtol=1e-4, atol=1e-6)


def test_gradients_reach_every_parameter(network: Network) -> None:
    """Every parameter has a gradient after one step, the unknown symbol's row included: symbols are hidden."""
    output = network.train()(*windows(64))
    loss = pinball_loss(torch.randn(64, H), output.quantiles, torch.tensor(LEVELS))
    (loss + log_variance_loss(torch.randn(64, H), output.log_sigma)).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert network.symbol.weight.grad[UNKNOWN_SYMBOL].abs().sum() > 0


def test_symbols_differ(network: Network) -> None:
    """The symbol is an input of every kind."""
    given = windows()
    other = given._replace(symbol=(given.symbol + 1) % 4)
    assert difference(run(network, given), run(network, other)) > CHANGED


def test_a_saved_network_is_rebuilt_exactly(kind: str, network: Network) -> None:
    """Configuration through JSON and weights through safetensors give the same outputs, bit for bit."""
    state = json.loads(json.dumps(asdict(network.config)))
    again = build_network(config_from_json(kind, state)).eval()
    again.load_state_dict(load(save(network.state_dict())))
    assert again.config == network.config
    first, second = run(network, windows()), run(again, windows())
    assert torch.equal(first.quantiles, second.quantiles)
    assert torch.equal(first.attention, second.attention)


def test_half_precision_keeps_the_properties(network: Network) -> None:
    """In bfloat16 the outputs stay float32, in order, normalised, and near those of full precision."""
    given = windows()
    # Without oneDNN: whether its LSTM knows bfloat16 depends on the processor.
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(network, given)
    assert output.quantiles.dtype == output.log_sigma.dtype == output.attention.dtype == torch.float32
    assert (output.quantiles.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(output.attention.sum(1), torch.ones(B))
    assert difference(output, run(network, given)) < 0.3


def test_the_mean_of_several_seeds_keeps_the_properties(kind: str) -> None:
    """An ensemble outputs the mean of its members, and is rebuilt from its own configuration."""
    members = [build(kind, seed=seed) for seed in (0, 1, 2)]
    together, given = ensemble(members).eval(), windows()
    answers, output = [run(member, given) for member in members], run(together, given)
    torch.testing.assert_close(output.quantiles, torch.stack([each.quantiles for each in answers]).mean(0))
    torch.testing.assert_close(output.attention.sum(1), torch.ones(B))
    assert (output.quantiles.diff(dim=-1) >= 0).all()
    again = build_network(config_from_json(kind, json.loads(json.dumps(asdict(together.config))))).eval()
    again.load_state_dict(together.state_dict())
    assert torch.equal(run(again, given).quantiles, output.quantiles)


def test_the_newest_hour_has_a_shortcut(kind: str) -> None:
    """Without the output of the encoder, the newest known hour still changes the forecast."""
    network, given = build(kind), windows()
    encode = network.encode

    def deaf(*args: Any, **options: Any) -> Encoded:
        encoded = encode(*args, **options)
        return encoded._replace(context=torch.zeros_like(encoded.context))

    network.encode = deaf  # type: ignore[method-assign]
    earlier, newest = given.values.clone(), given.values.clone()
    earlier[:, :-1] *= -3.0
    newest[:, -1] *= -3.0
    plain = run(network, given)
    assert difference(plain, run(network, given._replace(values=earlier))) == 0.0
    assert difference(plain, run(network, given._replace(values=newest))) > CHANGED


def test_artifacts_from_before_the_shortcut_are_built_without_it(kind: str, network: Network) -> None:
    """A configuration without the field has no shortcut, so their weights still fit."""
    state = asdict(network.config)
    for added in ("shortcut", "day_harmonics", "week_harmonics"):
        del state[added]
    older = build_network(config_from_json(kind, json.loads(json.dumps(state))))
    assert not [name for name in older.state_dict() if name.startswith("shortcut")]
    assert run(older.eval(), windows()).quantiles.isfinite().all()


# ---------------------------------------------------------------- the future


@pytest.mark.parametrize("kind", [kind for kind in PRESETS if kind != "tft"])
def test_most_networks_read_of_the_calendar_the_next_bar_only(kind: str) -> None:
    """Only the temporal fusion transformer reads the calendar of later targets."""
    network, given = build(kind), windows()
    later = given._replace(calendar=torch.cat([given.calendar[:, :1], -given.calendar[:, 1:]], dim=1))
    assert difference(run(network, given), run(network, later)) == 0.0


def test_every_network_knows_the_hour_of_the_next_bar(network: Network) -> None:
    """The same window at another hour gives another output."""
    given = windows()
    calendar = given.calendar.clone()
    calendar[:, 0] = -calendar[:, 0]
    assert difference(run(network, given), run(network, given._replace(calendar=calendar))) > CHANGED


def test_a_horizon_knows_its_own_and_nearer_horizons_calendar_only() -> None:
    """Another calendar of the last horizon changes the output of that horizon only."""
    network, given = build("tft"), windows()
    calendar = given.calendar.clone()
    calendar[:, -1] *= -1.0
    before, after = run(network, given), run(network, given._replace(calendar=calendar))
    changed = (before.quantiles - after.quantiles).abs().amax(dim=(0, 2))
    assert changed[:-1].max() < 1e-6
    assert changed[-1] > CHANGED


# ---------------------------------------------------------------- the temporal fusion transformer's conditioning


def signalled(change: Callable[[torch.Tensor], torch.Tensor], columns: slice) -> Callable[[Network], Network]:
    """Changes the signals that condition the attention block, and nothing else of the network."""

    def apply(network: Network) -> Network:
        assert isinstance(network, TFT)
        original = network.signals

        def signals(given: NetworkInput) -> torch.Tensor:
            changed = original(given).clone()
            changed[:, columns] = change(changed[:, columns])
            return changed

        network.signals = signals  # type: ignore[method-assign]
        return network

    return apply


@pytest.mark.parametrize("columns", [slice(0, 4), slice(4, 8)], ids=["volatility", "direction"])
def test_conditioning_changes_output_and_attention(columns: slice) -> None:
    """With the same window, signals of higher volatility or of the other direction change the output."""
    given = windows()
    plain = run(build("tft"), given)
    conditioned = run(signalled(lambda signal: -2.0 * signal - 1.0, columns)(build("tft")), given)
    assert difference(plain, conditioned) > 0.01
    assert (plain.attention - conditioned.attention).abs().max() > 1e-4
    assert torch.equal(plain.importance, conditioned.importance)


def test_conditioning_reads_the_newest_known_hour_of_its_own_features() -> None:
    """Volatility and direction are found by name, at any position among the features."""
    features = ("rsi_14", *reversed(FEATURES[:-1]))
    network, given = build("tft", features=features), windows()
    given.mask[0, 45:] = False
    columns = [features.index(name) for name in (*VOLATILITY_FEATURES, *DIRECTION_FEATURES)]
    expected = given.values[:, -1, columns].clone()
    expected[0] = given.values[0, 44, columns]
    assert torch.equal(network.signals(given), expected)


def test_a_market_without_volatility_features_is_rejected() -> None:
    """There is no signal to condition on, and the error names it."""
    with pytest.raises(ValueError, match="feature of volatility"):
        TFTConfig.columns(("rsi_14", *DIRECTION_FEATURES))
