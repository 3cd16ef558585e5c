"""Volatility features: realised variance and its shape.

Variances are per bar, of log prices, and enter as logarithms; a one-bar window without a range is missing.

Sources: M. Parkinson (1980), M. Garman and M. Klass (1980), L. Rogers and S. Satchell (1991) for range estimators;
F. Corsi, "A Simple Approximate Long-Memory Model of Realized Volatility" (2009) for HAR; O. Barndorff-Nielsen and
N. Shephard (2004) for bipower variation; O. Barndorff-Nielsen, S. Kinnebrock and N. Shephard (2010) for semivariance.
"""

from __future__ import annotations

import math

from features.algebra import (
    LEAST_VARIANCE,
    Expression,
    choose,
    deviation,
    exponential,
    if_remembered,
    lag,
    log_variance,
    mean,
    ratio,
)
from features.definitions import Definition
from features.price import LOG_CLOSE, LOG_HIGH, LOG_LOW, LOG_OPEN, LOG_RETURN, SQUARED_RETURN

HAR_LAGS = (1, 6, 24, 168)

GARMAN_KLASS = 0.5 * (LOG_HIGH - LOG_LOW) ** 2 - (2 * math.log(2) - 1) * (LOG_CLOSE - LOG_OPEN) ** 2
"""Variance of one bar from its four log prices: 0.5 (h - l)^2 - (2 ln 2 - 1) (c - o)^2."""

ONE_BAR_VARIANCE = choose(GARMAN_KLASS > LEAST_VARIANCE, GARMAN_KLASS)
"""``GARMAN_KLASS``, missing if the bar has no range."""

_log_garman_klass = log_variance(GARMAN_KLASS)
_parkinson = (LOG_HIGH - LOG_LOW) ** 2 / (4 * math.log(2))
_rogers_satchell = (LOG_HIGH - LOG_CLOSE) * (LOG_HIGH - LOG_OPEN) + (LOG_LOW - LOG_CLOSE) * (LOG_LOW - LOG_OPEN)
_downside = choose(LOG_RETURN < 0, SQUARED_RETURN, choose(LOG_RETURN >= 0, 0.0))
_bipower = (math.pi / 2) * abs(LOG_RETURN * lag(LOG_RETURN, 1))


def same_hour(values: Expression, days: int) -> Expression:
    """Mean over the bars 24, 48, ... bars before the NEXT bar: on hourly bars, the coming hour on earlier days."""
    total = lag(values, 23)
    for day in range(2, days + 1):
        total += lag(values, 24 * day - 1)
    return total / days


def _level(name: str, values: Expression, window: int) -> Definition:
    return Definition(f"log_{name}_{window}", log_variance(mean(values, window)))


LEVELS = (
    *(_level("garman_klass", GARMAN_KLASS, bars) for bars in HAR_LAGS),
    _level("parkinson", _parkinson, 24),
    _level("rogers_satchell", _rogers_satchell, 24),
    *(_level("realized", SQUARED_RETURN, window) for window in (6, 24, 168)),
    Definition("log_exponential_variance_26", if_remembered(log_variance(exponential(SQUARED_RETURN, 26)))),
)


def _share(name: str, values: Expression, window: int) -> Definition:
    """``values`` over the realised variance, both averaged over ``window`` bars."""
    return Definition(f"{name}_{window}", ratio(mean(values, window), mean(SQUARED_RETURN, window), LEAST_VARIANCE))


def _volatility_of_volatility(window: int) -> Definition:
    return Definition(f"volatility_of_volatility_{window}", deviation(_log_garman_klass, window))


def _standardised_moment(name: str, values: Expression, power: int) -> Definition:
    """Mean of a power of the week's returns over the same power of their standard deviation."""
    variance = mean(SQUARED_RETURN, 168)
    moment = ratio(mean(values, 168), variance, LEAST_VARIANCE) / variance ** (power / 2 - 1)
    return Definition(f"{name}_168", moment)


SHAPE = (
    *(_share("downside_share", _downside, window) for window in (24, 168)),
    *(_share("continuous_share", _bipower, window) for window in (24, 168)),  # 1 without jumps, lower with them
    *map(_volatility_of_volatility, (24, 168)),
    _standardised_moment("realized_skewness", LOG_RETURN * SQUARED_RETURN, 3),
    _standardised_moment("realized_kurtosis", SQUARED_RETURN * SQUARED_RETURN, 4),
)

SEASON = (
    Definition("log_garman_klass_lag_23", lag(_log_garman_klass, 23)),
    Definition("log_garman_klass_same_hour_7", same_hour(_log_garman_klass, 7)),
)

FAMILIES = {"volatility": LEVELS, "volatility_shape": SHAPE, "volatility_season": SEASON}
