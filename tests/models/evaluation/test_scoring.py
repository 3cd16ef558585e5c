"""Scores of a validation span, checked against the forecasters themselves."""

from pathlib import Path

import numpy as np
import pytest

from models.baselines import RandomWalk
from models.evaluation.scoring import random_walk_quantiles, scores
from models.forecast import ForecastInput
from models.history import until
from models.specification import TrainingSpec
from models.training.dataset import TrainingData, prepare
from tests.models.synthetic import HOUR_US, garch_bars
from tests.models.tiny_artifacts import BARS, HORIZONS, LEVELS

SPEC = TrainingSpec(data_file=Path("unused"), output_dir=Path("unused"), horizons=HORIZONS, levels=LEVELS)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return prepare(garch_bars(BARS), SPEC)


def test_the_random_walk_scored_is_the_random_walk_served(data: TrainingData) -> None:
    """Each row equals the forecaster's quantiles at the same close."""
    chosen = data.split.validation[[0, -1]]
    for quantiles, row in zip(random_walk_quantiles(data, chosen, LEVELS), chosen, strict=True):
        (venue, symbol), now_us = data.series[data.samples.series[row]], int(data.samples.close_time_us[row])
        given = ForecastInput(venue, symbol, now_us, HOUR_US, None, until(data.histories[venue, symbol], now_us))
        [forecast] = RandomWalk(HORIZONS, LEVELS).forecast([given])
        np.testing.assert_allclose(quantiles, forecast.quantiles[0])


def test_hars_own_forecast_scores_exactly_one(data: TrainingData) -> None:
    """A network with HAR's forecasts has a ratio of one and a standard error of zero."""
    chosen = data.split.validation
    har = np.stack([data.har.residual_quantiles(series) for series in data.series])[data.samples.series[chosen]]
    zeros = np.zeros((len(chosen), len(HORIZONS)))
    report = scores(data, chosen=chosen, quantiles=har, log_sigma=zeros, horizons=HORIZONS, levels=LEVELS)
    for score in report.values():
        assert score["pinball_vs_har"] == pytest.approx(1.0)
        assert score["pinball_vs_har_se"] == pytest.approx(0.0, abs=1e-9)
        assert score["qlike_model"] == pytest.approx(score["qlike_har"])
        assert score["coverage_50"] < score["coverage_90"]


def test_a_worse_forecast_scores_above_one(data: TrainingData) -> None:
    """Quantiles three times too wide lose to HAR, by many standard errors."""
    chosen = data.split.validation
    har = np.stack([data.har.residual_quantiles(series) for series in data.series])[data.samples.series[chosen]]
    wide = np.full((len(chosen), len(HORIZONS)), np.log(3.0))
    report = scores(data, chosen=chosen, quantiles=3.0 * har, log_sigma=wide, horizons=HORIZONS, levels=LEVELS)
    score = report["1"]
    assert score["pinball_vs_har"] > 1.0 + 5.0 * score["pinball_vs_har_se"]
    assert score["qlike_model"] > score["qlike_har"]
