"""Overrides: which values can be set of which kind, and that they reach training and the artifact."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.artifacts.artifact import read_artifact
from models.evaluation.candidates import known_kinds
from models.overrides import Overrides, settable
from models.presets import PRESETS
from models.specification import TrainingSpec
from models.train import train
from tests.models.tiny_artifacts import tiny_spec


def test_what_is_written_is_read_back() -> None:
    """From command-line texts, as printed by a search, and through the specification's JSON."""
    overrides = Overrides.parse(["learning_rate=7e-4", "hidden=96", "dropout=0.15"])
    assert overrides == Overrides(learning_rate=0.0007, hidden=96, dropout=0.15)
    assert str(overrides) == "learning_rate=0.0007 hidden=96 dropout=0.15"
    assert Overrides.parse(str(overrides).split()) == overrides
    spec = TrainingSpec(data_file=Path("a"), output_dir=Path("b"), overrides=overrides)
    assert TrainingSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dropout", "write NAME=VALUE"),
        ("drop=0.1", "there is no 'drop' to set; there are learning_rate"),
        ("dropout=much", "dropout was 'much', must be a number"),
        ("hidden=96.5", "hidden was '96.5', must be a whole number"),
        ("dropout=0.95", "dropout was 0.95, must be from 0 to 0.9"),
        ("learning_rate=nan", "learning_rate was nan, must be from 1e-07 to 1"),
        ("hidden=100", "hidden was 100, must be a multiple of 8"),
    ],
)
def test_invalid_overrides_are_rejected(text: str, says: str) -> None:
    """The error states name, value and bounds."""
    with pytest.raises(ValueError, match=says):
        Overrides.parse([text])


def test_each_kind_has_its_own_overrides() -> None:
    """The TFT has no layers, trees no dropout, HAR nothing at all."""
    assert "layers" in settable("transformer")
    for kind, overrides, says in (
        ("tft", Overrides(layers=2), "layers is set, but tft has learning_rate"),
        ("lightgbm", Overrides(dropout=0.1), "dropout is set, but lightgbm has learning_rate, num_leaves"),
        ("har", Overrides(learning_rate=0.1), "har has nothing that can be set"),
        ("lstm", Overrides(batch_size=0), "batch_size was 0, must be from 1"),
    ):
        with pytest.raises(ValueError, match=says):
            overrides.check(kind)
    for kind in known_kinds():
        Overrides().check(kind)


@pytest.mark.parametrize("kind", PRESETS)
def test_what_is_set_replaces_the_presets_and_nothing_else(kind: str) -> None:
    """In the shape and in the recipe."""
    preset = PRESETS[kind]["small"]
    changed = Overrides(dropout=0.33, hidden=128, learning_rate=0.5).applied(preset)
    assert {**changed.shape, "dropout": 0, "hidden": 0} == {**preset.shape, "dropout": 0, "hidden": 0}
    assert (changed.shape["dropout"], changed.shape["hidden"], changed.recipe.learning_rate) == (0.33, 128, 0.5)
    assert changed.recipe.weight_decay == preset.recipe.weight_decay
    assert Overrides().applied(preset) == preset


@pytest.mark.slow
def test_a_run_is_trained_with_its_overrides(tmp_path: Path) -> None:
    """The artifact records the overrides and loads as any other."""
    manifest = read_artifact(train(tiny_spec(tmp_path, overrides=Overrides(hidden=32, weight_decay=0.5)))).manifest
    assert manifest.network["hidden"] == 32
    assert manifest.training["weight_decay"] == 0.5
    assert manifest.training["overrides"] == {"hidden": 32, "weight_decay": 0.5}
