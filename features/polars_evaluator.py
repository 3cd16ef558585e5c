"""Evaluates expressions of the algebra over tables of any length with Polars.

A table holds the bars of all series, those of one series adjacent and oldest first, with the columns ``CLOSE_TIME`` to
``IS_LEADER`` beside those of the bars. Steps that read other rows, and those that several steps read, become columns,
in layers that each derive from the layers before; a column is dropped after the last layer that reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import polars as pl

from features.algebra import Node, Operator, Scope, least_samples
from features.program import Program, ProgramStep, program

CLOSE_TIME, POSITION, SERIES, MOMENT, IS_LEADER = "close_time_us", "position", "series", "moment", "is_leader"
"""Columns that a table needs besides those of the bars: the close time; the number of the row within its series; the
series; venue and time together; whether the row is of the venue's leader."""

Arguments = Sequence[pl.Expr]

_ROW: Mapping[Operator, Callable[[ProgramStep, Arguments], pl.Expr]] = {
    Operator.COLUMN: lambda step, _: pl.col(step.node.name).cast(pl.Float64),
    Operator.CONSTANT: lambda step, _: pl.lit(step.node.parameters[0], pl.Float64),
    Operator.SINCE: lambda step, _: _since(step).cast(pl.Float64),
    Operator.UNTIL: lambda step, _: (-pl.col(CLOSE_TIME) % step.node.parameters[0]).cast(pl.Float64),
    Operator.ADD: lambda _, given: given[0] + given[1],
    Operator.SUBTRACT: lambda _, given: given[0] - given[1],
    Operator.MULTIPLY: lambda _, given: given[0] * given[1],
    Operator.DIVIDE: lambda _, given: given[0] / given[1],
    Operator.POWER: lambda step, given: given[0].pow(step.node.parameters[0]),
    Operator.NEGATE: lambda _, given: -given[0],
    Operator.ABSOLUTE: lambda _, given: given[0].abs(),
    Operator.SIGN: lambda _, given: given[0].sign(),
    Operator.ROOT: lambda _, given: given[0].sqrt(),
    Operator.LOGARITHM: lambda _, given: given[0].log(),
    Operator.SINE: lambda _, given: given[0].sin(),
    Operator.COSINE: lambda _, given: given[0].cos(),
    Operator.LARGER: lambda _, given: pl.max_horizontal(*given),
    Operator.SMALLER: lambda _, given: pl.min_horizontal(*given),
    Operator.CLIP: lambda step, given: _clip(step, given[0]),
    Operator.CHOOSE: lambda _, given: _choose(given),
    Operator.ABOVE: lambda _, given: given[0] > given[1],
    Operator.REACHES: lambda _, given: given[0] >= given[1],
    Operator.KNOWN: lambda _, given: given[0].is_not_null(),
    Operator.BOTH: lambda _, given: given[0] & given[1],
}

_SERIES: Mapping[Operator, Callable[[pl.Expr, int], pl.Expr]] = {
    Operator.MEAN: lambda values, window: values.rolling_mean(window, min_samples=least_samples(window)),
    Operator.DEVIATION: lambda values, window: values.rolling_std(window, min_samples=least_samples(window), ddof=0),
    Operator.HIGHEST: lambda values, window: values.rolling_max(window, min_samples=least_samples(window)),
    Operator.LOWEST: lambda values, window: values.rolling_min(window, min_samples=least_samples(window)),
    Operator.COUNT: lambda values, window: values.is_not_null().cast(pl.Float64).rolling_sum(window, min_samples=1),
    Operator.EXPONENTIAL: lambda values, span: values.ewm_mean(span=span, adjust=False, ignore_nulls=True),
    Operator.WILDER: lambda values, period: values.ewm_mean(alpha=1 / period, adjust=False, ignore_nulls=True),
}

_MOMENT: Mapping[Operator, Callable[[pl.Expr], pl.Expr]] = {
    Operator.MARKET_MEAN: pl.Expr.mean,
    Operator.MARKET_DEVIATION: lambda values: values.std(ddof=0),
    Operator.OF_LEADER: lambda values: pl.when(pl.col(IS_LEADER)).then(values).max(),
}


def _since(step: ProgramStep) -> pl.Expr:
    period_us, offset_us = step.node.parameters
    return (pl.col(CLOSE_TIME) + offset_us) % period_us


def _clip(step: ProgramStep, values: pl.Expr) -> pl.Expr:
    least, most = step.node.parameters
    return values.clip(None if least == -math.inf else least, None if most == math.inf else most)


def _choose(given: Arguments) -> pl.Expr:
    chosen = pl.when(given[0]).then(given[1])
    return chosen.otherwise(given[2]) if len(given) > 2 else chosen


def as_polars(node: Node) -> pl.Expr:
    """An expression of the row alone, over the columns of the bars (and ``close_time_us``) as a Polars expression.

    Raises ValueError if it reads other rows.
    """
    steps = program({"": node}).steps
    expressions: list[pl.Expr] = []
    for step in steps:
        if step.node.scope is not Scope.ROW:
            raise ValueError(f"{step.operator} reads other rows")
        expressions.append(_ROW[step.operator](step, [expressions[each] for each in step.arguments]))
    return expressions[-1]


class PolarsEvaluator:
    """Computes the outputs of a program over tables."""

    def __init__(self, compiled: Program) -> None:
        self._program = compiled
        self._is_column = _columns(compiled)
        self._expressions: list[pl.Expr] = []
        self._reads: list[frozenset[int]] = []
        self._depths: list[int] = []
        for step in compiled.steps:
            self._add(step)
        self._layers = tuple(self._plan())
        self._outputs = [self._reference(number).alias(name) for name, number in compiled.outputs.items()]

    def evaluate(self, table: pl.DataFrame, keep: Iterable[str]) -> pl.DataFrame:
        """The columns ``keep`` of ``table`` and the outputs, with the rows in the order of the table."""
        originals = pl.col(table.columns)
        for layer in self._layers:
            table = table.select(originals, *layer)
        return table.select(*keep, *self._outputs)

    def _add(self, step: ProgramStep) -> None:
        given = [self._reference(each) for each in step.arguments]
        reads = frozenset[int]().union(*(self._read_through(each) for each in step.arguments))
        self._expressions.append(self._expression(step, given))
        self._reads.append(reads)
        self._depths.append(1 + max((self._depths[each] for each in reads), default=-1))

    def _expression(self, step: ProgramStep, given: list[pl.Expr]) -> pl.Expr:
        operator = step.operator
        if step.node.scope is Scope.MOMENT:
            return _MOMENT[operator](given[0]).over(MOMENT)
        if step.node.scope is Scope.ROW:
            return _ROW[operator](step, given)
        window = step.node.window
        if operator is Operator.LAG:
            return _lag(given[0], window)
        if operator is Operator.SPREAD:
            return _spread(given[0], window)
        return _SERIES[operator](given[0], window).over(SERIES)

    def _reference(self, number: int) -> pl.Expr:
        return pl.col(_name(number)) if self._is_column[number] else self._expressions[number]

    def _read_through(self, number: int) -> frozenset[int]:
        """The columns that an expression reads which refers to the step ``number``."""
        return frozenset({number}) if self._is_column[number] else self._reads[number]

    def _plan(self) -> Iterator[list[pl.Expr]]:
        """The layers: the earlier columns that are still needed, then the new ones."""
        depths = {
            step.number: self._depths[step.number] for step in self._program.steps if self._is_column[step.number]
        }
        last_read = {number: self._last_read(number) for number in depths}
        for depth in sorted(set(depths.values())):
            kept = [pl.col(_name(each)) for each in depths if depths[each] < depth <= last_read[each]]
            new = [self._expressions[each].alias(_name(each)) for each in depths if depths[each] == depth]
            yield kept + new

    def _last_read(self, number: int) -> float:
        """The depth of the last layer that reads the column; infinite if an output does."""
        outputs = self._program.outputs.values()
        if any(number in self._read_through(each) for each in outputs):
            return math.inf
        columns = (each for each, is_column in enumerate(self._is_column) if is_column)
        return max((self._depths[each] for each in columns if number in self._reads[each]), default=-1)


def _name(number: int) -> str:
    return f"%{number}"


def _columns(compiled: Program) -> list[bool]:
    """Whether each step becomes a column: it reads other rows, such a step reads it, or several steps do."""
    users = compiled.uses()
    shared = [len(readers) > 1 for readers in users]
    needed = [any(compiled.steps[each].node.scope is not Scope.ROW for each in readers) for readers in users]
    return [
        not step.is_leaf and (step.node.scope is not Scope.ROW or shared[step.number] or needed[step.number])
        for step in compiled.steps
    ]


def _lag(values: pl.Expr, rows: int) -> pl.Expr:
    return pl.when(pl.col(POSITION) >= rows).then(values.shift(rows))


def _spread(values: pl.Expr, window: int) -> pl.Expr:
    centre = _SERIES[Operator.MEAN](values, window).over(SERIES)
    distances = [(values - centre).abs(), *((_lag(values, rows) - centre).abs() for rows in range(1, window))]
    return pl.when(centre.is_not_null()).then(pl.mean_horizontal(distances))
