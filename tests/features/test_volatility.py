"""Variance estimators against their formulas, written out with numpy."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from features.table import feature_rows
from tests.features.market_data import HOUR_US, random_walk

AT = 700


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return random_walk(("BTC-USDT",), 800)


@pytest.fixture(scope="module")
def row(bars: pl.DataFrame) -> dict[str, float]:
    return feature_rows(bars, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"}).row(AT, named=True)


def logs(bars: pl.DataFrame, window: int) -> list[np.ndarray]:
    """(open, high, low, close) log prices of the ``window`` bars up to AT."""
    return [np.log(bars[name].to_numpy()[AT - window + 1 : AT + 1]) for name in ("open", "high", "low", "close")]


@pytest.mark.parametrize("lag", [1, 6, 24, 168])
def test_garman_klass_at_the_har_lags(lag: int, bars: pl.DataFrame, row: dict[str, float]) -> None:
    """Garman-Klass: 0.5 (h-l)^2 - (2 ln 2 - 1) (c-o)^2, averaged over the lag."""
    o, h, low, c = logs(bars, lag)
    variance = (0.5 * (h - low) ** 2 - (2 * math.log(2) - 1) * (c - o) ** 2).mean()
    assert row[f"log_garman_klass_{lag}"] == pytest.approx(math.log(variance), abs=1e-10)


def test_parkinson_and_rogers_satchell(bars: pl.DataFrame, row: dict[str, float]) -> None:
    """Parkinson: (h-l)^2 / 4 ln 2. Rogers-Satchell: (h-c)(h-o) + (l-c)(l-o)."""
    o, h, low, c = logs(bars, 24)
    parkinson = ((h - low) ** 2 / (4 * math.log(2))).mean()
    rogers_satchell = ((h - c) * (h - o) + (low - c) * (low - o)).mean()
    assert row["log_parkinson_24"] == pytest.approx(math.log(parkinson), abs=1e-10)
    assert row["log_rogers_satchell_24"] == pytest.approx(math.log(rogers_satchell), abs=1e-10)


def test_the_shape_of_a_week_of_returns(bars: pl.DataFrame, row: dict[str, float]) -> None:
    """Semivariance, bipower share, skewness and kurtosis are those of the last 168 returns."""
    closes = np.log(bars["close"].to_numpy()[AT - 169 : AT + 1])
    returns, before = np.diff(closes)[1:], np.diff(closes)[:-1]
    variance = (returns**2).mean()
    assert row["downside_share_168"] == pytest.approx((returns[returns < 0] ** 2).sum() / (returns**2).sum())
    assert row["continuous_share_168"] == pytest.approx(math.pi / 2 * np.abs(returns * before).mean() / variance)
    assert row["realized_skewness_168"] == pytest.approx((returns**3).mean() / variance**1.5)
    assert row["realized_kurtosis_168"] == pytest.approx((returns**4).mean() / variance**2)


def test_the_season_is_that_of_the_next_bar(bars: pl.DataFrame, row: dict[str, float]) -> None:
    """The lag of 23 bars is the bar one day before the next one, and the same hour's mean is over seven of these."""
    rows = feature_rows(bars, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"})
    level = rows["log_garman_klass_1"]
    assert row["log_garman_klass_lag_23"] == level[AT - 23]
    expected = sum(level[AT + 1 - 24 * day] for day in range(1, 8)) / 7
    assert row["log_garman_klass_same_hour_7"] == pytest.approx(expected)
