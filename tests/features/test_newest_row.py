"""The newest rows that a live buffer computes with NumPy equal the table that Polars computes over all bars."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.buffer import FeatureBuffer
from features.catalogue import FEATURE_NAMES
from features.frames import BARS_SCHEMA
from features.market import Bar, Completeness, Instrument
from features.table import KEY_COLUMNS, feature_rows
from tests.features.market_data import HOUR_US, random_walk, real_hours, scale_of
from tests.paths import ROOT

SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
INSTRUMENTS = [Instrument("binance", symbol) for symbol in SYMBOLS]
LEADERS = {"binance": "BTC-USDT"}
PRICES = ["open", "high", "low", "close"]
WARM = 790  # hours before the first close that is streamed
STREAMED = 6


def sample_hours(rows: int) -> pl.DataFrame:
    """The newest hours of the demo's sample."""
    sample = pl.read_parquet(ROOT / "daemon" / "simulator" / "sample" / "binance_spot_1h.parquet")
    renamed = sample.with_columns(
        venue=pl.lit("binance"),
        symbol=pl.col("symbol").str.replace("USDT", "-USDT"),
        open_time_us=pl.col("open_time").dt.epoch("us"),
        complete=pl.lit(value=True),
    )
    bars = renamed.select(pl.col(name).cast(dtype) for name, dtype in BARS_SCHEMA.items())
    return (
        bars.filter(pl.col("symbol").is_in(SYMBOLS))
        .sort("open_time_us")
        .group_by("symbol", maintain_order=True)
        .tail(rows)
    )


def with_faults(bars: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Takes hours out of all series and single bars out of each, empties, flattens and repeats bars; lists one late."""
    random = np.random.default_rng(seed)
    times = bars["open_time_us"].unique().sort()
    outage = times.sample(int(random.integers(0, 30)), seed=seed)
    start = int(random.integers(0, len(times) - 5))
    listed_us = times[int(random.integers(1, len(times) - 1))] if random.random() < 0.5 else 0
    mark = pl.Series(random.random(bars.height))
    kept = bars.filter(
        ~pl.col("open_time_us").is_in(outage.implode())
        & ~pl.col("open_time_us").is_in(times[start : start + int(random.integers(0, 5))].implode())
        & (mark > 0.01)
        & ((pl.col("symbol") != "SOL-USDT") | (pl.col("open_time_us") >= listed_us))
    )
    mark = pl.Series(random.random(kept.height))
    volumes = ["volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"]
    return kept.with_columns(
        pl.when(mark >= 0.02).then(pl.col(PRICES)),
        pl.when(mark >= 0.02).then(pl.col(volumes)).otherwise(0.0).name.keep(),
    ).with_columns(
        pl.when((mark < 0.05) & (mark > 0.02)).then(pl.col("close")).otherwise(pl.col(name)).alias(name)
        for name in PRICES
    )


def bars_of(frame: pl.DataFrame) -> list[Bar]:
    return [
        Bar(
            **{name: value for name, value in row.items() if name != "complete"},
            interval_us=HOUR_US,
            completeness=Completeness.PROVEN,
            known_at_us=row["open_time_us"] + HOUR_US,
        )
        for row in frame.iter_rows(named=True)
    ]


def streamed(bars: pl.DataFrame, loaded_us: int, seed: int) -> FeatureBuffer:
    """A buffer that loads bars up to a time and is given the others one close after another, some late or revised."""
    random = np.random.default_rng(seed)
    buffer = FeatureBuffer(INSTRUMENTS, interval_us=HOUR_US)
    buffer.load(bars.filter(pl.col("open_time_us") < loaded_us))
    for (_,), close in bars.filter(pl.col("open_time_us") >= loaded_us).group_by("open_time_us", maintain_order=True):
        given = bars_of(close.sort("symbol"))
        split = int(random.integers(0, len(given) + 1))
        before = close.with_columns(pl.col(PRICES) * 1.01, pl.col("volume") * 3)
        for part in (bars_of(before.sort("symbol"))[split:], given[:split]):
            if part:
                buffer.append(part)
        if late := given[split:]:
            buffer.revise(*late)
    return buffer


def assert_equals_table(buffer: FeatureBuffer, bars: pl.DataFrame) -> None:
    table = feature_rows(bars, interval_us=HOUR_US, leaders=LEADERS)
    rows = buffer.rows
    expected = table.join(rows.select(KEY_COLUMNS), on=KEY_COLUMNS, maintain_order="right")
    newest_us = table["open_time_us"].max()
    assert rows.height == table.filter(pl.col("open_time_us") > newest_us - 48 * HOUR_US).height  # type: ignore[operator]
    assert expected.height == rows.height
    for name in FEATURE_NAMES:
        left, right = rows[name].to_numpy(), expected[name].to_numpy()
        assert np.array_equal(np.isnan(left), np.isnan(right)), f"{name} is null in one and not in the other"
        assert np.allclose(left, right, rtol=0, atol=1e-9 * scale_of(table, name), equal_nan=True), name


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), start=st.integers(0, 300))
def test_streamed_rows_equal_the_table_on_walks_with_faults(seed: int, start: int) -> None:
    """Outages, holes, a late listing, ties, empty bars, late bars and revisions, wherever the buffer starts."""
    bars = with_faults(random_walk(SYMBOLS, start + WARM + STREAMED, seed=seed % 50), seed)
    first_us = bars["open_time_us"].min() + start * HOUR_US  # type: ignore[operator]
    times = bars["open_time_us"].unique().sort()
    kept = bars.filter(pl.col("open_time_us") >= first_us)
    assert_equals_table(streamed(kept, times[-STREAMED], seed), kept)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), offset=st.integers(0, 40_000))
def test_streamed_rows_equal_the_table_on_real_hours(seed: int, offset: int) -> None:
    """The same on real hours of three symbols, whole and with faults."""
    hours = real_hours("BTCUSDT", "ETHUSDT", "SOLUSDT", rows=42_000)
    times = hours["open_time_us"].unique().sort()
    stretch = hours.filter(pl.col("open_time_us").is_between(times[offset], times[offset + WARM + STREAMED]))
    for bars in (stretch, with_faults(stretch, seed)):
        ends = bars["open_time_us"].unique().sort()
        assert_equals_table(streamed(bars, ends[-STREAMED], seed), bars)


def test_streamed_rows_equal_the_table_on_the_demo_s_sample() -> None:
    """The sample that every installation has."""
    bars = sample_hours(WARM + STREAMED)
    times = bars["open_time_us"].unique().sort()
    assert bars["symbol"].n_unique() == 3
    assert_equals_table(streamed(bars, times[-STREAMED], 1), bars)


def test_long_streams_move_the_arrays() -> None:
    """A hundred and fifty closes after a short load, with a series that falls silent and returns."""
    walk = random_walk(SYMBOLS, 950)
    times = walk["open_time_us"].unique().sort()
    silent = (pl.col("symbol") == "ETH-USDT") & pl.col("open_time_us").is_between(times[830], times[900])
    bars = walk.filter(~silent)
    buffer = FeatureBuffer(INSTRUMENTS, interval_us=HOUR_US)
    buffer.load(bars.filter(pl.col("open_time_us") < times[800]))
    for time_us in times[800:]:
        buffer.append(bars_of(bars.filter(pl.col("open_time_us") == time_us)))
    table = feature_rows(bars, interval_us=HOUR_US, leaders=LEADERS)
    expected = table.join(buffer.rows.select(KEY_COLUMNS), on=KEY_COLUMNS, maintain_order="right")
    assert buffer.rows.height == expected.height == 48 * 3
    for name in FEATURE_NAMES:
        left, right = buffer.rows[name].to_numpy(), expected[name].to_numpy()
        assert np.allclose(left, right, rtol=0, atol=1e-9 * scale_of(table, name), equal_nan=True), name


@pytest.mark.parametrize("gap", [40, 60, 900])
def test_a_long_outage_of_everything_is_bridged(gap: int) -> None:
    """After fewer hours than a window, more, or more than the buffer holds, rows equal the table."""
    walk = random_walk(SYMBOLS, 800 + gap + 3)
    times = walk["open_time_us"].unique().sort()
    bars = walk.filter((pl.col("open_time_us") < times[800]) | (pl.col("open_time_us") >= times[800 + gap]))
    buffer = FeatureBuffer(INSTRUMENTS, interval_us=HOUR_US)
    buffer.load(bars.filter(pl.col("open_time_us") < times[800]))
    for time_us in times[800 + gap :]:
        buffer.append(bars_of(bars.filter(pl.col("open_time_us") == time_us)))
    assert_equals_table(buffer, bars)
