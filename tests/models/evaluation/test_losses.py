"""Losses against values worked out by hand and against their definitions."""

import numpy as np
import pytest

from models.evaluation.losses import crps_from_quantiles, inside, mean_pinball, pinball, qlike


def test_pinball_of_a_truth_above_weighs_with_the_level() -> None:
    """An under-forecast costs the level times the error, an over-forecast one minus the level."""
    losses = pinball(np.array([1.0, -1.0]), np.array([[0.0, 0.0], [0.0, 0.0]]), (0.1, 0.9))
    np.testing.assert_allclose(losses, [[0.1, 0.9], [0.9, 0.1]])


def test_mean_pinball_is_least_at_the_true_quantiles() -> None:
    """Pinball is a proper score: wider and narrower quantiles both cost more."""
    truth = np.random.default_rng(0).standard_normal(20_000)
    levels = (0.1, 0.5, 0.9)
    right = np.quantile(truth, levels)
    scores = [mean_pinball(truth, np.broadcast_to(right * k, (len(truth), 3)), levels).mean() for k in (0.7, 1.0, 1.4)]
    assert scores[1] < scores[0]
    assert scores[1] < scores[2]


def test_crps_of_a_fine_grid_is_that_of_the_normal_distribution() -> None:
    """For a standard normal forecast and truth 0 the CRPS is (sqrt(2) - 1) / sqrt(pi)."""
    levels = tuple((np.arange(999) + 1) / 1000)
    draws = np.quantile(np.random.default_rng(1).standard_normal(1_000_000), levels)
    score = crps_from_quantiles(np.zeros(1), draws[None], levels)
    assert score[0] == pytest.approx((np.sqrt(2) - 1) / np.sqrt(np.pi), rel=0.01)


def test_qlike_is_zero_only_for_the_truth() -> None:
    """QLIKE is zero for a perfect forecast, and an under-forecast costs more than an over-forecast."""
    scores = qlike(np.ones(3), np.array([1.0, 0.5, 2.0]))
    assert scores[0] == 0.0
    assert scores[1] > scores[2] > 0.0


def test_pinball_loss_by_hand() -> None:
    """The truth 2 above the 0.1 quantile costs 0.2, 1 below the 0.9 quantile 0.1; the mean of both is 0.15."""
    loss = mean_pinball(np.asarray(2.0), np.array([0.0, 3.0]), (0.1, 0.9))
    assert loss == pytest.approx(0.15)


def test_pinball_loss_of_many_forecasts_keeps_their_shape() -> None:
    """(H, Q) quantiles and (H,) truths give (H,) losses."""
    loss = mean_pinball(np.array([0.0, 1.0, -1.0, 2.0]), np.zeros((4, 3)), (0.1, 0.5, 0.9))
    np.testing.assert_allclose(loss, [0.0, 0.5, 0.5, 1.0])


def test_an_interval_holds_its_ends() -> None:
    """A truth exactly on a quantile lies inside."""
    quantiles = np.array([[-1.0, 0.0, 1.0]] * 3)
    assert inside(quantiles, 0, 2, np.array([-1.0, 1.0, 1.0 + 1e-12])).tolist() == [True, True, False]
