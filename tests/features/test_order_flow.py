"""Volume, trade and taker features against plain arithmetic."""

from __future__ import annotations

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


def last(bars: pl.DataFrame, name: str, window: int) -> np.ndarray:
    return bars[name].to_numpy()[AT - window + 1 : AT + 1].astype(float)


@pytest.mark.parametrize("window", [1, 6, 24, 168])
def test_taker_imbalance_is_the_share_of_buys_less_sells(
    window: int, bars: pl.DataFrame, row: dict[str, float]
) -> None:
    """+1 where every taker bought, -1 where every taker sold."""
    buys, volume = last(bars, "taker_buy_volume", window).sum(), last(bars, "volume", window).sum()
    assert row[f"taker_imbalance_{window}"] == pytest.approx(2 * buys / volume - 1)


def test_volumes_trades_and_sizes_are_against_the_week(bars: pl.DataFrame, row: dict[str, float]) -> None:
    """The logarithm of a day's mean over the week's."""
    volume, trades, quote = ("volume", "trades", "quote_volume")
    for name, feature in ((volume, "volume_24"), (trades, "trades_24")):
        expected = np.log(last(bars, name, 24).mean() / last(bars, name, 168).mean())
        assert row[feature] == pytest.approx(expected)
    size = last(bars, quote, 24).sum() / last(bars, trades, 24).sum()
    week_size = last(bars, quote, 168).sum() / last(bars, trades, 168).sum()
    assert row["trade_size_24"] == pytest.approx(np.log(size / week_size))


def test_vwap_gap_is_to_the_volume_weighted_price(bars: pl.DataFrame, row: dict[str, float]) -> None:
    """The close against the quote volume over the base volume of the window."""
    vwap = last(bars, "quote_volume", 24).sum() / last(bars, "volume", 24).sum()
    assert row["vwap_gap_24"] == pytest.approx(np.log(bars["close"][AT] / vwap))


def test_flow_is_free_of_scale(bars: pl.DataFrame, row: dict[str, float]) -> None:
    """Another unit of the base and quote currency leaves every feature as it is."""
    prices, bases, quotes = (
        ("open", "high", "low", "close"),
        ("volume", "taker_buy_volume"),
        ("quote_volume", "taker_buy_quote_volume"),
    )
    scaled = bars.with_columns(pl.col(prices) * 1e-6, pl.col(bases) * 1e9, pl.col(quotes) * 1e3)
    other = feature_rows(scaled, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"}).row(AT, named=True)
    names = [name for name in row if isinstance(row[name], float)]
    assert [other[name] for name in names] == pytest.approx([row[name] for name in names], rel=1e-9, abs=1e-9)
