"""Rolling array: the newest rows of an array whose rows are numbered without end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class RollingArray:
    """The newest ``keep`` rows, or a few more, each of shape (K, S); rows that were never written are ``missing``."""

    def __init__(
        self, keep: int, shape: tuple[int, int], *, dtype: npt.DTypeLike = np.float64, missing: float = np.nan
    ) -> None:
        self.keep = keep
        self._missing = missing
        # A block of spare rows, so that the array is moved once for many new rows.
        self._values = np.full((keep + max(keep // 2, 32), *shape), missing, dtype=dtype)
        self._first = -keep  # the number of the row at index 0
        self._newest = -1

    def restart(self, newest: int) -> None:
        """Empties the array; its newest row is number ``newest``."""
        self._values.fill(self._missing)
        self._first, self._newest = newest - self.keep + 1, newest

    def fill(self, position: int, values: npt.NDArray[np.generic]) -> None:
        """Sets the newest rows (N, S) at ``position`` of K; of more rows than are kept the newest."""
        stop = self._newest + 1 - self._first
        count = min(len(values), stop)
        if count:
            self._values[stop - count : stop, position] = values[-count:]

    def advance(self, newest: int) -> None:
        """Adds missing rows up to number ``newest``."""
        if newest - self._first >= len(self._values):
            self._move(newest)
        self._newest = max(self._newest, newest)

    def row(self, number: int) -> npt.NDArray[np.float64]:
        """(K, S), a view. Raises IndexError if the row is not held."""
        values: npt.NDArray[np.float64] = self.rows(number, number + 1)[0]
        return values

    def rows(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """(N, K, S), a view of rows ``start`` to ``stop - 1``. Raises IndexError if one of them is not held."""
        if start < self._first or stop > self._newest + 1:
            raise IndexError(f"rows {start} to {stop} of {self._first} to {self._newest}")
        held: npt.NDArray[np.float64] = self._values[start - self._first : stop - self._first]
        return held

    def _move(self, newest: int) -> None:
        """Moves the rows that are kept to the front, and empties the others."""
        first = newest - self.keep + 1
        kept = self._values[max(first - self._first, 0) : self._newest + 1 - self._first].copy()
        start = max(self._first - first, 0)
        self._values[start : start + len(kept)] = kept
        self._values[start + len(kept) :] = self._missing
        self._first = first
