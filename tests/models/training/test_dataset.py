"""Training data from bars: fits without data after the cut, and labels at their cut-offs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.history import regular_histories
from models.specification import TrainingSpec
from models.training.batches import window_tensors
from models.training.dataset import TrainingData, prepare
from tests.models.synthetic import HOUR_US, garch_bars
from tests.models.tiny_artifacts import BARS, HORIZONS, LEVELS

SPEC = TrainingSpec(data_file=Path("unused"), output_dir=Path("unused"), horizons=HORIZONS, levels=LEVELS)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return prepare(garch_bars(BARS), SPEC)


def test_labels_belong_to_their_cut_off(data: TrainingData) -> None:
    """A sample's label is the log return from its own close to the close ``horizon`` bars later."""
    samples = data.samples
    for row in (0, 500, len(samples.slot) - 30):
        recent = data.histories[data.series[samples.series[row]]]
        now = int(np.flatnonzero(recent.close_time_us == samples.close_time_us[row])[0])
        assert now == samples.position[row]
        expected = [recent.log_close[now + horizon] - recent.log_close[now] for horizon in HORIZONS]
        np.testing.assert_allclose(samples.log_returns[row], expected, rtol=1e-9)


def test_windows_never_reach_into_another_series(data: TrainingData) -> None:
    """The first usable window of the second series holds only rows of its own."""
    samples = data.samples
    first = np.flatnonzero(samples.series == 1)[0]
    rows_before = samples.slot[first] - samples.position[first]
    assert not data.mask[rows_before - (SPEC.window - 1) : rows_before].any()


def test_the_future_changes_nothing_that_was_fitted(data: TrainingData) -> None:
    """Scaler and HAR are the same when every bar after the cut is multiplied by a hundred."""
    bars = garch_bars(BARS)
    later = bars["open_time_us"] + HOUR_US > data.split.cut_us
    prices = ["open", "high", "low", "close"]
    changed = bars.with_columns(bars[name] * (1.0 + 99.0 * later.cast(float)) for name in prices)
    again = prepare(changed, SPEC)
    assert again.split.cut_us == data.split.cut_us
    np.testing.assert_array_equal(again.scaler.centre, data.scaler.centre)
    assert again.har.to_json() == data.har.to_json()
    trained = torch.from_numpy(data.split.train)
    one, other = (window_tensors(each, SPEC, device=torch.device("cpu")) for each in (data, again))
    torch.testing.assert_close(one.log_variances[trained], other.log_variances[trained], equal_nan=True)


def test_training_ends_and_validation_begins_on_their_sides_of_the_cut(data: TrainingData) -> None:
    """Every training label is known at the cut; validation keeps a label span away from it."""
    times, span_us = data.samples.close_time_us, max(HORIZONS) * HOUR_US
    assert (times[data.split.train] + span_us).max() <= data.split.cut_us
    assert times[data.split.validation].min() >= data.split.cut_us + span_us


def test_the_scale_is_hars(data: TrainingData) -> None:
    """Labels are divided by the forecast of HAR from the bars up to the cut-off."""
    samples = data.samples
    row = 700
    series = data.series[samples.series[row]]
    known = garch_bars(BARS).filter(garch_bars(BARS)["open_time_us"] < samples.close_time_us[row])
    recent = regular_histories(known, interval_us=HOUR_US)[series]
    np.testing.assert_allclose(data.har.sigma_now(series, recent), samples.sigma[row], rtol=1e-9)


def test_log_variances_are_relative_to_their_mean_in_training(data: TrainingData) -> None:
    """Their mean in training is 0, and an unknown one stays unknown."""
    logs = window_tensors(data, SPEC, device=torch.device("cpu")).log_variances.numpy()
    np.testing.assert_allclose(np.nanmean(logs[data.split.train], axis=0), 0.0, atol=1e-5)
    np.testing.assert_array_equal(np.isnan(logs), np.isnan(data.samples.variances))
    plain = np.log(data.samples.variances / data.samples.sigma**2)
    np.testing.assert_allclose(np.nanstd(plain - logs, axis=0), 0.0, atol=1e-5)


def test_too_little_history_is_rejected() -> None:
    """A few hundred bars cannot train anything, and the error says so."""
    with pytest.raises(ValueError, match="need"):
        prepare(garch_bars(300), SPEC)


def test_a_history_too_short_for_validation_is_rejected() -> None:
    """Enough bars for features but not for outcomes after the cut are an error before training."""
    longest = TrainingSpec(data_file=Path("unused"), output_dir=Path("unused"), horizons=(1, 24), levels=LEVELS)
    with pytest.raises(ValueError, match="700 bars are too few to train on"):
        prepare(garch_bars(700), longest)
