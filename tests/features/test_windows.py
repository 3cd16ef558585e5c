"""Windows and panels: rows with every feature or masked, and nothing from after the cut-off."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.table import feature_rows
from features.windows import LookaheadError, make_window, panel, recent_bars
from tests.features.market_data import HOUR_US, START_US, random_walk

NAMES = ("log_return_1", "log_return_168", "next_hour_sin")
BARS = random_walk(("BTC-USDT", "ETH-USDT"), 200).filter(pl.col("open_time_us") != START_US + 190 * HOUR_US)
ROWS = feature_rows(BARS, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"})
BTC = ROWS.head(200)
LAST_CLOSE_US = START_US + 200 * HOUR_US


def test_a_row_with_any_null_is_masked_and_zero() -> None:
    """The window's mask is False where any feature is null, and its values are 0 there."""
    window = make_window(BTC, close_time_us=LAST_CLOSE_US, length=48, feature_names=NAMES)
    assert window.mask.tolist() == [index >= 168 and index not in (190, 191) for index in range(152, 200)]
    assert not window.values[~window.mask].any()
    assert window.values[-1, 0] == np.float32(BTC["log_return_1"][-1])
    assert window.feature_names == NAMES


def test_a_row_from_after_the_cut_off_is_rejected() -> None:
    """One row too new is a LookaheadError, which is a ValueError."""
    with pytest.raises(LookaheadError, match="newer than the cut-off"):
        make_window(BTC, close_time_us=LAST_CLOSE_US - HOUR_US, length=48, feature_names=NAMES)
    assert issubclass(LookaheadError, ValueError)


@pytest.mark.parametrize(
    ("rows", "length", "close_time_us", "message"),
    [
        (BTC, 201, LAST_CLOSE_US, "only 200"),
        (BTC, 48, LAST_CLOSE_US + HOUR_US, "the window ends at"),
        (BTC.filter(pl.col("open_time_us") != START_US + 195 * HOUR_US), 48, LAST_CLOSE_US, "one interval apart"),
        (ROWS, 250, LAST_CLOSE_US, "one instrument"),
        (BTC.clear(), 48, LAST_CLOSE_US, "newest row closes"),
    ],
    ids=["too few", "too old", "a hole", "two instruments", "none"],
)
def test_rows_that_are_no_window_are_rejected(
    rows: pl.DataFrame, length: int, close_time_us: int, message: str
) -> None:
    """A window must be the last L consecutive rows of one instrument."""
    with pytest.raises(ValueError, match=message):
        make_window(rows, close_time_us=close_time_us, length=length, feature_names=NAMES)


def test_windows_gathered_from_a_panel_are_the_live_windows() -> None:
    """Rows i-L+1 .. i of the panel equal the window that ends with row i."""
    table = panel(ROWS, NAMES)
    assert table.keys == (("binance", "BTC-USDT"), ("binance", "ETH-USDT"))
    assert table.first_row.tolist() == [0, 200]
    assert table.series.tolist() == [0] * 200 + [1] * 200
    end = 390
    live = make_window(ROWS[200 : end + 1], close_time_us=START_US + 191 * HOUR_US, length=48, feature_names=NAMES)
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
