"""The block bootstrap: errors known in closed form, and intervals with nominal coverage."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from models.evaluation.bootstrap import BlockBootstrap, block_length
from models.evaluation.skill import Estimate

FloatArray = npt.NDArray[np.float64]


def ratio(means: FloatArray) -> FloatArray:
    return np.asarray(means[..., 0] / means[..., 1])


def mean(means: FloatArray) -> FloatArray:
    return np.asarray(means[..., 0])


def autoregression(count: int, coefficient: float, random: np.random.Generator) -> FloatArray:
    values = np.empty(count)
    value = random.standard_normal() / math.sqrt(1 - coefficient**2)
    for index in range(count):
        value = coefficient * value + random.standard_normal()
        values[index] = value
    return values


def error_of_mean(values: FloatArray, block: int) -> Estimate:
    return BlockBootstrap(len(values), block=block, replicates=1000).estimate(values[:, None], mean)


def test_resampled_means_are_means_of_whole_blocks_on_a_circle() -> None:
    """Three rows in blocks of two: every mean consists of adjacent pairs, the last row followed by the first."""
    draws = BlockBootstrap(3, block=2, replicates=200, seed=1).means(np.array([[0.0], [1.0], [5.0]]))
    pairs = [0.5, 3.0, 2.5]
    possible = {(one + other) / 2 for one in pairs for other in pairs}
    assert set(draws[:, 0].round(9)) == {round(each, 9) for each in possible}


def test_independent_values_have_the_textbook_error() -> None:
    """sigma over the square root of n, with blocks of one."""
    values = np.random.default_rng(1).standard_normal(400)
    assert error_of_mean(values, 1).standard_error == pytest.approx(values.std() / 20, rel=0.06)


def test_dependent_values_have_the_long_run_error() -> None:
    """An AR(1) of 0.7 has 1 / 0.3^2 times the variance of the mean that its innovations have."""
    values = autoregression(8_000, 0.7, np.random.default_rng(2))
    estimate = error_of_mean(values, block_length(values))
    assert estimate.standard_error == pytest.approx(1 / 0.3 / math.sqrt(8_000), rel=0.12)
    assert error_of_mean(values, 1).standard_error < 0.6 * estimate.standard_error


def test_a_common_factor_has_no_error() -> None:
    """Resamples are paired: the ratio of a loss to twice itself is a half, without error."""
    loss = np.random.default_rng(3).exponential(size=300)
    estimate = BlockBootstrap(300, block=10).estimate(np.stack([loss, 2 * loss], axis=1), ratio)
    assert estimate.value == pytest.approx(0.5)
    assert estimate.standard_error == pytest.approx(0.0, abs=1e-12)


def test_two_standard_errors_hold_the_truth() -> None:
    """+-1.96 standard errors around a ratio of dependent losses hold it in about 95% of samples."""
    random, held, trials = np.random.default_rng(4), 0, 300
    for _ in range(trials):
        common, own = (np.exp(0.5 * autoregression(600, 0.5, random)) for _ in range(2))
        ours = 0.6 * common + 0.4 * own
        bootstrap = BlockBootstrap(600, block=block_length(common), replicates=200)
        estimate = bootstrap.estimate(np.stack([ours, common], axis=1), ratio)
        held += abs(estimate.value - 1.0) <= 1.96 * estimate.standard_error
    assert 0.89 <= held / trials <= 0.98


def test_blocks_grow_with_dependence_and_stay_in_bounds() -> None:
    """Short for noise, longer for an AR(1), at least ``least`` and at most a tenth of the data."""
    random = np.random.default_rng(5)
    noise, persistent = random.standard_normal(3000), autoregression(3000, 0.9, random)
    assert block_length(noise) <= 5
    assert 40 <= block_length(persistent) <= 200
    assert block_length(noise, least=48) == 48
    assert block_length(noise[:100], least=48) == 10
    assert block_length(np.ones(500)) == 1


def test_the_automatic_length_is_that_of_the_closed_form() -> None:
    """For an AR(1) the optimum is (2 (2 rho / (1 - rho^2))^2 / (4/3))^(1/3) n^(1/3): 48 rows at 0.7 and 10,000."""
    rho, count = 0.7, 10_000
    # G = sum |k| R(k) = 2 rho / (1 - rho)^2 and g(0) = (1 + rho) / (1 - rho), both times R(0).
    slope, spectrum = 2 * rho / (1 - rho) ** 2, (1 + rho) / (1 - rho)
    optimal = (2 * slope**2 / (4 / 3 * spectrum**2) * count) ** (1 / 3)
    lengths = [block_length(autoregression(count, rho, np.random.default_rng(seed))) for seed in range(10)]
    assert np.mean(lengths) == pytest.approx(optimal, rel=0.2)


@pytest.mark.parametrize("block", [0, 11])
def test_a_block_that_does_not_fit_is_rejected(block: int) -> None:
    """Longer than the series, or of no rows."""
    with pytest.raises(ValueError, match="cannot be cut from 10"):
        BlockBootstrap(10, block=block)


def test_columns_of_another_length_are_rejected() -> None:
    """The columns must have as many rows as the resamples."""
    with pytest.raises(ValueError, match="9 rows, the draws are for 10"):
        BlockBootstrap(10, block=2).means(np.zeros((9, 1)))
