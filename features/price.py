"""Price features: returns, candles, trends, extremes and oscillators.

Sources: J. W. Wilder, "New Concepts in Technical Trading Systems" (1978) for RSI, true range and ADX; G. Appel for
MACD; D. Lambert for CCI; G. Lane for the stochastics; J. Bollinger for the bands; P. Kaufman for efficiency. The
recursive ones equal TA-Lib's after the warm-up, divided by the price if TA-Lib's are in units of the price.
"""

from __future__ import annotations

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
    highest,
    if_remembered,
    lowest,
    mean,
    positive_log,
    ratio,
    wilder,
)
from features.frames import PRICES

_open, _high, _low, _close = pl.col("open"), pl.col("high"), pl.col("low"), pl.col("close")
_log_open, _log_high, _log_low, _log_close = (pl.col(f"log_{name}") for name in ("open", "high", "low", "close"))
_return = pl.col("log_return")
_typical = pl.col("typical_price")
_change = pl.col("price_change")
_gain, _loss = pl.col("gain"), pl.col("loss")
_mean_gain, _mean_loss = pl.col("mean_gain_14"), pl.col("mean_loss_14")
_mean_plus, _mean_minus = pl.col("mean_plus_14"), pl.col("mean_minus_14")
_bottom = pl.col("lowest_price_14")
_macd, _macd_signal = pl.col("macd_line"), pl.col("macd_signal_line")

_FLAT = 1e-8  # a spread of prices below this share of the price is rounding residue


def _movement(forward: pl.Expr, backward: pl.Expr) -> pl.Expr:
    """Wilder's directional movement: the larger of the two moves where it is positive, else 0."""
    unknown = forward.is_null() | backward.is_null()
    return pl.when(~unknown).then(pl.when((forward > backward) & (forward > 0)).then(forward).otherwise(0.0))


_rise, _fall = _high - _high.shift(1), _low.shift(1) - _low
_true_range = pl.max_horizontal(_high, _close.shift(1)) - pl.min_horizontal(_low, _close.shift(1))

_CCI_WINDOW = 14
_cci_mean = average("typical_price", _CCI_WINDOW)
_cci_spread = pl.mean_horizontal([(earlier("typical_price", lag) - _cci_mean).abs() for lag in range(_CCI_WINDOW)])


def _extremes(window: int) -> tuple[Ingredient, Ingredient]:
    return (
        Ingredient(f"highest_{window}", highest(_log_high, window), window - 1, Scope.SERIES),
        Ingredient(f"lowest_{window}", lowest(_log_low, window), window - 1, Scope.SERIES),
    )


def _recursive(name: str, expression: pl.Expr) -> Ingredient:
    return Ingredient(name, expression, WARM_UP_ROWS, Scope.SERIES)


_LOGARITHMS = tuple(Ingredient(f"log_{name}", positive_log(pl.col(name))) for name in PRICES)

_CHANGES = (
    Ingredient("log_return", _log_close - _log_close.shift(1), 1, Scope.SERIES),
    Ingredient("squared_return", _return * _return),
    Ingredient("absolute_return", _return.abs()),
    Ingredient("price_change", _close - _close.shift(1), 1, Scope.SERIES),
    Ingredient("gain", _change.clip(lower_bound=0)),
    Ingredient("loss", -_change.clip(upper_bound=0)),
    Ingredient("typical_price", (_high + _low + _close) / 3),
    Ingredient("true_range", pl.when(_change.is_not_null()).then(_true_range), 1, Scope.SERIES),
    Ingredient("plus_movement", _movement(_rise, _fall), 1, Scope.SERIES),
    Ingredient("minus_movement", _movement(_fall, _rise), 1, Scope.SERIES),
)

_WINDOWS = (
    *averages("close", 6, 20, 24, 72, 168),
    *averages("log_return", 24),
    *averages("squared_return", 6, 24, 168),
    *averages("absolute_return", 24),
    *averages("typical_price", _CCI_WINDOW),
    *(ingredient for window in (24, 168) for ingredient in _extremes(window)),
    Ingredient("close_deviation_20", deviation(_close, 20), 19, Scope.SERIES),
    Ingredient("typical_spread_14", _cci_spread, _CCI_WINDOW - 1),
    Ingredient("highest_price_14", highest(_high, 14), 13, Scope.SERIES),
    Ingredient("lowest_price_14", lowest(_low, 14), 13, Scope.SERIES),
    Ingredient("stochastic_14", ratio(_close - _bottom, pl.col("highest_price_14") - _bottom)),
)

_RECURSIONS = (
    _recursive("exponential_close_12", exponential(_close, 12)),
    _recursive("exponential_close_26", exponential(_close, 26)),
    Ingredient("macd_line", pl.col("exponential_close_12") - pl.col("exponential_close_26")),
    _recursive("macd_signal_line", exponential(_macd, 9)),
    _recursive("mean_gain_14", wilder(_gain, 14)),
    _recursive("mean_loss_14", wilder(_loss, 14)),
    _recursive("mean_true_range_14", wilder(pl.col("true_range"), 14)),
    _recursive("mean_plus_14", wilder(pl.col("plus_movement"), 14)),
    _recursive("mean_minus_14", wilder(pl.col("minus_movement"), 14)),
    # The true range cancels in (+DI - -DI) / (+DI + -DI).
    Ingredient("directional_index", ratio(_mean_plus - _mean_minus, _mean_plus + _mean_minus)),
    _recursive("average_directional_index", wilder(pl.col("directional_index").abs(), 14)),
)

INGREDIENTS = (*_LOGARITHMS, *_CHANGES, *_WINDOWS, *_RECURSIONS)

RETURN_LAGS = (1, 2, 3, 6, 12, 24, 48, 168)


def _log_return(lag: int) -> Definition:
    return Definition(f"log_return_{lag}", _log_close - _log_close.shift(lag), rows=lag)


def _standardised_return(lag: int) -> Definition:
    """The return over ``lag`` bars in standard deviations of the last week's returns."""
    scale = (average("squared_return", 168) * lag).sqrt()
    moves = _log_close - _log_close.shift(lag)
    return Definition(f"standardised_return_{lag}", ratio(moves, scale, LEAST_VARIANCE**0.5), rows=lag)


RETURNS = (*map(_log_return, RETURN_LAGS), *map(_standardised_return, (6, 24)))


def _range(window: int) -> Definition:
    return Definition(f"log_range_{window}", pl.col(f"highest_{window}") - pl.col(f"lowest_{window}"))


CANDLES = (
    Definition("candle_range", _log_high - _log_low),
    Definition("candle_body", _log_close - _log_open),
    Definition("upper_wick", _log_high - pl.max_horizontal(_log_open, _log_close)),
    Definition("lower_wick", pl.min_horizontal(_log_open, _log_close) - _log_low),
    Definition("opening_gap", _log_open - _log_close.shift(1), rows=1),
    *map(_range, (24, 168)),
)


def _average_gap(window: int) -> Definition:
    return Definition(f"average_gap_{window}", _log_close - positive_log(average("close", window)))


def _exponential_gap(span: int) -> Definition:
    gap = _log_close - positive_log(pl.col(f"exponential_close_{span}"))
    return Definition(f"exponential_gap_{span}", if_remembered(gap))


TRENDS = (*map(_average_gap, (6, 24, 72, 168)), *map(_exponential_gap, (12, 26)))


def _high_gap(window: int) -> Definition:
    return Definition(f"high_gap_{window}", _log_close - pl.col(f"highest_{window}"))


def _low_gap(window: int) -> Definition:
    return Definition(f"low_gap_{window}", _log_close - pl.col(f"lowest_{window}"))


def _range_position(window: int) -> Definition:
    """Position of the close in the range of ``window`` bars: 0 at its low, 1 at its high."""
    top, bottom = pl.col(f"highest_{window}"), pl.col(f"lowest_{window}")
    return Definition(f"range_position_{window}", ratio(_log_close - bottom, top - bottom, _FLAT))


EXTREMES = (*map(_high_gap, (24, 168)), *map(_low_gap, (24, 168)), *map(_range_position, (24, 168)))


_band, _band_middle = 2 * pl.col("close_deviation_20"), average("close", 20)
_bands_are_open = _band > _FLAT * _band_middle
_spread = pl.col("typical_spread_14")

OSCILLATORS = (
    Definition("rsi_14", if_remembered(ratio(_mean_gain, _mean_gain + _mean_loss))),
    Definition("macd", if_remembered(ratio(_macd, _close))),
    Definition("macd_signal", if_remembered(ratio(_macd_signal, _close))),
    Definition("macd_histogram", if_remembered(ratio(_macd - _macd_signal, _close))),
    Definition("directional_index_14", if_remembered(pl.col("directional_index"))),
    Definition("adx_14", if_remembered(pl.col("average_directional_index"))),
    Definition("true_range_14", if_remembered(ratio(pl.col("mean_true_range_14"), _close))),
    # Lambert's constant 0.015, the result divided by 100.
    Definition("cci_14", pl.when(_spread > _FLAT * _cci_mean).then((_typical - _cci_mean) / (1.5 * _spread))),
    Definition("bollinger_position_20", pl.when(_bands_are_open).then((_close - _band_middle) / _band)),
    Definition("bollinger_width_20", pl.when(_bands_are_open).then(_band / _band_middle)),
    Definition("stochastic_k_14", pl.col("stochastic_14")),
    Definition("stochastic_d_14", mean(pl.col("stochastic_14"), 3), rows=2),
    Definition("efficiency_24", ratio(average("log_return", 24), average("absolute_return", 24), _FLAT)),
)

FAMILIES = {
    "return": RETURNS,
    "candle": CANDLES,
    "trend": TRENDS,
    "extreme": EXTREMES,
    "oscillator": OSCILLATORS,
}
