"""Price features: returns, candles, trends, extremes and oscillators.

Sources: J. W. Wilder, "New Concepts in Technical Trading Systems" (1978) for RSI, true range and ADX; G. Appel for
MACD; D. Lambert for CCI; G. Lane for the stochastics; J. Bollinger for the bands; P. Kaufman for efficiency. The
recursive ones equal TA-Lib's after the warm-up, divided by the price if TA-Lib's are in units of the price.
"""

from __future__ import annotations

from features.algebra import (
    LEAST_VARIANCE,
    Expression,
    choose,
    clip,
    column,
    deviation,
    exponential,
    highest,
    if_remembered,
    known,
    lag,
    larger,
    logarithm,
    lowest,
    mean,
    ratio,
    root,
    smaller,
    spread,
    wilder,
)
from features.definitions import Definition
from features.frames import PRICES

OPEN, HIGH, LOW, CLOSE = map(column, PRICES)
LOG_OPEN, LOG_HIGH, LOG_LOW, LOG_CLOSE = map(logarithm, (OPEN, HIGH, LOW, CLOSE))
LOG_RETURN = LOG_CLOSE - lag(LOG_CLOSE, 1)
SQUARED_RETURN = LOG_RETURN * LOG_RETURN
TYPICAL_PRICE = (HIGH + LOW + CLOSE) / 3

_FLAT = 1e-8  # a spread of prices below this share of the price is rounding residue

RETURN_LAGS = (1, 2, 3, 6, 12, 24, 48, 168)


def _moved(bars: int) -> Expression:
    return LOG_CLOSE - lag(LOG_CLOSE, bars)


def _standardised_return(bars: int) -> Definition:
    """The return over ``bars`` in standard deviations of the last week's returns."""
    scale = root(mean(SQUARED_RETURN, 168) * bars)
    return Definition(f"standardised_return_{bars}", ratio(_moved(bars), scale, LEAST_VARIANCE**0.5))


RETURNS = (
    *(Definition(f"log_return_{bars}", _moved(bars)) for bars in RETURN_LAGS),
    *map(_standardised_return, (6, 24)),
)


def _range(window: int) -> Definition:
    return Definition(f"log_range_{window}", highest(LOG_HIGH, window) - lowest(LOG_LOW, window))


CANDLES = (
    Definition("candle_range", LOG_HIGH - LOG_LOW),
    Definition("candle_body", LOG_CLOSE - LOG_OPEN),
    Definition("upper_wick", LOG_HIGH - larger(LOG_OPEN, LOG_CLOSE)),
    Definition("lower_wick", smaller(LOG_OPEN, LOG_CLOSE) - LOG_LOW),
    Definition("opening_gap", LOG_OPEN - lag(LOG_CLOSE, 1)),
    *map(_range, (24, 168)),
)


def _average_gap(window: int) -> Definition:
    return Definition(f"average_gap_{window}", LOG_CLOSE - logarithm(mean(CLOSE, window)))


def _exponential_gap(span: int) -> Definition:
    return Definition(f"exponential_gap_{span}", if_remembered(LOG_CLOSE - logarithm(exponential(CLOSE, span))))


TRENDS = (*map(_average_gap, (6, 24, 72, 168)), *map(_exponential_gap, (12, 26)))


def _high_gap(window: int) -> Definition:
    return Definition(f"high_gap_{window}", LOG_CLOSE - highest(LOG_HIGH, window))


def _low_gap(window: int) -> Definition:
    return Definition(f"low_gap_{window}", LOG_CLOSE - lowest(LOG_LOW, window))


def _range_position(window: int) -> Definition:
    """Position of the close in the range of ``window`` bars: 0 at its low, 1 at its high."""
    top, bottom = highest(LOG_HIGH, window), lowest(LOG_LOW, window)
    return Definition(f"range_position_{window}", ratio(LOG_CLOSE - bottom, top - bottom, _FLAT))


EXTREMES = (*map(_high_gap, (24, 168)), *map(_low_gap, (24, 168)), *map(_range_position, (24, 168)))


def _movement(forward: Expression, backward: Expression) -> Expression:
    """Wilder's directional movement: the larger of the two moves where it is positive, else 0."""
    leading = (forward > backward) & (forward > 0)
    return choose(known(forward) & known(backward), choose(leading, forward, 0.0))


_change = CLOSE - lag(CLOSE, 1)
_mean_gain, _mean_loss = wilder(clip(_change, least=0), 14), wilder(-clip(_change, most=0), 14)
_rise, _fall = HIGH - lag(HIGH, 1), lag(LOW, 1) - LOW
_true_range = choose(known(_change), larger(HIGH, lag(CLOSE, 1)) - smaller(LOW, lag(CLOSE, 1)))
_mean_plus, _mean_minus = wilder(_movement(_rise, _fall), 14), wilder(_movement(_fall, _rise), 14)
# The true range cancels in (+DI - -DI) / (+DI + -DI).
_directional_index = ratio(_mean_plus - _mean_minus, _mean_plus + _mean_minus)

_macd = exponential(CLOSE, 12) - exponential(CLOSE, 26)
_macd_signal = exponential(_macd, 9)

_typical_mean, _typical_spread = mean(TYPICAL_PRICE, 14), spread(TYPICAL_PRICE, 14)
# Lambert's constant 0.015, the result divided by 100.
_cci = choose(_typical_spread > _FLAT * _typical_mean, (TYPICAL_PRICE - _typical_mean) / (1.5 * _typical_spread))

_band, _band_middle = 2 * deviation(CLOSE, 20), mean(CLOSE, 20)
_bands_are_open = _band > _FLAT * _band_middle

_bottom = lowest(LOW, 14)
_stochastic = ratio(CLOSE - _bottom, highest(HIGH, 14) - _bottom)

OSCILLATORS = (
    Definition("rsi_14", if_remembered(ratio(_mean_gain, _mean_gain + _mean_loss))),
    Definition("macd", if_remembered(ratio(_macd, CLOSE))),
    Definition("macd_signal", if_remembered(ratio(_macd_signal, CLOSE))),
    Definition("macd_histogram", if_remembered(ratio(_macd - _macd_signal, CLOSE))),
    Definition("directional_index_14", if_remembered(_directional_index)),
    Definition("adx_14", if_remembered(wilder(abs(_directional_index), 14))),
    Definition("true_range_14", if_remembered(ratio(wilder(_true_range, 14), CLOSE))),
    Definition("cci_14", _cci),
    Definition("bollinger_position_20", choose(_bands_are_open, (CLOSE - _band_middle) / _band)),
    Definition("bollinger_width_20", choose(_bands_are_open, _band / _band_middle)),
    Definition("stochastic_k_14", _stochastic),
    Definition("stochastic_d_14", mean(_stochastic, 3)),
    Definition("efficiency_24", ratio(mean(LOG_RETURN, 24), mean(abs(LOG_RETURN), 24), _FLAT)),
)

FAMILIES = {
    "return": RETURNS,
    "candle": CANDLES,
    "trend": TRENDS,
    "extreme": EXTREMES,
    "oscillator": OSCILLATORS,
}
