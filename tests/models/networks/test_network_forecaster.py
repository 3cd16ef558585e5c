"""Loading a network: artifacts that must not be served, and inputs that cannot be forecast, are rejected."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models import train as training
from models.artifacts.artifact import ArtifactMismatch, read_artifact, write_artifact
from models.networks.network_forecaster import NetworkForecaster
from models.presets import PRESETS
from models.specification import DEFAULT_KIND
from tests.models.synthetic import HOUR_US, garch_bars
from tests.models.test_forecast import NOW_US, SYMBOLS, inputs
from tests.models.tiny_artifacts import tiny_spec


@pytest.fixture
def forecaster(artifact_of_each_kind: Path) -> NetworkForecaster:
    return NetworkForecaster.load(artifact_of_each_kind)


def test_loading_twice_gives_equal_forecasts(
    artifact_of_each_kind: Path, forecaster: NetworkForecaster, tmp_path: Path
) -> None:
    """A copy of the folder is the same model."""
    copy = shutil.copytree(artifact_of_each_kind, tmp_path / artifact_of_each_kind.name)
    given = inputs(names=forecaster.manifest.feature_names)
    again = NetworkForecaster.load(copy)
    for first, second in zip(forecaster.forecast(given), again.forecast(given), strict=True):
        np.testing.assert_array_equal(first.quantiles, second.quantiles)


def test_an_unseen_symbol_is_the_unknown_symbol(forecaster: NetworkForecaster) -> None:
    """Two instruments that were never trained on and have the same bars get the same forecast."""
    [_, _, stranger] = inputs(names=forecaster.manifest.feature_names)
    # One by one: in one batch a row's sums may round by its place.
    [[first], [second]] = (forecaster.forecast([each]) for each in (stranger, replace(stranger, symbol="OTHER-USDT")))
    np.testing.assert_array_equal(first.quantiles, second.quantiles)
    known = forecaster.forecast([replace(stranger, symbol="BTC-USDT")])[0]
    assert not np.array_equal(first.quantiles, known.quantiles)


def test_nothing_after_the_cut_off_changes_the_forecast(forecaster: NetworkForecaster) -> None:
    """With every later bar multiplied by a hundred the forecasts are the same; with the last known one they are not."""
    bars, names = garch_bars(1300, SYMBOLS), forecaster.manifest.feature_names
    before = forecaster.forecast(inputs(bars, names))
    for first, changes in ((NOW_US, False), (NOW_US - HOUR_US, True)):
        spoiled = pl.when(pl.col("open_time_us") >= first).then(1.3).otherwise(1.0)
        after = forecaster.forecast(
            inputs(bars.with_columns(pl.col("open", "high", "low", "close", "volume") * spoiled), names)
        )
        for one, other in zip(before, after, strict=True):
            assert np.array_equal(one.quantiles, other.quantiles) != changes


def test_a_forecast_has_attention_over_the_window(forecaster: NetworkForecaster) -> None:
    """48 weights that sum to one, and quantiles in order."""
    for forecast in forecaster.forecast(inputs(names=forecaster.manifest.feature_names)):
        assert forecast.attention.shape == (48,)
        assert forecast.attention.sum() == pytest.approx(1.0, abs=1e-6)
        assert (np.diff(forecast.quantiles, axis=1) >= 0).all()


def test_a_forecast_carries_the_reading_of_its_window(forecaster: NetworkForecaster) -> None:
    """The known hours and, from a network that selects features, the weight of each, as the network returned them."""
    [given, *_] = inputs(names=forecaster.manifest.feature_names)
    mask = given.window.mask.copy()
    mask[3:6] = False
    gap = replace(given, window=replace(given.window, mask=mask, values=given.window.values * mask[:, None]))
    [forecast] = forecaster.forecast([gap])
    said = forecaster._run_network([gap])
    np.testing.assert_array_equal(forecast.reading.known, mask)
    np.testing.assert_array_equal(forecast.attention, said.attention[0])
    assert forecast.attention[~mask].sum() == 0.0
    assert forecast.reading.feature_names == given.window.feature_names
    if forecaster.manifest.kind != "tft":
        assert forecast.reading.importance is None
        return
    np.testing.assert_array_equal(forecast.reading.importance, said.importance[0])
    assert forecast.reading.importance.shape == (len(given.window.feature_names),)
    assert forecast.reading.importance.sum() == pytest.approx(1.0, abs=1e-6)


def test_an_artifact_from_before_the_calendar_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden windows without a calendar and a network without ``members`` are those of earlier versions."""
    preset = PRESETS[DEFAULT_KIND]["small"]
    seasonless = replace(preset, shape={**preset.shape, "day_harmonics": 0, "week_harmonics": 0})
    monkeypatch.setattr(training, "choose_preset", lambda *_, **__: ("small", seasonless))
    trained = training.train(tiny_spec(tmp_path))
    artifact = read_artifact(trained)
    golden = {name: tensor for name, tensor in artifact.golden.items() if name != "calendar"}
    since = {"members", "day_harmonics", "week_harmonics"}
    network = {name: value for name, value in artifact.manifest.network.items() if name not in since}
    earlier = replace(artifact, golden=golden, manifest=replace(artifact.manifest, network=network))
    given = inputs(names=artifact.manifest.feature_names)
    old, new = (NetworkForecaster.load(each) for each in (write_artifact(tmp_path, earlier), trained))
    np.testing.assert_array_equal(old.forecast(given)[0].quantiles, new.forecast(given)[0].quantiles)


def test_a_kind_that_this_program_lacks_is_a_mismatch(tiny_artifact: Path, tmp_path: Path) -> None:
    """A network of a later program is rejected by its kind."""
    artifact = read_artifact(tiny_artifact)
    later = replace(artifact, manifest=replace(artifact.manifest, kind="oracle"))
    with pytest.raises(ArtifactMismatch, match="'oracle'"):
        NetworkForecaster.load(write_artifact(tmp_path, later))


def test_another_feature_schema_is_a_mismatch(tiny_artifact: Path, tmp_path: Path) -> None:
    """An intact artifact of other features is rejected, and distinguished from a damaged one."""
    artifact = read_artifact(tiny_artifact)
    for change, words in (
        ({"schema_hash": "f" * 64}, "schema ffffffffffff"),
        ({"feature_names": ("gone", *artifact.manifest.feature_names[1:])}, "lacks"),
    ):
        changed = replace(artifact, manifest=replace(artifact.manifest, id=words.split()[0], **change))
        with pytest.raises(ArtifactMismatch, match=words):
            NetworkForecaster.load(write_artifact(tmp_path, changed))


def test_a_network_whose_outputs_differ_from_those_saved_is_rejected(tiny_artifact: Path, tmp_path: Path) -> None:
    """Weights with correct sums that fail the golden windows are not served."""
    artifact = read_artifact(tiny_artifact)
    weights = {**artifact.weights, "score.bias": artifact.weights["score.bias"]}
    weights["quantiles.output.bias"] = weights["quantiles.output.bias"] + 0.5
    with pytest.raises(ArtifactMismatch, match="golden"):
        NetworkForecaster.load(write_artifact(tmp_path, replace(artifact, weights=weights)))


def test_weights_of_another_network_are_a_mismatch(tiny_artifact: Path, tmp_path: Path) -> None:
    """A manifest that describes another network than the weights is rejected."""
    artifact = read_artifact(tiny_artifact)
    network = {**json.loads(json.dumps(artifact.manifest.network)), "hidden": 40}
    changed = replace(artifact, manifest=replace(artifact.manifest, network=network))
    with pytest.raises(ArtifactMismatch, match="do not fit"):
        NetworkForecaster.load(write_artifact(tmp_path, changed))


def test_rejection_reasons_of_inputs(forecaster: NetworkForecaster) -> None:
    """No window, a masked newest bar, half of the bars missing and another interval each have their reason."""
    good = inputs(names=forecaster.manifest.feature_names)[0]
    assert forecaster.rejection_reason(good) is None
    newest, half = good.window.mask.copy(), good.window.mask.copy()
    newest[-1], half[:25] = False, False
    for changed, words in (
        (replace(good, window=None), "no window"),
        (replace(good, window=replace(good.window, mask=newest)), "newest bar"),
        (replace(good, window=replace(good.window, mask=half)), "only 23 of 48"),
        (replace(good, interval_us=1), "last 1 us"),
    ):
        assert words in (forecaster.rejection_reason(changed) or "")
        with pytest.raises(ValueError, match="cannot be forecast"):
            forecaster.forecast([good, changed])
