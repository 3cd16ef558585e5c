"""Building blocks of feature definitions: records, and rolling and recursive averages with one missing-value rule.

Expressions are written as if the frame held one symbol, oldest bar first, on a regular grid; ``table.py`` evaluates
them for many symbols. Two rules hold throughout:

* A rolling window has a value if at least three quarters of its rows do, so that one outage bar does not blank a week.
  Recursive averages skip nulls, and have a value only if enough rows of their memory do.
* An undefined logarithm or ratio is null, never infinite or NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import polars as pl

WARM_UP_ROWS = 500
"""Memory of the recursive features, in rows: older rows weigh less than 1e-12 of their scale (Wilder period up to 14,
exponential span up to 26)."""

_LEAST_RECURSIVE_SAMPLES = 400  # (13/14)**400 is 1.3e-13: a fifth of the rows may be missing

LEAST_VARIANCE = 1e-16
"""Variances of log prices at or below this (a move of 1e-8, less than a tick) are rounding residue, hence unknown."""


class Scope(Enum):
    """Rows that an expression reads: its own, those of its symbol, or those of all symbols of a venue at one time."""

    ROW = "row"
    SERIES = "series"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True)
class Ingredient:
    """An intermediate column that features share. ``rows``: how many earlier rows the expression itself reads."""

    name: str
    expression: pl.Expr
    rows: int = 0
    scope: Scope = Scope.ROW


@dataclass(frozen=True, slots=True)
class Feature:
    """A catalogue feature: one named input of the models.

    expression: over bar columns and ingredients, as if for one symbol.
    scope: ROW where the expression itself reads no other row of its symbol, else SERIES.
    memory_rows: the row has a value only where this many earlier rows exist, and depends on no row before them.
    sources: the bar columns that it derives from.
    """

    name: str
    family: str
    expression: pl.Expr
    scope: Scope
    memory_rows: int
    sources: frozenset[str]


@dataclass(frozen=True, slots=True)
class Definition:
    """A feature as its family defines it. ``rows``: how many earlier rows the expression itself reads."""

    name: str
    expression: pl.Expr
    rows: int = 0


def averages(column: str, *windows: int) -> tuple[Ingredient, ...]:
    """Ingredients for the moving averages that ``average`` refers to."""
    return tuple(
        Ingredient(f"{column}_average_{window}", mean(pl.col(column), window), window - 1, Scope.SERIES)
        for window in windows
    )


def average(column: str, window: int) -> pl.Expr:
    """The mean of ``column`` over the last ``window`` rows, the row itself included."""
    return pl.col(column) if window == 1 else pl.col(f"{column}_average_{window}")


def earlier(column: str, lag: int) -> pl.Expr:
    """``column`` shifted by ``lag`` rows within its series; sums over many lags run faster than as one expression."""
    return pl.col(column).shift(lag).over(Scope.SERIES.value)


def mean(values: pl.Expr, window: int) -> pl.Expr:
    return values.rolling_mean(window, min_samples=least_samples(window))


def deviation(values: pl.Expr, window: int) -> pl.Expr:
    """Population standard deviation over ``window`` rows."""
    return values.rolling_std(window, min_samples=least_samples(window), ddof=0)


def highest(values: pl.Expr, window: int) -> pl.Expr:
    return values.rolling_max(window, min_samples=least_samples(window))


def lowest(values: pl.Expr, window: int) -> pl.Expr:
    return values.rolling_min(window, min_samples=least_samples(window))


def least_samples(window: int) -> int:
    """Fewest rows of a rolling window that must have a value."""
    return math.ceil(window * 3 / 4)


def exponential(values: pl.Expr, span: int) -> pl.Expr:
    """Exponential moving average with weight 2 / (span + 1)."""
    return values.ewm_mean(span=span, adjust=False, ignore_nulls=True)


def wilder(values: pl.Expr, period: int) -> pl.Expr:
    """Wilder's moving average, with weight 1 / period."""
    return values.ewm_mean(alpha=1 / period, adjust=False, ignore_nulls=True)


def if_remembered(value: pl.Expr) -> pl.Expr:
    """A recursive ``value``, null if too few of the last ``WARM_UP_ROWS`` bars have a price."""
    return pl.when(pl.col("remembered_bars") >= _LEAST_RECURSIVE_SAMPLES).then(value)


def positive_log(value: pl.Expr, floor: float = 0.0) -> pl.Expr:
    """Natural logarithm, null at or below ``floor``."""
    return pl.when(value > floor).then(value.log())


def log_variance(variance: pl.Expr) -> pl.Expr:
    return positive_log(variance, LEAST_VARIANCE)


def ratio(numerator: pl.Expr, denominator: pl.Expr, floor: float = 0.0) -> pl.Expr:
    """``numerator / denominator``, null where the denominator is at or below ``floor``."""
    return pl.when(denominator > floor).then(numerator / denominator)


def log_ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Natural logarithm of a ratio, null where either side is not above 0."""
    return pl.when((numerator > 0) & (denominator > 0)).then((numerator / denominator).log())


REMEMBERED_BARS = Ingredient(
    "remembered_bars",
    pl.col("close").is_not_null().cast(pl.Float64).rolling_sum(WARM_UP_ROWS, min_samples=1),
    rows=WARM_UP_ROWS - 1,
    scope=Scope.SERIES,
)
