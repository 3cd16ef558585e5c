"""Draws of a search: reproducible, valid for every kind, and equal to the printed values."""

from __future__ import annotations

import pytest

from features.catalogue import FEATURE_NAMES
from models.evaluation.search_space import drawn, space
from models.networks.builder import network_config
from models.overrides import Overrides, settable
from models.presets import PRESETS, Preset

SPACES: list[tuple[str, Preset | None]] = [
    ("lightgbm", None),
    *((kind, preset) for kind, presets in PRESETS.items() for preset in presets.values()),
]


@pytest.mark.parametrize(("kind", "preset"), SPACES)
def test_every_draw_can_be_trained(kind: str, preset: Preset | None) -> None:
    """A draw is within bounds, equals its printed form, and sets every value of the kind; heads divide the width."""
    dimensions = space(kind, preset)
    assert tuple(dimensions) == settable(kind)
    for number in range(1, 40):
        overrides = drawn(dimensions, number, seed=3)
        overrides.check(kind)
        assert Overrides.parse(str(overrides).split()) == overrides
        assert set(overrides.given) == set(settable(kind))
        if preset is not None:
            shape = overrides.applied(preset).shape
            config = network_config(
                kind, shape, feature_names=FEATURE_NAMES, window=8, symbols=2, horizons=1, levels=(0.5,)
            )
            assert shape["hidden"] % getattr(config, "heads", 1) == 0


def test_a_trial_depends_on_seed_and_number_alone() -> None:
    """So a search can resume, and be extended later."""
    dimensions = space("lstm", PRESETS["lstm"]["small"])
    first = [drawn(dimensions, number, seed=1) for number in range(5)]
    assert first == [drawn(dimensions, number, seed=1) for number in range(5)]
    assert len(set(first)) == 5
    assert first[0] == Overrides()
    assert drawn(dimensions, 3, seed=2) != first[3]


def test_fixed_values_are_not_drawn() -> None:
    """They apply to every trial, the first included, and the others are drawn as without them."""
    dimensions = space("lstm", PRESETS["lstm"]["small"])
    fixed = Overrides(hidden=40)
    assert drawn(dimensions, 0, seed=1, fixed=fixed) == fixed
    free, bound = drawn(dimensions, 2, seed=1), drawn(dimensions, 2, seed=1, fixed=fixed)
    assert bound.given == {**free.given, "hidden": 40}


def test_a_kind_without_hyper_parameters_is_rejected() -> None:
    """HAR has none."""
    with pytest.raises(ValueError, match="har has no hyper-parameters"):
        space("har", None)
