"""Order-flow features: volume, trade counts and taker side, relative to the last week.

Sources: Y. Amihud, "Illiquidity and stock returns" (2002); J. Granville for on-balance volume; G. Quong and A. Soudack
for the money flow index.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import polars as pl

from features.expressions import (
    Definition,
    Ingredient,
    Scope,
    average,
    averages,
    deviation,
    earlier,
    log_ratio,
    positive_log,
    ratio,
)

_WEEK = 168

_volume, _quote_volume = pl.col("volume"), pl.col("quote_volume")
_taker_buys, _taker_buy_quotes = pl.col("taker_buy_volume"), pl.col("taker_buy_quote_volume")
_return, _log_close, _typical = pl.col("log_return"), pl.col("log_close"), pl.col("typical_price")
_signed_volume, _imbalance, _money = pl.col("signed_volume"), pl.col("taker_imbalance"), pl.col("money")
_rose = _typical > _typical.shift(1)

INGREDIENTS = (
    Ingredient("signed_volume", 2 * _taker_buys - _volume),
    Ingredient("taker_imbalance", ratio(_signed_volume, _volume)),
    Ingredient("illiquidity", ratio(_return.abs(), _quote_volume)),
    Ingredient("money", _typical * _volume),
    Ingredient("money_gained", pl.when(_rose).then(_money).when(~_rose).then(0.0), 1, Scope.SERIES),
    Ingredient("directed_volume", _return.sign() * _volume),
    Ingredient("squared_imbalance", _imbalance * _imbalance),
    Ingredient("impact", _return * _imbalance),
    Ingredient("log_volume", positive_log(_volume)),
    Ingredient("trade_count", pl.col("trades").cast(pl.Float64)),
    Ingredient("same_hour_volume", reduce(add, (earlier("volume", 24 * day - 1) for day in range(1, 8))) / 7, 167),
    *averages("volume", 6, 24, _WEEK),
    *averages("quote_volume", 24, _WEEK),
    *averages("trade_count", 24, _WEEK),
    *averages("illiquidity", 24, _WEEK),
    *averages("signed_volume", 6, 24, _WEEK),
    *averages("directed_volume", 24, _WEEK),
    *averages("squared_imbalance", _WEEK),
    *averages("impact", _WEEK),
    *averages("money", 14),
    *averages("money_gained", 14),
)


def _relative(name: str, column: str, window: int) -> Definition:
    """Logarithm of the mean over ``window`` bars over the week's mean."""
    return Definition(f"{name}_{window}", log_ratio(average(column, window), average(column, _WEEK)))


def _share_of_volume(name: str, column: str, window: int) -> Definition:
    return Definition(f"{name}_{window}", ratio(average(column, window), average("volume", window)))


def _trade_size(window: int) -> Definition:
    """Logarithm of the quote volume per trade, less the week's."""
    recent = log_ratio(average("quote_volume", window), average("trade_count", window))
    week = log_ratio(average("quote_volume", _WEEK), average("trade_count", _WEEK))
    return Definition(f"trade_size_{window}", recent - week)


VOLUME = (
    *(_relative("volume", "volume", window) for window in (1, 6, 24)),
    # Mean volume of the coming hour (on hourly bars) over the last seven days, relative to the week's.
    Definition("volume_same_hour_7", log_ratio(pl.col("same_hour_volume"), average("volume", _WEEK))),
    Definition("volume_deviation_24", deviation(pl.col("log_volume"), 24), rows=23),
    # On-balance volume made stationary: the volume of rising bars less that of falling ones.
    *(_share_of_volume("volume_direction", "directed_volume", window) for window in (24, _WEEK)),
    Definition("money_flow_14", ratio(average("money_gained", 14), average("money", 14))),
)

TRADES = (
    *(_relative("trades", "trade_count", window) for window in (1, 24)),
    *map(_trade_size, (1, 24)),
)

ILLIQUIDITY = (_relative("illiquidity", "illiquidity", 24),)


def _signed(window: int) -> Definition:
    """Taker buys less taker sells per bar, relative to the week's mean volume."""
    share = ratio(average("signed_volume", window), average("volume", _WEEK))
    return Definition(f"signed_volume_{window}", share)


def _taker_price_gap() -> pl.Expr:
    """Log of the average price of taker buys over the average price of all trades."""
    return log_ratio(_taker_buy_quotes, _taker_buys) - log_ratio(_quote_volume, _volume)


def _price_impact() -> pl.Expr:
    """Uncentred correlation of the week's returns with taker imbalance, from -1 to 1."""
    scale = (average("squared_return", _WEEK) * average("squared_imbalance", _WEEK)).sqrt()
    return ratio(average("impact", _WEEK), scale, 1e-12)


TAKER = (
    *(_share_of_volume("taker_imbalance", "signed_volume", window) for window in (1, 6, 24, _WEEK)),
    *map(_signed, (1, 6)),
    Definition("taker_price_gap", _taker_price_gap()),
    Definition("price_impact_168", _price_impact()),
)


def _vwap_gap(window: int) -> Definition:
    """Log of the close over the volume-weighted average price of ``window`` bars."""
    log_price = log_ratio(average("quote_volume", window), average("volume", window))
    return Definition(f"vwap_gap_{window}", _log_close - log_price)


VWAP = tuple(map(_vwap_gap, (1, 24, _WEEK)))

FAMILIES = {"volume": VOLUME, "trades": TRADES, "illiquidity": ILLIQUIDITY, "taker": TAKER, "vwap": VWAP}
