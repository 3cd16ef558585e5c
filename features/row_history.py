"""Earlier rows that the next row is computed from: rolling arrays of what lags, windows and recursive averages read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from features.algebra import RECURSIVE, Operator
from features.rolling_array import RollingArray
from features.row_schedule import RowSchedule

FloatArray = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_LONG_WINDOW = 24  # means over longer windows are kept apart, so that the others need not be kept as long
_VALUES = frozenset({Operator.LAG, Operator.DEVIATION, Operator.HIGHEST, Operator.LOWEST, Operator.SPREAD})


class WindowSums:
    """Values of some steps with their sums and counts over windows that end before a row.

    position: of a step in the arrays (K, S), by its number.
    """

    def __init__(self, windows: Mapping[int, set[int]], series: int, revisable: int) -> None:
        """``windows``: for each step number the windows whose mean is taken."""
        self.position = {number: index for index, number in enumerate(windows)}
        self._windows = sorted(set().union(*windows.values()))
        keep, shape = self._windows[-1] + revisable, (len(windows), series)
        self._values = RollingArray(keep, shape, missing=0.0)
        self._known = RollingArray(keep, shape, dtype=np.uint8, missing=0)
        # Counts of at most 255 rows fit a byte, which adds up several times faster.
        self._counted = np.uint8 if self._windows[-1] <= 255 else np.int64
        self.sums: dict[int, FloatArray] = {}
        self.counts: dict[int, Counts] = {}

    def restart(self, newest: int) -> None:
        self._values.restart(newest)
        self._known.restart(newest)

    def fill(self, position: int, values: FloatArray) -> None:
        """Sets the newest rows (N, S) of one step."""
        known = ~np.isnan(values)
        self._known.fill(position, known)
        self._values.fill(position, np.where(known, values, 0.0))

    def prepare(self, row: int) -> None:
        """Sets ``sums`` and ``counts``, (K, S) by window, to those of the ``window - 1`` rows before ``row``."""
        stop, total, count = row, None, None
        for window in self._windows:
            start = row - window + 1
            added = np.add.reduce(self._values.rows(start, stop), axis=0)
            known = np.add.reduce(self._known.rows(start, stop), axis=0, dtype=self._counted)
            total = added if total is None else total + added
            count = known if count is None else count + known
            self.sums[window], self.counts[window] = total, count
            stop = start

    def write(self, row: int, values: FloatArray) -> None:
        """Sets the values (K, S) of ``row``, NaN where missing."""
        for array in (self._values, self._known):
            array.advance(row)
        known = values == values  # noqa: PLR0124  # False for NaN
        self._known.row(row)[:] = known
        self._values.row(row)[:] = np.where(known, values, 0.0)


class RowHistory:
    """The histories of a program for ``series`` series, from which a row is computed.

    values_of, counted_of, sums_of, state_of: by step number, the position in ``values``, in ``counted`` and in
    ``state``, and the sums of a step. revisable: how many of the newest rows can be computed again.
    """

    def __init__(self, schedule: RowSchedule, series: int, revisable: int) -> None:
        steps = schedule.program.steps
        reach: dict[int, int] = {}
        counted: dict[int, int] = {}
        means: dict[int, set[int]] = {}
        recursive = [step.number for step in steps if step.operator in RECURSIVE]
        for step in steps:
            if step.operator in _VALUES:
                reach[step.arguments[0]] = max(reach.get(step.arguments[0], 0), step.node.rows)
            if step.operator is Operator.COUNT:
                counted[step.arguments[0]] = max(counted.get(step.arguments[0], 0), step.node.rows)
            if step.operator in (Operator.MEAN, Operator.SPREAD):
                means.setdefault(step.arguments[0], set()).add(step.node.window)
        long = {number: windows for number, windows in means.items() if max(windows) > _LONG_WINDOW}
        short = {number: windows for number, windows in means.items() if number not in long}
        self.sums = tuple(WindowSums(each, series, revisable) for each in (long, short) if each)
        self.sums_of = {number: sums for sums in self.sums for number in sums.position}
        self.values_of = {number: index for index, number in enumerate(reach)}
        self.counted_of = {number: index for index, number in enumerate(counted)}
        self.state_of = {number: index for index, number in enumerate(recursive)}
        self.values = RollingArray(max(reach.values(), default=0) + revisable + 1, (len(reach), series))
        self.counted = RollingArray(
            max(counted.values(), default=0) + revisable + 1, (len(counted), series), dtype=np.uint8, missing=0
        )
        self.state = RollingArray(revisable + 2, (len(recursive), series))

        self._value_slots, self._counted_slots = schedule.slots(reach), schedule.slots(counted)
        self._sum_slots = [schedule.slots(sums.position) for sums in self.sums]

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of the steps whose values are kept."""
        return tuple(dict.fromkeys((*self.values_of, *self.counted_of, *self.sums_of, *self.state_of)))

    def restore(self, newest: int, values: Mapping[int, FloatArray]) -> None:
        """Replaces all rows; ``values``: for each of ``steps`` its newest rows (N, S), of a state where not missing.

        ``newest``: the number of the last of them.
        """
        self.restart(newest)
        for array, position in ((self.values, self.values_of), (self.state, self.state_of)):
            for number, index in position.items():
                array.fill(index, values[number])
        for number, index in self.counted_of.items():
            self.counted.fill(index, ~np.isnan(values[number]))
        for number, sums in self.sums_of.items():
            sums.fill(sums.position[number], values[number])

    def restart(self, newest: int) -> None:
        """Empties the histories; their newest row is number ``newest``."""
        for array in (self.values, self.counted, self.state):
            array.restart(newest)
        for sums in self.sums:
            sums.restart(newest)

    def prepare(self, row: int) -> None:
        """Makes room for ``row``, and sums the windows that end before it."""
        for array in (self.values, self.counted, self.state):
            array.advance(row)
        for sums in self.sums:
            sums.prepare(row)

    def write(self, row: int, values: FloatArray) -> None:
        """Keeps the values (slots, S) of ``row``; recursive averages write their states themselves."""
        self.values.row(row)[:] = values[self._value_slots]
        self.counted.row(row)[:] = ~np.isnan(values[self._counted_slots])
        for sums, slots in zip(self.sums, self._sum_slots, strict=True):
            sums.write(row, values[slots])
