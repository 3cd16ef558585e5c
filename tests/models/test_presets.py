"""The presets and how ``auto`` is resolved."""

import subprocess
import sys

import pytest

from models.presets import PRESETS, choose_preset


@pytest.mark.parametrize("kind", PRESETS)
def test_auto_is_small_on_the_cpu_and_reference_on_cuda(kind: str) -> None:
    """The device decides; a named preset is taken as it is."""
    assert choose_preset(kind, "auto", on_gpu=False) == ("small", PRESETS[kind]["small"])
    assert choose_preset(kind, "auto", on_gpu=True) == ("reference", PRESETS[kind]["reference"])
    assert choose_preset(kind, "reference", on_gpu=False)[0] == "reference"


def test_the_reference_is_what_is_documented() -> None:
    """Three layers of 256, 150 epochs at most, batches of 128, learning rate 0.001."""
    shape, recipe = PRESETS["attention_lstm"]["reference"].shape, PRESETS["attention_lstm"]["reference"].recipe
    assert (shape["layers"], shape["hidden"], shape["widths"]) == (3, 256, (128, 64))
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (150, 128, 0.001)


@pytest.mark.parametrize(("kind", "preset"), [("lstm", "huge"), ("lstm", "large"), ("oracle", "small")])
def test_an_unknown_preset_is_rejected(kind: str, preset: str) -> None:
    """There is no silent default, and only the transformer is large."""
    with pytest.raises(KeyError):
        choose_preset(kind, preset, on_gpu=False)


def test_kinds_and_presets_are_known_without_torch() -> None:
    """The configuration checks them before any network is loaded."""
    code = "import sys, models.specification as s; print(s.NETWORK_KINDS, s.PRESET_NAMES, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    kinds = "('lstm', 'attention_lstm', 'transformer', 'tft')"
    assert done.stdout.strip() == f"{kinds} ('auto', 'small', 'reference', 'large') False"
