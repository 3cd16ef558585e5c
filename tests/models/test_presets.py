"""The presets and how ``auto`` is resolved."""

import pytest

from models.presets import RECIPES, choose_recipe


def test_auto_is_small_on_the_cpu_and_reference_on_cuda() -> None:
    """The device decides; a named preset is taken as it is."""
    assert choose_recipe("auto", on_gpu=False) == ("small", RECIPES["small"])
    assert choose_recipe("auto", on_gpu=True) == ("reference", RECIPES["reference"])
    assert choose_recipe("reference", on_gpu=False)[0] == "reference"


def test_the_reference_is_what_is_documented() -> None:
    """Three layers of 256, 150 epochs at most, batches of 128, learning rate 0.001."""
    recipe = RECIPES["reference"]
    assert (recipe.layers, recipe.hidden, recipe.widths) == (3, 256, (128, 64))
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (150, 128, 0.001)


def test_an_unknown_preset_is_refused() -> None:
    """There is no silent default."""
    with pytest.raises(KeyError):
        choose_recipe("huge", on_gpu=False)
