"""Loading a network: what must not be served is refused by name, and what it refuses to forecast."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.artifact import ArtifactMismatch, read_artifact, write_artifact
from models.network_forecaster import NetworkForecaster
from tests.models.test_forecast import inputs


@pytest.fixture
def forecaster(tiny_artifact: Path) -> NetworkForecaster:
    return NetworkForecaster.load(tiny_artifact)


def test_loading_twice_gives_equal_forecasts(
    tiny_artifact: Path, forecaster: NetworkForecaster, tmp_path: Path
) -> None:
    """A copy of the folder is the same model."""
    copy = shutil.copytree(tiny_artifact, tmp_path / tiny_artifact.name)
    given = inputs(names=forecaster.manifest.feature_names)
    again = NetworkForecaster.load(copy)
    for first, second in zip(forecaster.forecast(given), again.forecast(given), strict=True):
        np.testing.assert_array_equal(first.quantiles, second.quantiles)


def test_an_unseen_symbol_is_the_unknown_symbol(forecaster: NetworkForecaster) -> None:
    """Two instruments that were never trained on and have the same bars get the same forecast."""
    [_, _, stranger] = inputs(names=forecaster.manifest.feature_names)
    first, second = forecaster.forecast([stranger, replace(stranger, symbol="OTHER-USDT")])
    np.testing.assert_array_equal(first.quantiles, second.quantiles)
    known = forecaster.forecast([replace(stranger, symbol="BTC-USDT")])[0]
    assert not np.array_equal(first.quantiles, known.quantiles)


def test_another_feature_schema_is_a_mismatch(tiny_artifact: Path, tmp_path: Path) -> None:
    """A sound artifact of other features is refused, and told apart from a damaged one."""
    artifact = read_artifact(tiny_artifact)
    for change, words in (
        ({"schema_hash": "f" * 64}, "schema ffffffffffff"),
        ({"feature_names": ("gone", *artifact.manifest.feature_names[1:])}, "lacks"),
    ):
        changed = replace(artifact, manifest=replace(artifact.manifest, id=words.split()[0], **change))
        with pytest.raises(ArtifactMismatch, match=words):
            NetworkForecaster.load(write_artifact(tmp_path, changed))


def test_a_network_that_answers_otherwise_than_when_saved_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    """Weights with correct sums that fail the golden windows are not served."""
    artifact = read_artifact(tiny_artifact)
    weights = {**artifact.weights, "score.bias": artifact.weights["score.bias"]}
    weights["quantiles.output.bias"] = weights["quantiles.output.bias"] + 0.5
    with pytest.raises(ArtifactMismatch, match="golden"):
        NetworkForecaster.load(write_artifact(tmp_path, replace(artifact, weights=weights)))


def test_weights_of_another_network_are_a_mismatch(tiny_artifact: Path, tmp_path: Path) -> None:
    """A manifest that describes another network than the weights is refused."""
    artifact = read_artifact(tiny_artifact)
    network = {**json.loads(json.dumps(artifact.manifest.network)), "hidden": 32}
    changed = replace(artifact, manifest=replace(artifact.manifest, network=network))
    with pytest.raises(ArtifactMismatch, match="do not fit"):
        NetworkForecaster.load(write_artifact(tmp_path, changed))


def test_what_cannot_be_forecast_is_said(forecaster: NetworkForecaster) -> None:
    """No window, a masked newest bar, half of the bars missing and another interval are each refused by name."""
    good = inputs(names=forecaster.manifest.feature_names)[0]
    assert forecaster.unfit(good) is None
    newest, half = good.window.mask.copy(), good.window.mask.copy()
    newest[-1], half[:25] = False, False
    for changed, words in (
        (replace(good, window=None), "no window"),
        (replace(good, window=replace(good.window, mask=newest)), "newest bar"),
        (replace(good, window=replace(good.window, mask=half)), "only 23 of 48"),
        (replace(good, interval_us=1), "last 1 us"),
    ):
        assert words in (forecaster.unfit(changed) or "")
        with pytest.raises(ValueError, match="cannot be forecast"):
            forecaster.forecast([good, changed])
