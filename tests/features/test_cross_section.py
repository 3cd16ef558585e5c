"""The leader and the cross-section."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.cross_section import choose_leader, choose_leaders, leaders_in
from features.table import feature_rows
from tests.features.market_data import HOUR_US, random_walk

SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
LEADERS = {"binance": "BTC-USDT"}


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return random_walk(SYMBOLS, 400)


@pytest.fixture(scope="module")
def rows(bars: pl.DataFrame) -> pl.DataFrame:
    return feature_rows(bars, interval_us=HOUR_US, leaders=LEADERS)


def of(rows: pl.DataFrame, symbol: str, feature: str) -> np.ndarray:
    return rows.filter(pl.col("symbol") == symbol)[feature].to_numpy()


def test_the_leader_is_the_first_bitcoin_else_the_first() -> None:
    """A symbol leads by its base; WBTC-USDT is no BTC-USDT."""
    assert choose_leader(["ETH-USDT", "BTC-EUR", "BTC-USDT"]) == "BTC-EUR"
    assert choose_leader(["WBTC-USDT", "ETH-BTC"]) == "WBTC-USDT"
    with pytest.raises(ValueError, match="no leader"):
        choose_leader([])


def test_each_venue_has_a_leader_of_its_own() -> None:
    """Instruments are grouped by venue, in their order."""
    pairs = [("kraken", "ETH-EUR"), ("binance", "ETH-USDT"), ("binance", "BTC-USDT"), ("kraken", "XRP-EUR")]
    assert choose_leaders(pairs) == {"kraken": "ETH-EUR", "binance": "BTC-USDT"}


def test_every_symbol_sees_the_leader_of_its_time(rows: pl.DataFrame) -> None:
    """All rows of one time hold the leader's return of that time."""
    own = of(rows, "BTC-USDT", "log_return_1")
    for symbol in SYMBOLS:
        assert np.array_equal(of(rows, symbol, "leader_return_1"), own, equal_nan=True)
    assert of(rows, "BTC-USDT", "beta_168")[300] == pytest.approx(1)
    assert of(rows, "BTC-USDT", "correlation_24")[300] == pytest.approx(1)


def test_the_cross_section_is_of_one_moment(rows: pl.DataFrame) -> None:
    """Mean, dispersion and breadth are taken over the symbols' returns at one time."""
    returns = np.array([of(rows, symbol, "log_return_1")[300] for symbol in SYMBOLS])
    assert of(rows, "ETH-USDT", "market_return_1")[300] == pytest.approx(returns.mean())
    assert of(rows, "ETH-USDT", "market_dispersion_1")[300] == pytest.approx(returns.std())
    assert of(rows, "ETH-USDT", "market_breadth_1")[300] == pytest.approx((returns > 0).mean())
    assert of(rows, "ETH-USDT", "relative_return_1")[300] == pytest.approx(returns[1] - returns.mean())


def test_beta_and_correlation_are_uncentred_moments(rows: pl.DataFrame) -> None:
    """Beta is the slope through the origin over the window, correlation its normalised form."""
    own, leading = of(rows, "SOL-USDT", "log_return_1")[133:301], of(rows, "BTC-USDT", "log_return_1")[133:301]
    assert of(rows, "SOL-USDT", "beta_168")[300] == pytest.approx((own * leading).sum() / (leading**2).sum())
    scale = np.sqrt((own**2).sum() * (leading**2).sum())
    assert of(rows, "SOL-USDT", "correlation_168")[300] == pytest.approx((own * leading).sum() / scale)


def test_venues_do_not_mix(bars: pl.DataFrame, rows: pl.DataFrame) -> None:
    """A second venue in the frame, with bars of other times, changes nothing on the first."""
    other = random_walk(("BTC-EUR", "XRP-EUR"), 300, seed=3, venue="kraken").with_columns(
        pl.col("open_time_us") + 20 * HOUR_US
    )
    both = feature_rows(pl.concat([other, bars]), interval_us=HOUR_US, leaders={**LEADERS, "kraken": "BTC-EUR"})
    assert both.filter(pl.col("venue") == "binance").equals(rows)


def test_a_leader_that_is_out_leaves_nulls(bars: pl.DataFrame) -> None:
    """Without the leader's bar its return is null on all rows of that time, and the own return is not."""
    at = bars["open_time_us"][300]
    without = bars.filter((pl.col("symbol") != "BTC-USDT") | (pl.col("open_time_us") != at))
    rows = feature_rows(without, interval_us=HOUR_US, leaders=LEADERS)
    assert np.isnan(of(rows, "ETH-USDT", "leader_return_1")[300])
    assert np.isfinite(of(rows, "ETH-USDT", "log_return_1")[300])
    assert np.isfinite(of(rows, "ETH-USDT", "beta_24")[300])


def test_leaders_follow_the_order_of_the_frame() -> None:
    """The first instrument of the frame leads, unless one has base BTC."""
    order = pl.DataFrame({"venue": ["binance"] * 4, "symbol": ["SOL-USDT", "SOL-USDT", "ETH-USDT", "ADA-USDT"]})
    assert leaders_in(order) == {"binance": "SOL-USDT"}
    later = pl.DataFrame({"venue": ["binance"], "symbol": ["BTC-USDT"]})
    assert leaders_in(pl.concat([order, later])) == {"binance": "BTC-USDT"}
