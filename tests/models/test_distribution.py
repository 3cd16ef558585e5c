"""Reading probabilities off quantiles."""

import numpy as np
import pytest

from models.distribution import central_index, probability_above_zero

LEVELS = (0.1, 0.5, 0.9)


def test_probability_above_zero_of_many_equals_an_interpolation_of_each() -> None:
    """To the last bit, also where quantiles are equal or zero."""
    rng = np.random.default_rng(1)
    quantiles = np.sort(rng.normal(0, 1, (600, 3)).round(1) + rng.normal(0, 1, (600, 1)).round(0), axis=1)
    expected = [1.0 - np.interp(0.0, row, LEVELS) for row in quantiles]
    assert probability_above_zero(quantiles.reshape(60, 10, 3), LEVELS).ravel().tolist() == expected


@pytest.mark.parametrize(
    ("quantiles", "expected"),
    [([-1.0, 0.0, 1.0], 0.5), ([-3.0, -1.0, 1.0], 0.3), ([1.0, 2.0, 3.0], 0.9), ([-3.0, -2.0, -1.0], 0.1)],
)
def test_probability_above_zero_interpolates_and_never_claims_certainty(
    quantiles: list[float], expected: float
) -> None:
    """Between quantiles it is linear; beyond the outermost it stays at the outermost level."""
    assert probability_above_zero(np.array(quantiles), LEVELS) == pytest.approx(expected)


def test_probability_keeps_the_leading_shape() -> None:
    """(H, Q) quantiles give (H,) probabilities."""
    assert probability_above_zero(np.zeros((6, 3)), LEVELS).shape == (6,)


def test_central_index_is_the_level_nearest_to_one_half() -> None:
    """Levels need not hold 0.5 itself."""
    assert central_index((0.1, 0.45, 0.9)) == 1
