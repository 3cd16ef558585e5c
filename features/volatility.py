"""Volatility features: realised variance and its shape.

Variances are per bar, of log prices, and enter as logarithms; a one-bar window without a range is null.

Sources: M. Parkinson (1980), M. Garman and M. Klass (1980), L. Rogers and S. Satchell (1991) for range estimators;
F. Corsi, "A Simple Approximate Long-Memory Model of Realized Volatility" (2009) for HAR; O. Barndorff-Nielsen and
N. Shephard (2004) for bipower variation; O. Barndorff-Nielsen, S. Kinnebrock and N. Shephard (2010) for semivariance.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import polars as pl

from features.expressions import (
    LEAST_VARIANCE,
    WARM_UP_ROWS,
    Definition,
    Ingredient,
    Scope,
    average,
    averages,
    deviation,
    earlier,
    exponential,
    if_remembered,
    log_variance,
    ratio,
)

HAR_LAGS = (1, 6, 24, 168)

_log_open, _log_high, _log_low, _log_close = (pl.col(f"log_{name}") for name in ("open", "high", "low", "close"))
_return, _squared_return = pl.col("log_return"), pl.col("squared_return")


def garman_klass(log_open: pl.Expr, log_high: pl.Expr, log_low: pl.Expr, log_close: pl.Expr) -> pl.Expr:
    """Variance of one bar from its four log prices: 0.5 (h - l)^2 - (2 ln 2 - 1) (c - o)^2."""
    return 0.5 * (log_high - log_low).pow(2) - (2 * math.log(2) - 1) * (log_close - log_open).pow(2)


def one_bar_variance(log_open: pl.Expr, log_high: pl.Expr, log_low: pl.Expr, log_close: pl.Expr) -> pl.Expr:
    """``garman_klass``, null if the bar has no range."""
    variance = garman_klass(log_open, log_high, log_low, log_close)
    return pl.when(variance > LEAST_VARIANCE).then(variance)


_rogers_satchell = (_log_high - _log_close) * (_log_high - _log_open) + (_log_low - _log_close) * (_log_low - _log_open)


def _same_hour(column: str, days: int) -> pl.Expr:
    """Mean over the bars 24, 48, ... bars before the NEXT bar: on hourly bars, the coming hour on earlier days."""
    return reduce(add, (earlier(column, 24 * day - 1) for day in range(1, days + 1))) / days


INGREDIENTS = (
    Ingredient("garman_klass", garman_klass(_log_open, _log_high, _log_low, _log_close)),
    Ingredient("log_garman_klass", log_variance(pl.col("garman_klass"))),
    Ingredient("parkinson", (_log_high - _log_low).pow(2) / (4 * math.log(2))),
    Ingredient("rogers_satchell", _rogers_satchell),
    Ingredient("downside", pl.when(_return < 0).then(_squared_return).when(_return >= 0).then(0.0)),
    Ingredient("bipower", (math.pi / 2) * (_return * _return.shift(1)).abs(), 1, Scope.SERIES),
    Ingredient("cubed_return", _return * _squared_return),
    Ingredient("quartic_return", _squared_return * _squared_return),
    *averages("garman_klass", 6, 24, 168),
    *averages("parkinson", 24),
    *averages("rogers_satchell", 24),
    *averages("downside", 24, 168),
    *averages("bipower", 24, 168),
    *averages("cubed_return", 168),
    *averages("quartic_return", 168),
    Ingredient("exponential_variance_26", exponential(_squared_return, 26), WARM_UP_ROWS, Scope.SERIES),
    Ingredient("same_hour_log_garman_klass", _same_hour("log_garman_klass", 7), 167),
)


def _level(name: str, column: str, window: int) -> Definition:
    return Definition(f"log_{name}_{window}", log_variance(average(column, window)))


LEVELS = (
    *(_level("garman_klass", "garman_klass", lag) for lag in HAR_LAGS),
    _level("parkinson", "parkinson", 24),
    _level("rogers_satchell", "rogers_satchell", 24),
    *(_level("realized", "squared_return", window) for window in (6, 24, 168)),
    Definition("log_exponential_variance_26", if_remembered(log_variance(pl.col("exponential_variance_26")))),
)


def _share(name: str, column: str, window: int) -> Definition:
    """``column`` over the realised variance, both averaged over ``window`` bars."""
    realised = average("squared_return", window)
    return Definition(f"{name}_{window}", ratio(average(column, window), realised, LEAST_VARIANCE))


def _volatility_of_volatility(window: int) -> Definition:
    return Definition(
        f"volatility_of_volatility_{window}", deviation(pl.col("log_garman_klass"), window), rows=window - 1
    )


def _standardised_moment(name: str, column: str, power: int) -> Definition:
    """Mean of a power of the week's returns over the same power of their standard deviation."""
    variance = average("squared_return", 168)
    moment = ratio(average(column, 168), variance, LEAST_VARIANCE) / variance.pow(power / 2 - 1)
    return Definition(f"{name}_168", moment)


SHAPE = (
    *(_share("downside_share", "downside", window) for window in (24, 168)),
    *(_share("continuous_share", "bipower", window) for window in (24, 168)),  # 1 without jumps, lower with them
    *map(_volatility_of_volatility, (24, 168)),
    _standardised_moment("realized_skewness", "cubed_return", 3),
    _standardised_moment("realized_kurtosis", "quartic_return", 4),
)

SEASON = (
    Definition("log_garman_klass_lag_23", pl.col("log_garman_klass").shift(23), rows=23),
    Definition("log_garman_klass_same_hour_7", pl.col("same_hour_log_garman_klass")),
)

FAMILIES = {"volatility": LEVELS, "volatility_shape": SHAPE, "volatility_season": SEASON}
