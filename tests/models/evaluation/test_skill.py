"""The measures of skill: values known by hand, and standard errors with nominal coverage."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from models.evaluation.skill import (
    coverage,
    direction,
    loss_ratio,
    mean_estimate,
    minimum_count,
    paired_ratio,
    rmse_ratio,
)

FloatArray = npt.NDArray[np.float64]


def test_equal_losses_have_the_ratio_one_without_error() -> None:
    """A forecast compared with itself has ratio one and standard error zero."""
    losses = np.random.default_rng(1).exponential(size=50)
    assert paired_ratio(losses, losses) == (1.0, 0.0)
    assert rmse_ratio(losses, losses) == (1.0, 0.0)


def test_half_the_loss_everywhere_is_the_ratio_one_half_without_error() -> None:
    """Pairing removes common changes: a constant factor has no sampling error."""
    losses = np.random.default_rng(2).exponential(size=50)
    ratio = paired_ratio(losses / 2, losses)
    assert ratio is not None
    assert ratio.value == pytest.approx(0.5)
    assert ratio.standard_error == pytest.approx(0.0, abs=1e-12)


def test_the_rmse_ratio_is_the_root_of_the_ratio_of_squares() -> None:
    """se(sqrt(r)) = se(r) / (2 sqrt(r))."""
    rng = np.random.default_rng(3)
    ours, theirs = rng.exponential(size=(2, 100))
    squares, root = paired_ratio(ours, theirs), rmse_ratio(ours, theirs)
    assert squares is not None
    assert root is not None
    assert root.value == pytest.approx(math.sqrt(squares.value))
    assert root.standard_error == pytest.approx(squares.standard_error / (2 * root.value))


@pytest.mark.parametrize(("horizon_bars", "fewest"), [(1, 24), (2, 24), (6, 60), (24, 240)])
def test_there_is_no_estimate_below_the_minimum(horizon_bars: int, fewest: int) -> None:
    """One target fewer than the minimum gives None, the minimum gives an estimate."""
    assert minimum_count(horizon_bars) == fewest
    losses = np.random.default_rng(4).exponential(size=(2, fewest))
    assert paired_ratio(*losses[:, 1:], horizon_bars=horizon_bars) is None
    assert mean_estimate(losses[0, 1:], horizon_bars=horizon_bars) is None
    assert paired_ratio(*losses, horizon_bars=horizon_bars) is not None


def test_a_baseline_without_loss_has_no_ratio() -> None:
    """The ratio is None instead of a division by zero."""
    assert paired_ratio(np.ones(30), np.zeros(30)) is None
    assert rmse_ratio(np.zeros(30), np.ones(30)) is None


def test_losses_of_different_targets_are_rejected() -> None:
    """Unequal lengths cannot be paired."""
    with pytest.raises(ValueError, match="same targets"):
        paired_ratio(np.ones(30), np.ones(31))


def test_coverage_counts_hits_and_is_never_certain() -> None:
    """24 of 30 hits are 0.8; 30 of 30 are 1.0 with an error above zero."""
    some = coverage([True] * 24 + [False] * 6)
    assert some is not None
    assert some.value == pytest.approx(0.8)
    every = coverage([True] * 30)
    assert every is not None
    assert every.value == 1.0
    assert 0.02 < every.standard_error < 0.05


def test_direction_leaves_out_zeros() -> None:
    """A forecast or a truth of exactly zero counts as no target."""
    said = np.array([1.0, -1.0] * 15 + [0.0] * 10)
    was = np.array([0.1, 0.1] * 15 + [0.1] * 10)
    share = direction(said, was)
    assert share is not None
    assert share.value == pytest.approx(0.5)


def test_a_panel_is_averaged_per_instant_first() -> None:
    """Instruments of one instant count as one: doubling them leaves ratio and error unchanged."""
    ours, theirs = np.random.default_rng(5).exponential(size=(2, 60))
    times = np.arange(60)
    once = loss_ratio(ours, theirs, times, lag=0)
    twice = loss_ratio(np.tile(ours, 2), np.tile(theirs, 2), np.tile(times, 2), lag=0)
    assert twice == pytest.approx(once)
    assert once == pytest.approx(paired_ratio(ours, theirs))


@pytest.mark.parametrize(("count", "horizon_bars", "least"), [(24, 1, 0.88), (240, 1, 0.925), (240, 6, 0.91)])
def test_two_standard_errors_hold_the_truth(count: int, horizon_bars: int, least: float) -> None:
    """+-1.96 standard errors around a ratio of overlapping, skewed losses hold it in about 95% of samples."""
    rng, held, trials = np.random.default_rng(6), 0, 600
    for _ in range(trials):
        common, own = rng.exponential(size=(2, count + horizon_bars - 1))
        ours, theirs = _overlapping(0.7 * common + 0.27 * own, horizon_bars), _overlapping(common, horizon_bars)
        ratio = paired_ratio(ours, theirs, horizon_bars=horizon_bars)
        assert ratio is not None
        held += abs(ratio.value - 0.97) <= 1.96 * ratio.standard_error
    assert least <= held / trials <= 0.98


def test_ignoring_the_overlap_would_give_too_small_errors() -> None:
    """The error for overlapping losses is well above the one that takes them for independent."""
    common, own = np.random.default_rng(7).exponential(size=(2, 1005))
    ours, theirs = _overlapping(0.7 * common + 0.3 * own, 6), _overlapping(common, 6)
    aware = paired_ratio(ours, theirs, horizon_bars=6)
    errors = (ours - ours.mean() / theirs.mean() * theirs) / theirs.mean()
    assert aware is not None
    assert aware.standard_error > 1.8 * errors.std() / math.sqrt(len(errors))


def _overlapping(innovations: FloatArray, horizon_bars: int) -> FloatArray:
    return np.convolve(innovations, np.ones(horizon_bars) / horizon_bars, "valid")
