"""Windows and panels: rows with every feature, or masked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.buffer import FeatureBuffer
from features.market import Instrument
from features.table import feature_rows
from features.windows import Window, panel, recent_bars
from tests.features.market_data import HOUR_US, START_US, random_walk

NAMES = ("log_return_1", "log_return_168", "next_hour_sin")
BARS = random_walk(("BTC-USDT", "ETH-USDT"), 200).filter(pl.col("open_time_us") != START_US + 190 * HOUR_US)
ROWS = feature_rows(BARS, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"})
BTC = ROWS.head(200)
LAST_CLOSE_US = START_US + 200 * HOUR_US


def live_window(symbol: str) -> Window:
    """The window of the newest 48 hours that a daemon would have."""
    buffer = FeatureBuffer([Instrument("binance", name) for name in ("BTC-USDT", "ETH-USDT")], interval_us=HOUR_US)
    buffer.load(BARS)
    return buffer.window(Instrument("binance", symbol), LAST_CLOSE_US, NAMES)


def test_a_row_with_any_null_is_masked_and_zero() -> None:
    """The window's mask is False where any feature is null, and its values are 0 there."""
    window = live_window("BTC-USDT")
    assert window.mask.tolist() == [index >= 168 and index not in (190, 191) for index in range(152, 200)]
    assert not window.values[~window.mask].any()
    assert window.values[-1, 0] == np.float32(BTC["log_return_1"][-1])
    assert window.feature_names == NAMES


def test_windows_gathered_from_a_panel_are_the_live_windows() -> None:
    """Rows i-L+1 .. i of the panel equal the window that ends with row i."""
    table = panel(ROWS, NAMES)
    assert table.keys == (("binance", "BTC-USDT"), ("binance", "ETH-USDT"))
    assert table.first_row.tolist() == [0, 200]
    assert table.series.tolist() == [0] * 200 + [1] * 200
    end, live = 399, live_window("ETH-USDT")
    assert np.array_equal(table.values[end - 47 : end + 1], live.values)
    assert np.array_equal(table.mask[end - 47 : end + 1], live.mask)
    assert table.open_time_us[end] + HOUR_US == live.close_time_us
    assert table.values.dtype == np.float32


def test_a_panel_rejects_rows_that_are_out_of_order() -> None:
    """Windows can be gathered by index only if the rows of each series are adjacent and regular."""
    for rows in (ROWS.reverse(), ROWS.sort("open_time_us"), pl.concat([ROWS, BTC]), ROWS[::2][:-1].extend(BTC)):
        with pytest.raises(ValueError, match="adjacent"):
            panel(rows, NAMES)
    with pytest.raises(ValueError, match="astrology"):
        panel(ROWS, ["astrology"])


def test_recent_bars_are_nan_where_nothing_is_known() -> None:
    """Missing closes and variances without a range are NaN, and the grid stays regular."""
    bars = random_walk(("BTC-USDT",), 5).with_columns(
        high=pl.when(pl.col("open_time_us") == START_US).then("close").otherwise("high"),
        low=pl.when(pl.col("open_time_us") == START_US).then("close").otherwise("low"),
        open=pl.when(pl.col("open_time_us") == START_US).then("close").otherwise("open"),
        close=pl.when(pl.col("open_time_us") != START_US + HOUR_US).then("close"),
    )
    recent = recent_bars(bars, close_time_us=START_US + 4 * HOUR_US, interval_us=HOUR_US, count=10)
    assert recent.close_time_us.tolist() == [START_US + hour * HOUR_US for hour in range(1, 5)]
    assert np.isnan(recent.log_close).tolist() == [False, True, False, False]
    assert np.isnan(recent.variance).tolist() == [True, True, False, False]
