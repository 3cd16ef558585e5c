"""Evaluates a program for the newest row of all series at once, with NumPy, from the histories of the earlier rows.

Its values equal those of ``polars_evaluator`` over the whole table to 1e-9 of each feature's scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from features.algebra import Operator, least_samples, weight
from features.program import Program
from features.row_history import RowHistory
from features.row_schedule import RowSchedule, StepGroup

FloatArray = npt.NDArray[np.float64]
Computation = Callable[[], object]

_UNARY: Mapping[Operator, np.ufunc] = {
    Operator.NEGATE: np.negative,
    Operator.ABSOLUTE: np.absolute,
    Operator.SIGN: np.sign,
    Operator.ROOT: np.sqrt,
    Operator.LOGARITHM: np.log,
    Operator.SINE: np.sin,
    Operator.COSINE: np.cos,
}
_BINARY: Mapping[Operator, np.ufunc] = {
    Operator.ADD: np.add,
    Operator.SUBTRACT: np.subtract,
    Operator.MULTIPLY: np.multiply,
    Operator.DIVIDE: np.divide,
    Operator.LARGER: np.fmax,  # unlike np.maximum, the known one of two
    Operator.SMALLER: np.fmin,
}
_COMPARISONS: Mapping[Operator, np.ufunc] = {Operator.ABOVE: np.greater, Operator.REACHES: np.greater_equal}


class NewestRowEvaluator:
    """Computes the rows of a program one after the other, each for all series.

    venues: the series of each venue, adjacent. leaders: the series that leads each venue. revisable: how many of the
    newest rows can be computed again.
    """

    def __init__(
        self, compiled: Program, *, series: int, venues: Sequence[slice], leaders: Sequence[int], revisable: int
    ) -> None:
        schedule = RowSchedule(compiled)
        self.history = RowHistory(schedule, series, revisable)
        self._outputs = schedule.outputs
        self._venues = tuple(zip(venues, leaders, strict=True))
        self._values = np.full((schedule.numbers, series), np.nan)
        self._conditions = np.zeros((schedule.conditions, series), dtype=np.bool_)
        self._row = 0
        self._close_time_us = 0
        self._columns: Mapping[str, FloatArray] = {}
        self._computations = [self._computation(group) for group in schedule.groups]

    def evaluate(self, row: int, close_time_us: int, columns: Mapping[str, FloatArray]) -> FloatArray:
        """The outputs (F, S) of ``row``, NaN where missing; the row and those before it become the history.

        columns: (S,) of each bar column, NaN where missing. Raises IndexError if the row is older than can be revised.
        """
        self._row, self._close_time_us, self._columns = row, close_time_us, columns
        with np.errstate(all="ignore"):  # a logarithm of 0 and the like, which no condition then chooses
            self.history.prepare(row)
            for compute in self._computations:
                compute()
            self.history.write(row, self._values)
        outputs: FloatArray = self._values[self._outputs]
        return outputs

    def _computation(self, group: StepGroup) -> Computation:
        """What computes the group's values; all that is the same for every row is found here, once."""
        operator = group.operator
        if operator in _UNARY or operator in _BINARY or operator in _COMPARISONS:
            return self._elementwise(group)
        builders: Mapping[Operator, Callable[[StepGroup], Computation]] = {
            Operator.COLUMN: self._column,
            Operator.CONSTANT: self._constant,
            Operator.SINCE: self._time,
            Operator.UNTIL: self._time,
            Operator.POWER: self._power,
            Operator.CLIP: self._clip,
            Operator.CHOOSE: self._choose,
            Operator.KNOWN: self._is_known,
            Operator.BOTH: self._both,
            Operator.LAG: self._lag,
            Operator.MEAN: self._mean,
            Operator.DEVIATION: self._of_window,
            Operator.HIGHEST: self._of_window,
            Operator.LOWEST: self._of_window,
            Operator.SPREAD: self._of_window,
            Operator.COUNT: self._count,
            Operator.EXPONENTIAL: self._recursive,
            Operator.WILDER: self._recursive,
            Operator.MARKET_MEAN: self._across,
            Operator.MARKET_DEVIATION: self._across,
            Operator.OF_LEADER: self._across,
        }
        return builders[operator](group)

    def _column(self, group: StepGroup) -> Computation:
        named = [(step.node.name, self._values[slot]) for slot, step in group.slots()]

        def compute() -> None:
            for name, values in named:
                values[:] = self._columns[name]

        return compute

    def _constant(self, group: StepGroup) -> Computation:
        for slot, step in group.slots():
            self._values[slot] = step.node.parameters[0]
        return _nothing

    def _time(self, group: StepGroup) -> Computation:
        periods = [(tuple(map(int, step.node.parameters)), self._values[slot]) for slot, step in group.slots()]

        def compute() -> None:
            for (period_us, *offset_us), values in periods:
                time_us = self._close_time_us
                values[:] = (time_us + offset_us[0]) % period_us if offset_us else -time_us % period_us

        return compute

    def _elementwise(self, group: StepGroup) -> Computation:
        operator, values = group.operator, self._values
        if operator in _UNARY:
            (argument,), unary, out = group.arguments, _UNARY[operator], values[group.out]
            return lambda: unary(values[argument], out=out)
        left, right = group.arguments
        binary = _BINARY[operator] if operator in _BINARY else _COMPARISONS[operator]
        target = values[group.out] if operator in _BINARY else self._conditions[group.out]
        return lambda: binary(values[left], values[right], out=target)

    def _power(self, group: StepGroup) -> Computation:
        values, (argument,), out = self._values, group.arguments, self._values[group.out]
        exponent = group.node.parameters[0]
        if exponent == 2:  # many times faster
            return lambda: np.square(values[argument], out=out)
        return lambda: np.power(values[argument], exponent, out=out)

    def _clip(self, group: StepGroup) -> Computation:
        values, (argument,), out = self._values, group.arguments, self._values[group.out]
        least, most = group.node.parameters
        return lambda: np.clip(values[argument], least, most, out=out)

    def _is_known(self, group: StepGroup) -> Computation:
        values, (argument,), out = self._values, group.arguments, self._conditions[group.out]
        return lambda: np.logical_not(np.isnan(values[argument]), out=out)

    def _both(self, group: StepGroup) -> Computation:
        conditions, (left, right), out = self._conditions, group.arguments, self._conditions[group.out]
        return lambda: np.logical_and(conditions[left], conditions[right], out=out)

    def _choose(self, group: StepGroup) -> Computation:
        condition, then, *otherwise = group.arguments
        values, out = self._values, self._values[group.out]

        def compute() -> None:
            other = values[otherwise[0]] if otherwise else np.nan
            out[:] = np.where(self._conditions[condition], values[then], other)

        return compute

    def _lag(self, group: StepGroup) -> Computation:
        history, out = self.history.values, self._values[group.out]
        lags = np.array([step.node.window for step in group.steps])
        positions = np.array([self.history.values_of[step.arguments[0]] for step in group.steps])
        longest = int(lags.max())

        def compute() -> None:
            out[:] = history.rows(self._row - longest, self._row)[longest - lags, positions]

        return compute

    def _mean(self, group: StepGroup) -> Computation:
        values, window = self._values, group.node.window
        parts = []
        for sums in self.history.sums:
            chosen = [index for index, step in enumerate(group.steps) if step.arguments[0] in sums.position]
            if chosen:
                positions = np.array([sums.position[group.steps[index].arguments[0]] for index in chosen])
                parts.append((sums, positions, group.arguments[0][chosen], group.out.start + np.array(chosen)))

        def compute() -> None:
            for sums, positions, arguments, slots in parts:
                newest = values[arguments]
                is_missing = np.isnan(newest)
                count = sums.counts[window][positions] + ~is_missing
                newest[is_missing] = 0.0
                newest += sums.sums[window][positions]
                newest /= count
                newest[count < least_samples(window)] = np.nan
                values[slots] = newest

        return compute

    def _of_window(self, group: StepGroup) -> Computation:
        window, reduce = group.node.window, _OF_WINDOW[group.operator]
        steps = [
            (self._values[slot], self._values[argument], self.history.values_of[step.arguments[0]])
            for (slot, step), argument in zip(group.slots(), group.arguments[0].tolist(), strict=True)
        ]

        def compute() -> None:
            rows = self.history.values.rows(self._row - window + 1, self._row)
            for out, newest, position in steps:
                values = np.concatenate([rows[:, position], newest[None]])  # (window, S)
                count = window - np.count_nonzero(np.isnan(values), axis=0)
                out[:] = np.where(count >= least_samples(window), reduce(values), np.nan)

        return compute

    def _count(self, group: StepGroup) -> Computation:
        values, window, out = self._values, group.node.window, self._values[group.out]
        positions = np.array([self.history.counted_of[step.arguments[0]] for step in group.steps])
        (arguments,) = group.arguments

        def compute() -> None:
            rows = self.history.counted.rows(self._row - window + 1, self._row)
            earlier = np.add.reduce(rows, axis=0, dtype=np.int64)[positions]
            out[:] = earlier + ~np.isnan(values[arguments])

        return compute

    def _recursive(self, group: StepGroup) -> Computation:
        values, state, share = self._values, self.history.state, weight(group.node)
        positions = np.array([self.history.state_of[step.number] for step in group.steps])
        (arguments,), out = group.arguments, self._values[group.out]

        def compute() -> None:
            newest, before = values[arguments], state.row(self._row - 1)[positions]
            after = np.where(np.isnan(before), newest, (1 - share) * before + share * newest)
            state.row(self._row)[positions] = np.where(np.isnan(newest), before, after)
            out[:] = after  # missing where the newest value is

        return compute

    def _across(self, group: StepGroup) -> Computation:
        values, (arguments,), out = self._values, group.arguments, self._values[group.out]
        across = _ACROSS[group.operator]

        def compute() -> None:
            given = values[arguments]
            for part, leader in self._venues:
                out[:, part] = across(given, part, leader)

        return compute


def _nothing() -> None:
    """The computation of what does not change."""


def _market_mean(values: FloatArray, part: slice, _: int) -> FloatArray:
    return _known_mean(values[:, part].T)[:, None]


def _market_deviation(values: FloatArray, part: slice, _: int) -> FloatArray:
    return _known_deviation(values[:, part].T)[:, None]


def _of_leader(values: FloatArray, _: slice, leader: int) -> FloatArray:
    return values[:, leader, None]


_ACROSS: Mapping[Operator, Callable[[FloatArray, slice, int], FloatArray]] = {
    Operator.MARKET_MEAN: _market_mean,
    Operator.MARKET_DEVIATION: _market_deviation,
    Operator.OF_LEADER: _of_leader,
}


def _known_mean(values: FloatArray) -> FloatArray:
    """(K,) the mean of the known values along the first axis of (N, K); NaN where none is."""
    known = ~np.isnan(values)
    average: FloatArray = np.add.reduce(np.where(known, values, 0.0), axis=0) / np.count_nonzero(known, axis=0)
    return average


def _known_deviation(values: FloatArray) -> FloatArray:
    """(K,) the population standard deviation of the known values along the first axis of (N, K)."""
    distances = values - _known_mean(values)
    deviation: FloatArray = np.sqrt(_known_mean(distances * distances))
    return deviation


def _known_spread(values: FloatArray) -> FloatArray:
    """(K,) the mean distance of the known values from their mean along the first axis of (N, K)."""
    return _known_mean(np.abs(values - _known_mean(values)))


_OF_WINDOW: Mapping[Operator, Callable[[FloatArray], FloatArray]] = {
    Operator.HIGHEST: partial(np.fmax.reduce, axis=0),
    Operator.LOWEST: partial(np.fmin.reduce, axis=0),
    Operator.DEVIATION: _known_deviation,
    Operator.SPREAD: _known_spread,
}
