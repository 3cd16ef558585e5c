"""Bars as a frame: conversion from records, and the regular grid."""

from __future__ import annotations

import subprocess
import sys

import polars as pl
import pytest

from features.frames import BARS_SCHEMA, bars_frame, newest_rows, regular_bars
from features.market import Bar, Completeness
from tests.features.market_data import HOUR_US, START_US, random_walk


def bar(**changes: object) -> Bar:
    fields: dict[str, object] = {
        "venue": "binance",
        "symbol": "BTC-USDT",
        "interval_us": HOUR_US,
        "open_time_us": START_US,
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 5.0,
        "quote_volume": 52.0,
        "trades": 7,
        "taker_buy_volume": 2.0,
        "taker_buy_quote_volume": 21.0,
        "completeness": Completeness.PROVEN,
        "known_at_us": START_US + HOUR_US,
    }
    return Bar(**{**fields, **changes})  # type: ignore[arg-type]


def test_bars_frame_keeps_every_value_and_every_unknown() -> None:
    """A bar becomes one row of the schema, with null where the bar has None."""
    frame = bars_frame([bar(), bar(trades=None, open_time_us=START_US + HOUR_US)])
    assert frame.schema == pl.Schema(BARS_SCHEMA)
    assert frame.row(0) == ("binance", "BTC-USDT", START_US, 10.0, 12.0, 9.0, 11.0, 5.0, 52.0, 7, 2.0, 21.0, True)
    assert frame["trades"].to_list() == [7, None]


@pytest.mark.parametrize(
    ("changes", "complete"),
    [
        ({"completeness": Completeness.UNPROVEN}, True),
        ({"completeness": Completeness.UNPROVEN, "missing_trades": 2}, False),
        ({"completeness": Completeness.GAP, "missing_trades": 1}, False),
        ({"completeness": Completeness.VENUE_CANDLE}, True),
    ],
)
def test_complete_is_false_where_trades_are_missing(changes: dict[str, object], complete: bool) -> None:
    """Only known losses make a bar incomplete; the absence of a proof does not."""
    assert bars_frame([bar(**changes)])["complete"].item() is complete


def test_no_bars_make_an_empty_frame() -> None:
    """The frame of no bars has the schema and can be made regular."""
    assert regular_bars(bars_frame([]), HOUR_US).schema == pl.Schema(BARS_SCHEMA)


def test_missing_intervals_become_outage_rows() -> None:
    """Every interval between a symbol's first and last bar has a row; those without a bar are null and incomplete."""
    bars = random_walk(("BTC-USDT", "ETH-USDT"), 10)
    hole = bars.filter(~((pl.col("symbol") == "BTC-USDT") & pl.col("open_time_us").is_in([START_US + 3 * HOUR_US])))
    regular = regular_bars(hole, HOUR_US)
    assert regular.height == 20
    outage = regular.row(3, named=True)
    assert outage.pop("complete") is False
    assert {name for name, value in outage.items() if value is not None} == {"venue", "symbol", "open_time_us"}


def test_order_and_repetition_do_not_matter() -> None:
    """Shuffled and repeated bars give the same regular frame; of two rows of one bar the later stands."""
    bars = random_walk(("BTC-USDT", "ETH-USDT"), 30)
    older = bars.sample(10, seed=1).with_columns(close=pl.lit(1.0))
    shuffled = pl.concat([older, bars.sample(fraction=1, shuffle=True, seed=2)])
    assert regular_bars(shuffled, HOUR_US).equals(bars)


def test_one_symbol_on_two_venues_is_two_series() -> None:
    """The grid goes by venue and symbol together."""
    later = random_walk(("BTC-USDT",), 3, venue="kraken").with_columns(pl.col("open_time_us") + 100 * HOUR_US)
    regular = regular_bars(pl.concat([random_walk(("BTC-USDT",), 3), later]), HOUR_US)
    assert regular.height == 6


def test_a_bar_without_volume_holds_no_price() -> None:
    """A candle that repeats the last close over an hour without trades is an empty bar."""
    bars = random_walk(("BTC-USDT",), 5).with_columns(
        volume=pl.when(pl.col("open_time_us") > START_US).then("volume").otherwise(0.0)
    )
    assert regular_bars(bars, HOUR_US)["close"].is_null().to_list() == [True, False, False, False, False]


def test_nan_is_null() -> None:
    """NaN in a source is an unknown value, as null is."""
    bars = random_walk(("BTC-USDT",), 3).with_columns(taker_buy_volume=pl.lit(float("nan")))
    assert regular_bars(bars, HOUR_US)["taker_buy_volume"].null_count() == 3


def test_bars_off_the_grid_are_rejected() -> None:
    """A bar that does not open on a multiple of the interval is an error, not a row."""
    bars = random_walk(("BTC-USDT",), 3).with_columns(pl.col("open_time_us") + 1)
    with pytest.raises(ValueError, match="multiple of"):
        regular_bars(bars, HOUR_US)


def test_missing_columns_are_named() -> None:
    """A frame without a column of the schema is refused by that column's name."""
    with pytest.raises(ValueError, match="taker_buy_volume"):
        regular_bars(random_walk(("BTC-USDT",), 3).drop("taker_buy_volume"), HOUR_US)


def test_newest_rows_cuts_all_symbols_at_one_time() -> None:
    """A symbol that stopped early has fewer rows among the newest, not older ones."""
    bars = random_walk(("BTC-USDT", "ETH-USDT"), 10)
    stopped = bars.filter((pl.col("symbol") == "BTC-USDT") | (pl.col("open_time_us") < START_US + 8 * HOUR_US))
    assert newest_rows(stopped, 3, HOUR_US).group_by("symbol").len().sort("symbol")["len"].to_list() == [3, 1]


def test_training_needs_no_msgspec() -> None:
    """Tables, labels, windows and scaling import where msgspec is absent."""
    script = (
        "import sys; sys.modules['msgspec'] = None\n"
        "import features.table, features.labels, features.windows, features.scaling, features.catalogue\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
