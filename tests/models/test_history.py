"""Grids, trailing means and labels from bars."""

import numpy as np
import polars as pl
import pytest

from features.frames import BARS_SCHEMA
from features.labels import label_rows
from models.baselines.har import Har
from models.history import (
    future_returns,
    future_variances,
    last_known,
    regular_histories,
    shortfall,
    trailing_mean,
    until,
)
from tests.models.synthetic import HOUR_US, START_US, garch_bars


def test_a_missing_bar_is_nan_on_the_grid() -> None:
    """The grid is regular; bars absent from the frame are NaN."""
    bars = garch_bars(10, ("BTC-USDT",))
    history = regular_histories(bars.filter(bars["open_time_us"] != START_US + 4 * HOUR_US), interval_us=HOUR_US)
    recent = history["binance", "BTC-USDT"]
    assert len(recent.close_time_us) == 10
    assert np.isnan(recent.log_close[4])
    assert np.isnan(recent.variance[4])
    assert np.isfinite(np.delete(recent.log_close, 4)).all()


def test_trailing_mean_needs_enough_known_values() -> None:
    """NaN values are left out, and too few of them give NaN."""
    values = np.array([1.0, np.nan, 3.0, np.nan, np.nan])
    np.testing.assert_allclose(trailing_mean(values, 3, least=2), [np.nan, np.nan, 2.0, np.nan, np.nan])


def test_last_known_reaches_back_only_so_far() -> None:
    """A value is carried for ``reach`` steps, then it is unknown again."""
    np.testing.assert_allclose(last_known(np.array([7.0, np.nan, np.nan]), reach=1), [7.0, 7.0, np.nan])


def test_labels_look_forward_by_the_horizon_and_end_with_the_data() -> None:
    """A label is the sum over the next bars, unknown where they have not happened."""
    np.testing.assert_allclose(future_returns(np.array([0.0, 1.0, 3.0]), 2), [3.0, np.nan, np.nan])
    np.testing.assert_allclose(future_variances(np.array([9.0, 1.0, np.nan]), 2), [2.0, np.nan, np.nan])


def test_until_keeps_only_bars_that_had_closed() -> None:
    """A bar that closes after the instant is left out."""
    recent = regular_histories(garch_bars(5, ("BTC-USDT",)), interval_us=HOUR_US)["binance", "BTC-USDT"]
    assert len(until(recent, START_US + 3 * HOUR_US).close_time_us) == 3
    assert len(until(recent, START_US + 3 * HOUR_US - 1).close_time_us) == 2


def test_har_learns_from_the_same_returns_as_the_networks() -> None:
    """The labels of the baselines equal those of ``features.labels``."""
    bars = garch_bars(60, ("BTC-USDT",))
    [recent] = regular_histories(bars, interval_us=HOUR_US).values()
    labels = label_rows(bars, interval_us=HOUR_US, horizons=(1, 6))
    for horizon in (1, 6):
        expected = labels[f"log_return_{horizon}"].fill_null(np.nan).to_numpy()
        np.testing.assert_allclose(future_returns(recent.log_close, horizon), expected, rtol=1e-9)
        variance = labels[f"log_variance_{horizon}"].fill_null(np.nan).to_numpy()
        np.testing.assert_allclose(np.log(future_variances(recent.variance, horizon)), variance, rtol=1e-9)


def _bars_of(closes: list[float | None]) -> pl.DataFrame:
    """Hourly bars without a range."""
    rows = pl.DataFrame({"close": closes}, schema={"close": pl.Float64})
    return rows.with_columns(
        venue=pl.lit("binance"),
        symbol=pl.lit("DAI-USDT"),
        open_time_us=pl.int_range(pl.len()) * 3_600_000_000,
        complete=pl.lit(value=True),
        volume=pl.lit(1.0),
        **{name: pl.col("close") for name in ("open", "high", "low")},
        **{
            name: pl.lit(None, BARS_SCHEMA[name])
            for name in ("quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
        },
    ).select(*BARS_SCHEMA)


@pytest.mark.parametrize(
    ("closes", "says"),
    [
        ([1.0] * 600, "the price of binance:DAI-USDT never moves in any of its 600 bars"),
        ([1.0] * 590 + [1.1] * 10, "the price of binance:DAI-USDT moves in only 1 of its 600 bars"),
        ([1.0, 1.1] * 300, "no series has them"),
        ([None] * 600, "no series has them"),
    ],
)
def test_a_price_that_does_not_move_is_named(closes: list[float | None], says: str) -> None:
    """It is the reason why a baseline finds no variance; fits say so."""
    bars = _bars_of(closes)
    assert shortfall(regular_histories(bars, interval_us=3_600_000_000)) == says
    if len(set(closes)) == 1:
        with pytest.raises(ValueError, match=says):
            Har.fit(bars, interval_us=3_600_000_000, horizons=[1], levels=[0.5])
