"""Past inputs equal those of a live daemon."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.buffer import RECENT_BARS, FeatureBuffer
from features.catalogue import FEATURE_NAMES
from features.market import Bar, Completeness, Instrument
from models.evaluation.inputs import PastInputs, reach_bars
from tests.models.synthetic import HOUR_US, START_US, garch_bars

BARS = garch_bars(900)
SERIES = [("binance", "BTC-USDT"), ("binance", "ETH-USDT")]
NAMES = tuple(name for name in FEATURE_NAMES if "funding" not in name)
SEEN = 880


def close_us(count: int) -> int:
    return START_US + count * HOUR_US


def bar(row: dict[str, object]) -> Bar:
    columns = {name: value for name, value in row.items() if name != "complete"}
    return Bar(
        **columns,  # type: ignore[arg-type]
        interval_us=HOUR_US,
        completeness=Completeness.PROVEN,
        known_at_us=int(str(row["open_time_us"])) + HOUR_US,
    )


@pytest.fixture(scope="module")
def buffer() -> FeatureBuffer:
    """A daemon's buffer: loaded once, then one close after another."""
    buffer = FeatureBuffer([Instrument(*series) for series in SERIES], interval_us=HOUR_US)
    buffer.load(BARS.filter(pl.col("open_time_us") < close_us(SEEN - 5)))
    for count in range(SEEN - 5, SEEN):
        rows = BARS.filter(pl.col("open_time_us") == close_us(count))
        buffer.append([bar(row) for row in rows.iter_rows(named=True)])
    return buffer


@pytest.mark.parametrize("series", SERIES)
def test_an_input_is_what_the_buffer_gave_live(buffer: FeatureBuffer, series: tuple[str, str]) -> None:
    """Closes, variances, mask and features are those of a buffer that received the bars one by one."""
    time_us = close_us(SEEN)
    [given] = PastInputs(BARS, interval_us=HOUR_US, window=48).inputs([(series, time_us)], NAMES)
    live, recent = buffer.window(Instrument(*series), time_us, NAMES), buffer.recent(Instrument(*series), time_us, 721)
    assert given.window is not None
    assert given.window.feature_names == live.feature_names
    np.testing.assert_array_equal(given.window.mask, live.mask)
    assert live.mask.all()
    np.testing.assert_allclose(given.window.values, live.values, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(given.recent.close_time_us, recent.close_time_us)
    np.testing.assert_allclose(given.recent.log_close, recent.log_close, rtol=1e-14)
    np.testing.assert_allclose(given.recent.variance, recent.variance, rtol=1e-9)


def test_an_input_needs_no_more_than_its_reach() -> None:
    """The last ``reach_bars`` bars alone give the same input, so a fold may leave out the rest."""
    bars = garch_bars(1500)
    close = [(SERIES[0], close_us(1500))]
    short = bars.filter(pl.col("open_time_us") >= close_us(1500 - reach_bars(48) - 1))
    [whole], [cut] = (PastInputs(each, interval_us=HOUR_US, window=48).inputs(close, NAMES) for each in (bars, short))
    assert whole.window is not None
    assert cut.window is not None
    np.testing.assert_array_equal(whole.window.mask, cut.window.mask)
    np.testing.assert_allclose(whole.window.values, cut.window.values, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(whole.recent.log_close, cut.recent.log_close)
    assert len(cut.recent.log_close) == RECENT_BARS + 1


def test_only_closes_of_bars_with_a_price_are_listed() -> None:
    """An hour without trades has no forecast to score; hours outside the span are left out."""
    hole = (pl.col("open_time_us") == close_us(850)) & (pl.col("symbol") == "BTC-USDT")
    past = PastInputs(BARS.filter(~hole), interval_us=HOUR_US, window=48)
    closes = past.closes(close_us(850), close_us(853))
    assert closes == [(SERIES[0], close_us(850)), (SERIES[0], close_us(852))] + [
        (SERIES[1], close_us(count)) for count in (850, 851, 852)
    ]


def test_a_time_at_which_no_bar_closes_is_rejected() -> None:
    """Off the grid, before the first bar and after the last."""
    past = PastInputs(BARS, interval_us=HOUR_US, window=48)
    for time_us in (close_us(5) + 1, close_us(0), close_us(901)):
        with pytest.raises(ValueError, match="no bar of binance:BTC-USDT closes"):
            past.inputs([(SERIES[0], time_us)])


def test_a_series_younger_than_a_window_has_none() -> None:
    """The forecaster rejects an input without a window."""
    past = PastInputs(BARS, interval_us=HOUR_US, window=48)
    [young, old] = past.inputs([(SERIES[0], close_us(47)), (SERIES[0], close_us(48))], NAMES)
    assert young.window is None
    assert old.window is not None
