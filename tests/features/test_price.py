"""Returns, candles and oscillators against TA-Lib and plain arithmetic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import talib

from features.algebra import WARM_UP_ROWS
from features.table import feature_rows
from tests.features.market_data import HOUR_US, random_walk, scale_of

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return random_walk(("BTC-USDT",), 1500)


@pytest.fixture(scope="module")
def rows(bars: pl.DataFrame) -> pl.DataFrame:
    return feature_rows(bars, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"})


def oracle(name: str, high: Array, low: Array, close: Array, volume: Array) -> Array:
    """TA-Lib's answer, in the unit of the feature ``name``."""
    if name == "rsi_14":
        return talib.RSI(close, 14) / 100
    if name == "adx_14":
        return talib.ADX(high, low, close, 14) / 100
    if name == "directional_index_14":
        plus, minus = talib.PLUS_DI(high, low, close, 14), talib.MINUS_DI(high, low, close, 14)
        return (plus - minus) / (plus + minus)
    if name == "true_range_14":
        return talib.ATR(high, low, close, 14) / close
    if name == "cci_14":
        return talib.CCI(high, low, close, 14) / 100
    if name == "money_flow_14":
        return talib.MFI(high, low, close, volume, 14) / 100
    if name.startswith("stochastic"):
        k, d = talib.STOCHF(high, low, close, 14, 3)
        return (k if name == "stochastic_k_14" else d) / 100
    if name.startswith("macd"):
        lines = dict(zip(("macd", "macd_signal", "macd_histogram"), talib.MACD(close, 12, 26, 9), strict=True))
        return lines[name] / close
    if name.startswith("bollinger"):
        upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
        half = (upper - lower) / 2
        return (close - middle) / half if name == "bollinger_position_20" else half / middle
    if name.startswith("exponential_gap"):
        return np.log(close / talib.EMA(close, int(name.rpartition("_")[2])))
    return np.log(close / talib.SMA(close, int(name.rpartition("_")[2])))


@pytest.mark.parametrize(
    "name",
    [
        "rsi_14",
        "adx_14",
        "directional_index_14",
        "true_range_14",
        "cci_14",
        "money_flow_14",
        "stochastic_k_14",
        "stochastic_d_14",
        "macd",
        "macd_signal",
        "macd_histogram",
        "bollinger_position_20",
        "bollinger_width_20",
        "exponential_gap_12",
        "exponential_gap_26",
        "average_gap_24",
        "average_gap_168",
    ],
)
def test_oscillators_equal_ta_lib_once_warm(name: str, bars: pl.DataFrame, rows: pl.DataFrame) -> None:
    """After 500 rows the feature is TA-Lib's to 1e-8 of its scale."""
    high, low, close, volume = (bars[column].to_numpy() for column in ("high", "low", "close", "volume"))
    expected = oracle(name, high, low, close, volume)[WARM_UP_ROWS:]
    measured = rows[name].to_numpy()[WARM_UP_ROWS:]
    assert np.abs(measured - expected).max() <= 1e-8 * scale_of(rows, name)


def test_returns_and_candles_are_log_ratios(bars: pl.DataFrame, rows: pl.DataFrame) -> None:
    """Returns and the parts of a candle are logarithms of price ratios, and the parts add up to its range."""
    close, high, low = (bars[column].to_numpy() for column in ("close", "high", "low"))
    assert np.allclose(rows["log_return_24"].to_numpy()[24:], np.log(close[24:] / close[:-24]), atol=1e-13)
    assert np.allclose(rows["candle_range"], np.log(high / low), atol=1e-13)
    parts = rows["upper_wick"] + rows["lower_wick"] + rows["candle_body"].abs()
    assert np.allclose(parts, rows["candle_range"], atol=1e-12)
    assert min(rows["upper_wick"].min(), rows["lower_wick"].min()) >= 0  # type: ignore[operator]


def test_extremes_look_back_over_their_window(bars: pl.DataFrame, rows: pl.DataFrame) -> None:
    """The gaps to the extremes of a day are to the highest high and lowest low of the last 24 bars."""
    high, low, close = (bars[column].to_numpy() for column in ("high", "low", "close"))
    at = 700
    assert rows["high_gap_24"][at] == pytest.approx(np.log(close[at] / high[at - 23 : at + 1].max()))
    assert rows["low_gap_24"][at] == pytest.approx(np.log(close[at] / low[at - 23 : at + 1].min()))


def test_a_price_that_never_moves_gives_nulls_and_zeros_only() -> None:
    """Flat prices make oscillators and log variances null; what is defined is 0, nothing is infinite."""
    flat = random_walk(("BTC-USDT",), 600).with_columns(open=100.0, high=100.0, low=100.0, close=100.0)
    last = feature_rows(flat, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"}).row(-1, named=True)
    for name in ("rsi_14", "cci_14", "stochastic_k_14", "bollinger_position_20", "log_garman_klass_1", "beta_168"):
        assert last[name] is None, name
    assert last["log_return_24"] == 0
    assert all(np.isfinite(value) for value in last.values() if isinstance(value, float))
