"""Sizes of all presets: parameter counts, as printed and as documented, and the heads of the transformers."""

from __future__ import annotations

import pytest

from features.catalogue import FEATURE_NAMES
from models.networks.__main__ import main, parameter_counts
from models.networks.builder import build_network, network_config
from models.presets import PRESETS
from tests.paths import ROOT


def test_parameter_counts_are_documented_as_counted() -> None:
    """docs/networks.md holds the count of every kind and preset; the large transformer has 8 to 10 million."""
    documented = (ROOT / "docs" / "networks.md").read_text("utf-8")
    counts = parameter_counts()
    for (kind, preset), count in counts.items():
        assert f"| `{kind}` | `{preset}` | {count:,} |" in documented, (kind, preset, count)
    assert 8_000_000 <= counts["transformer", "large"] <= 10_000_000


def test_the_counts_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m models.networks`` prints one line for each kind and preset."""
    main()
    assert len(capsys.readouterr().out.splitlines()) == sum(len(presets) for presets in PRESETS.values())


def test_every_preset_is_built_for_all_features() -> None:
    """The transformer has eight heads in every size."""
    for preset in PRESETS["transformer"].values():
        config = network_config(
            "transformer",
            preset.shape,
            feature_names=FEATURE_NAMES,
            window=48,
            symbols=4,
            horizons=3,
            levels=(0.05, 0.25, 0.5, 0.75, 0.95),
        )
        network = build_network(config)
        assert all(layer.self_attn.num_heads == 8 for layer in network.layers)
        assert all(layer.norm_first for layer in network.layers)
