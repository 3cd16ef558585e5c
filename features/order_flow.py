"""Order-flow features: volume, trade counts and taker side, relative to the last week.

Sources: Y. Amihud, "Illiquidity and stock returns" (2002); J. Granville for on-balance volume; G. Quong and A. Soudack
for the money flow index.
"""

from __future__ import annotations

from features.algebra import (
    Expression,
    choose,
    column,
    deviation,
    known,
    lag,
    log_ratio,
    logarithm,
    mean,
    ratio,
    root,
    sign,
)
from features.definitions import Definition
from features.price import LOG_CLOSE, LOG_RETURN, SQUARED_RETURN, TYPICAL_PRICE
from features.volatility import same_hour

_WEEK = 168

_volume, _quote_volume, _trades = column("volume"), column("quote_volume"), column("trades")
_taker_buys, _taker_buy_quotes = column("taker_buy_volume"), column("taker_buy_quote_volume")
_signed_volume = 2 * _taker_buys - _volume
_imbalance = ratio(_signed_volume, _volume)
_illiquidity = ratio(abs(LOG_RETURN), _quote_volume)
_directed_volume = sign(LOG_RETURN) * _volume
_money = TYPICAL_PRICE * _volume
_typical_before = lag(TYPICAL_PRICE, 1)
_money_gained = choose(
    known(TYPICAL_PRICE) & known(_typical_before), choose(_typical_before < TYPICAL_PRICE, _money, 0.0)
)


def _relative(name: str, values: Expression, window: int) -> Definition:
    """Logarithm of the mean over ``window`` bars over the week's mean."""
    return Definition(f"{name}_{window}", log_ratio(mean(values, window), mean(values, _WEEK)))


def _share_of_volume(name: str, values: Expression, window: int) -> Definition:
    return Definition(f"{name}_{window}", ratio(mean(values, window), mean(_volume, window)))


def _trade_size(window: int) -> Definition:
    """Logarithm of the quote volume per trade, less the week's."""
    recent = log_ratio(mean(_quote_volume, window), mean(_trades, window))
    week = log_ratio(mean(_quote_volume, _WEEK), mean(_trades, _WEEK))
    return Definition(f"trade_size_{window}", recent - week)


VOLUME = (
    *(_relative("volume", _volume, window) for window in (1, 6, 24)),
    # Mean volume of the coming hour (on hourly bars) over the last seven days, relative to the week's.
    Definition("volume_same_hour_7", log_ratio(same_hour(_volume, 7), mean(_volume, _WEEK))),
    Definition("volume_deviation_24", deviation(logarithm(_volume), 24)),
    # On-balance volume made stationary: the volume of rising bars less that of falling ones.
    *(_share_of_volume("volume_direction", _directed_volume, window) for window in (24, _WEEK)),
    Definition("money_flow_14", ratio(mean(_money_gained, 14), mean(_money, 14))),
)

TRADES = (
    *(_relative("trades", _trades, window) for window in (1, 24)),
    *map(_trade_size, (1, 24)),
)

ILLIQUIDITY = (_relative("illiquidity", _illiquidity, 24),)


def _signed(window: int) -> Definition:
    """Taker buys less taker sells per bar, relative to the week's mean volume."""
    return Definition(f"signed_volume_{window}", ratio(mean(_signed_volume, window), mean(_volume, _WEEK)))


def _taker_price_gap() -> Expression:
    """Log of the average price of taker buys over the average price of all trades."""
    return log_ratio(_taker_buy_quotes, _taker_buys) - log_ratio(_quote_volume, _volume)


def _price_impact() -> Expression:
    """Uncentred correlation of the week's returns with taker imbalance, from -1 to 1."""
    scale = root(mean(SQUARED_RETURN, _WEEK) * mean(_imbalance * _imbalance, _WEEK))
    return ratio(mean(LOG_RETURN * _imbalance, _WEEK), scale, 1e-12)


TAKER = (
    *(_share_of_volume("taker_imbalance", _signed_volume, window) for window in (1, 6, 24, _WEEK)),
    *map(_signed, (1, 6)),
    Definition("taker_price_gap", _taker_price_gap()),
    Definition("price_impact_168", _price_impact()),
)


def _vwap_gap(window: int) -> Definition:
    """Log of the close over the volume-weighted average price of ``window`` bars."""
    return Definition(f"vwap_gap_{window}", LOG_CLOSE - log_ratio(mean(_quote_volume, window), mean(_volume, window)))


VWAP = tuple(map(_vwap_gap, (1, 24, _WEEK)))

FAMILIES = {"volume": VOLUME, "trades": TRADES, "illiquidity": ILLIQUIDITY, "taker": TAKER, "vwap": VWAP}
