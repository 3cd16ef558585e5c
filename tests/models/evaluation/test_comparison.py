"""Diebold-Mariano tests between any two kinds, and skill by week."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.evaluation.comparison import diebold_mariano, over_time, pairs
from models.evaluation.outcomes import Outcomes
from tests.models.known_outcomes import normal, outcomes, with_baselines
from tests.models.synthetic import HOUR_US, START_US

EVERYWHERE = np.ones(2000, dtype=np.bool_)


def clustered() -> Outcomes:
    random = np.random.default_rng(1)
    sigma = 0.01 * np.exp(0.5 * random.standard_normal(2000))
    returns = sigma * random.standard_normal(2000)
    return outcomes(returns, with_baselines(returns, 0.0113, model=normal(sigma, returns)))


def test_equal_forecasters_differ_significantly_in_one_of_twenty_samples() -> None:
    """Under equal accuracy the 5% test rejects in about 5%, for one bar and for six that overlap."""
    for horizon in (1, 6):
        random, rejected, trials = np.random.default_rng(2), 0, 500
        for _ in range(trials):
            one, other = (
                np.convolve(random.exponential(size=400 + horizon - 1), np.ones(horizon), "valid") for _ in range(2)
            )
            compared = diebold_mariano(one, other, horizon_bars=horizon)
            assert compared is not None
            rejected += compared[1] < 0.05
        assert 0.02 <= rejected / trials <= 0.09


def test_the_statistic_by_hand() -> None:
    """Differences +3 and -1 in turn have mean 1; the p-value is the normal's two tails."""
    difference = np.random.default_rng(3).permutation(np.tile([3.0, -1.0], 5000))
    compared = diebold_mariano(difference, np.zeros(10_000), horizon_bars=1)
    assert compared is not None
    assert compared[0] == pytest.approx(1.0 / (2.0 / 100.0), rel=0.15)  # mean 1, deviation 2, n = 10,000
    weak = diebold_mariano(np.tile([1.1, -1.0], 50), np.zeros(100), horizon_bars=1)
    assert weak is not None
    assert weak[1] == pytest.approx(math.erfc(abs(weak[0]) / math.sqrt(2)))


def test_a_forecaster_equals_itself() -> None:
    """The statistic is 0 and the p-value 1."""
    loss = np.random.default_rng(4).exponential(size=100)
    assert diebold_mariano(loss, loss, horizon_bars=1) == (0.0, 1.0)


def test_too_few_targets_cannot_be_compared() -> None:
    """The result is None."""
    assert diebold_mariano(np.ones(23), np.zeros(23), horizon_bars=1) is None


def test_every_two_are_compared_and_the_better_is_below_zero() -> None:
    """A forecast of the true width is far below HAR; HAR and the identical random walk are equal."""
    found = {(each.first, each.second): each for each in pairs(clustered(), 0, EVERYWHERE)}
    assert len(found) == 6
    assert found["model", "har"].statistic < -5
    assert found["model", "har"].p_value < 1e-6
    assert found["model", "har"].difference_bp < 0
    assert (found["random_walk", "har"].statistic, found["random_walk", "har"].p_value) == (0.0, 1.0)
    assert pairs(clustered(), 0, ~EVERYWHERE) == []


def test_weeks_are_adjacent_and_hold_every_target() -> None:
    """2000 hours are eleven weeks and a bit; the mean over all is the ratio of all."""
    scored = clustered()
    weeks = over_time(scored, 0, EVERYWHERE, period_us=168 * HOUR_US)
    assert [week.from_us for week in weeks] == [START_US + 168 * HOUR_US * number for number in range(12)]
    assert sum(week.scored for week in weeks) == 2000
    assert all(week.pinball_vs_har["har"] == 1.0 for week in weeks)
    assert np.mean([week.pinball_vs_har["model"] for week in weeks]) < 0.97
    assert over_time(scored, 0, ~EVERYWHERE, period_us=168 * HOUR_US) == []
