"""Typed algebra in which features are written: expressions over the bars of one instrument, oldest bar first.

An expression says what is computed; ``polars_evaluator`` computes it over tables, ``newest_row`` for the newest bars.
Its operators read the bar itself, the earlier bars of its series, or all series of its venue at that time (``Scope``).

Three rules hold throughout:

* A missing value makes a result missing, unless the operator says otherwise. A comparison with one does not hold.
* A window has a value if at least three quarters of its rows do, so that one outage bar does not blank a week.
* A recursive average skips missing rows, and has no value in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, StrEnum

WARM_UP_ROWS = 500
"""Memory of the recursive averages, in rows: older rows weigh less than 1e-12 of their scale (Wilder period up to 14,
exponential span up to 26)."""

LEAST_RECURSIVE_SAMPLES = 400  # (13/14)**400 is 1.3e-13: a fifth of the rows may be missing

LEAST_VARIANCE = 1e-16
"""Variances of log prices at or below this (a move of 1e-8, less than a tick) are rounding residue, hence unknown."""


class Scope(Enum):
    """Rows that an operator reads: its own, those of its series, or those of all series of a venue at one time."""

    ROW = "row"
    SERIES = "series"
    MOMENT = "moment"


class Operator(StrEnum):
    """What a node computes of its arguments; the names stand in the canonical text, hence in the schema hash."""

    COLUMN = "column"
    CONSTANT = "constant"
    SINCE = "since"
    UNTIL = "until"
    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    DIVIDE = "divide"
    POWER = "power"
    NEGATE = "negate"
    ABSOLUTE = "absolute"
    SIGN = "sign"
    ROOT = "root"
    LOGARITHM = "logarithm"
    SINE = "sine"
    COSINE = "cosine"
    LARGER = "larger"
    SMALLER = "smaller"
    CLIP = "clip"
    CHOOSE = "choose"
    ABOVE = "above"
    REACHES = "reaches"
    KNOWN = "known"
    BOTH = "both"
    LAG = "lag"
    MEAN = "mean"
    DEVIATION = "deviation"
    HIGHEST = "highest"
    LOWEST = "lowest"
    SPREAD = "spread"
    COUNT = "count"
    EXPONENTIAL = "exponential"
    WILDER = "wilder"
    MARKET_MEAN = "market_mean"
    MARKET_DEVIATION = "market_deviation"
    OF_LEADER = "of_leader"


RECURSIVE = frozenset({Operator.EXPONENTIAL, Operator.WILDER})
WINDOWED = frozenset(
    {Operator.MEAN, Operator.DEVIATION, Operator.HIGHEST, Operator.LOWEST, Operator.SPREAD, Operator.COUNT}
)
ACROSS = frozenset({Operator.MARKET_MEAN, Operator.MARKET_DEVIATION, Operator.OF_LEADER})


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operator with its arguments and parameters (a column's name, a number, a window in rows)."""

    operator: Operator
    arguments: tuple[Node, ...] = ()
    parameters: tuple[str | float, ...] = ()

    @property
    def scope(self) -> Scope:
        """Which rows the operator itself reads."""
        if self.operator in ACROSS:
            return Scope.MOMENT
        is_series = self.operator is Operator.LAG or self.operator in WINDOWED or self.operator in RECURSIVE
        return Scope.SERIES if is_series else Scope.ROW

    @property
    def rows(self) -> int:
        """How many rows before its own the operator itself reads."""
        if self.operator in RECURSIVE:
            return WARM_UP_ROWS
        if self.operator is Operator.LAG:
            return self.window
        return self.window - 1 if self.operator in WINDOWED else 0

    @property
    def window(self) -> int:
        """The lag, window, span or period of a series operator, in rows."""
        return int(self.parameters[0])

    @property
    def name(self) -> str:
        """The name of a column."""
        return str(self.parameters[0])


class Condition(Node):
    """True or false for each row."""

    __slots__ = ()

    def __and__(self, other: Condition) -> Condition:
        return Condition(Operator.BOTH, (self, other))


class Expression(Node):
    """A number for each row, or none."""

    __slots__ = ()

    def __add__(self, other: Operand) -> Expression:
        return _join(Operator.ADD, self, other)

    def __sub__(self, other: Operand) -> Expression:
        return _join(Operator.SUBTRACT, self, other)

    def __mul__(self, other: Operand) -> Expression:
        return _join(Operator.MULTIPLY, self, other)

    def __rmul__(self, other: float) -> Expression:
        return _join(Operator.MULTIPLY, other, self)

    def __truediv__(self, other: Operand) -> Expression:
        return _join(Operator.DIVIDE, self, other)

    def __pow__(self, exponent: float) -> Expression:
        return Expression(Operator.POWER, (self,), (float(exponent),))

    def __neg__(self) -> Expression:
        return Expression(Operator.NEGATE, (self,))

    def __abs__(self) -> Expression:
        return Expression(Operator.ABSOLUTE, (self,))

    def __gt__(self, other: Operand) -> Condition:
        return Condition(Operator.ABOVE, (self, _as_expression(other)))

    def __lt__(self, other: Operand) -> Condition:
        return Condition(Operator.ABOVE, (_as_expression(other), self))

    def __ge__(self, other: Operand) -> Condition:
        return Condition(Operator.REACHES, (self, _as_expression(other)))


Operand = Expression | float


def _as_expression(operand: Operand) -> Expression:
    if isinstance(operand, Expression):
        return operand
    return Expression(Operator.CONSTANT, (), (float(operand),))


def _join(operator: Operator, left: Operand, right: Operand) -> Expression:
    return Expression(operator, (_as_expression(left), _as_expression(right)))


def column(name: str) -> Expression:
    """A column of the bars (``frames.BARS_SCHEMA``) as numbers."""
    return Expression(Operator.COLUMN, (), (name,))


def since(period_us: int, offset_us: int = 0) -> Expression:
    """Microseconds from the start of a period (UTC, shifted by ``offset_us``) to the close of the bar."""
    return Expression(Operator.SINCE, (), (period_us, offset_us))


def until(period_us: int) -> Expression:
    """Microseconds from the close of the bar to the start of the next period; 0 at a start."""
    return Expression(Operator.UNTIL, (), (period_us,))


def root(value: Expression) -> Expression:
    return Expression(Operator.ROOT, (value,))


def sign(value: Expression) -> Expression:
    return Expression(Operator.SIGN, (value,))


def sine(angle: Expression) -> Expression:
    return Expression(Operator.SINE, (angle,))


def cosine(angle: Expression) -> Expression:
    return Expression(Operator.COSINE, (angle,))


def larger(one: Expression, other: Expression) -> Expression:
    """The larger of two values, or the only one that is known."""
    return Expression(Operator.LARGER, (one, other))


def smaller(one: Expression, other: Expression) -> Expression:
    """The smaller of two values, or the only one that is known."""
    return Expression(Operator.SMALLER, (one, other))


def clip(value: Expression, *, least: float = -math.inf, most: float = math.inf) -> Expression:
    return Expression(Operator.CLIP, (value,), (float(least), float(most)))


def known(value: Expression) -> Condition:
    return Condition(Operator.KNOWN, (value,))


def choose(condition: Condition, then: Operand, otherwise: Operand | None = None) -> Expression:
    """``then`` where the condition holds, else ``otherwise``; missing where that is not given."""
    values = (then,) if otherwise is None else (then, otherwise)
    return Expression(Operator.CHOOSE, (condition, *map(_as_expression, values)))


def _series(operator: Operator, values: Expression, rows: int) -> Expression:
    if rows < 1:
        raise ValueError(f"{operator} takes one row or more, was given {rows}")
    return Expression(operator, (values,), (rows,))


def lag(values: Expression, rows: int) -> Expression:
    """The value of the row ``rows`` before."""
    return _series(Operator.LAG, values, rows)


def mean(values: Expression, window: int) -> Expression:
    """The mean over the last ``window`` rows, the row itself included."""
    return values if window == 1 else _series(Operator.MEAN, values, window)


def deviation(values: Expression, window: int) -> Expression:
    """Population standard deviation over ``window`` rows."""
    return _series(Operator.DEVIATION, values, window)


def highest(values: Expression, window: int) -> Expression:
    return _series(Operator.HIGHEST, values, window)


def lowest(values: Expression, window: int) -> Expression:
    return _series(Operator.LOWEST, values, window)


def spread(values: Expression, window: int) -> Expression:
    """Mean distance of the known rows of the window from their mean."""
    return _series(Operator.SPREAD, values, window)


def count(values: Expression, window: int) -> Expression:
    """How many rows of the window have a value."""
    return _series(Operator.COUNT, values, window)


def exponential(values: Expression, span: int) -> Expression:
    """Exponential moving average with weight 2 / (span + 1)."""
    return _series(Operator.EXPONENTIAL, values, span)


def wilder(values: Expression, period: int) -> Expression:
    """Wilder's moving average, with weight 1 / period."""
    return _series(Operator.WILDER, values, period)


def market_mean(values: Expression) -> Expression:
    """The mean over all series of the venue that have a value at that time."""
    return Expression(Operator.MARKET_MEAN, (values,))


def market_deviation(values: Expression) -> Expression:
    """Population standard deviation over the series of the venue that have a value at that time."""
    return Expression(Operator.MARKET_DEVIATION, (values,))


def of_leader(values: Expression) -> Expression:
    """The value of the venue's leader at that time."""
    return Expression(Operator.OF_LEADER, (values,))


def least_samples(window: int) -> int:
    """Fewest rows of a window that must have a value."""
    return math.ceil(window * 3 / 4)


def weight(node: Node) -> float:
    """The weight of the newest row in a recursive average."""
    return 2 / (node.window + 1) if node.operator is Operator.EXPONENTIAL else 1 / node.window


def logarithm(value: Expression, floor: float = 0.0) -> Expression:
    """Natural logarithm, missing at or below ``floor``."""
    return choose(value > floor, Expression(Operator.LOGARITHM, (value,)))


def log_variance(variance: Expression) -> Expression:
    return logarithm(variance, LEAST_VARIANCE)


def ratio(numerator: Expression, denominator: Expression, floor: float = 0.0) -> Expression:
    """``numerator / denominator``, missing where the denominator is at or below ``floor``."""
    return choose(denominator > floor, numerator / denominator)


def log_ratio(numerator: Expression, denominator: Expression) -> Expression:
    """Natural logarithm of a ratio, missing where either side is not above 0."""
    both = (numerator > 0) & (denominator > 0)
    return choose(both, Expression(Operator.LOGARITHM, (numerator / denominator,)))


def if_remembered(value: Expression) -> Expression:
    """A recursive ``value``, missing if too few of the last ``WARM_UP_ROWS`` bars have a price."""
    return choose(count(column("close"), WARM_UP_ROWS) >= LEAST_RECURSIVE_SAMPLES, value)
