"""The rolling array keeps its newest rows, whatever their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.rolling_array import RollingArray


@given(keep=st.integers(1, 60), steps=st.lists(st.integers(1, 90), max_size=40))
def test_the_newest_rows_are_kept(keep: int, steps: list[int]) -> None:
    """Rows that were written keep their values, those skipped are missing, older ones may be gone."""
    array = RollingArray(keep, (1, 2))
    array.restart(1000)
    written: dict[int, float] = {}
    number = 1000
    for step in steps:
        number += step
        array.advance(number)
        array.row(number)[:] = written[number] = float(number)
    for row, values in enumerate(array.rows(number - keep + 1, number + 1), number - keep + 1):
        assert np.array_equal(values, np.full((1, 2), written.get(row, np.nan)), equal_nan=True)


def test_rows_that_are_not_held_are_refused() -> None:
    """A row of the future, and one that is too old."""
    array = RollingArray(3, (1, 1), missing=0.0)
    array.restart(10)
    assert array.rows(8, 11).tolist() == [[[0.0]], [[0.0]], [[0.0]]]
    for start, stop in ((8, 12), (7, 9)):
        with pytest.raises(IndexError, match="of 8 to 10"):
            array.rows(start, stop)


def test_filling_takes_the_newest_of_many_rows() -> None:
    """More rows than are kept are cut at their old end."""
    array = RollingArray(2, (2, 1))
    array.restart(5)
    array.fill(1, np.arange(4.0).reshape(4, 1))
    assert array.rows(4, 6)[:, 1, 0].tolist() == [2.0, 3.0]
    assert np.isnan(array.rows(4, 6)[:, 0]).all()
