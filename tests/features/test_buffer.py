"""The rolling buffer computes, bar by bar, the same rows as one computation over all bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from features.buffer import FeatureBuffer
from features.catalogue import FEATURE_NAMES
from features.frames import BARS_SCHEMA
from features.market import Bar, Completeness, Instrument
from features.table import KEY_COLUMNS, feature_rows
from tests.features.market_data import HOUR_US, START_US, random_walk, scale_of

BTC, ETH = Instrument("binance", "BTC-USDT"), Instrument("binance", "ETH-USDT")
ROWS = 900
WALK = random_walk((BTC.symbol, ETH.symbol), ROWS)
NAMES = ("log_return_1", "rsi_14", "beta_168", "next_hour_sin")


def bars_of(frame: pl.DataFrame) -> list[Bar]:
    return [
        Bar(
            **{name: row[name] for name in BARS_SCHEMA if name != "complete"},
            interval_us=HOUR_US,
            completeness=Completeness.PROVEN,
            known_at_us=row["open_time_us"] + HOUR_US,
        )
        for row in frame.iter_rows(named=True)
    ]


def hour(frame: pl.DataFrame, index: int) -> list[Bar]:
    """The bars of all symbols of one hour."""
    return bars_of(frame.filter(pl.col("open_time_us") == START_US + index * HOUR_US))


def first_hours(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    return frame.filter(pl.col("open_time_us") < START_US + count * HOUR_US)


def loaded(frame: pl.DataFrame, instruments: Sequence[Instrument] = (BTC, ETH)) -> FeatureBuffer:
    buffer = FeatureBuffer(instruments, interval_us=HOUR_US)
    buffer.load(frame)
    return buffer


def assert_equals_batch(buffer: FeatureBuffer, bars: pl.DataFrame) -> None:
    batch = feature_rows(bars, interval_us=HOUR_US, leaders={"binance": BTC.symbol})
    expected = batch.join(buffer.rows.select(KEY_COLUMNS), on=KEY_COLUMNS, maintain_order="right")
    assert expected.select(KEY_COLUMNS).equals(buffer.rows.select(KEY_COLUMNS))
    for name in FEATURE_NAMES:
        left, right = buffer.rows[name].to_numpy(), expected[name].to_numpy()
        assert np.allclose(left, right, rtol=0, atol=1e-9 * scale_of(batch, name), equal_nan=True), name


def test_streamed_bars_give_the_batch_rows() -> None:
    """After a load and sixty appended closes the rows equal the batch's, and the buffer stays within its capacity."""
    buffer = loaded(first_hours(WALK, 840))
    for index in range(840, ROWS):
        buffer.append(hour(WALK, index))
    assert_equals_batch(buffer, WALK)
    assert buffer.rows.height == 2 * 48
    assert buffer.bars.height == 2 * (720 + 48)


def test_a_buffer_may_start_from_nothing() -> None:
    """Without history, features are null until warm except the calendar's, and no window is complete."""
    buffer = FeatureBuffer([BTC, ETH], interval_us=HOUR_US, window=3)
    for index in range(3):
        buffer.append(hour(WALK, index))
    assert_equals_batch(buffer, first_hours(WALK, 3))
    window = buffer.window(BTC, START_US + 3 * HOUR_US, NAMES)
    assert not window.mask.any()
    assert not window.values.any()
    assert buffer.window(BTC, START_US + 3 * HOUR_US, ["next_hour_sin"]).mask.all()


def test_missed_intervals_become_outage_rows() -> None:
    """Hours between load and the next bar are outage rows, in the bars, the features and the window's mask."""
    buffer = loaded(first_hours(WALK, 840))
    for index in (843, 844):
        buffer.append(hour(WALK, index))
    without = WALK.filter(~pl.col("open_time_us").is_between(START_US + 840 * HOUR_US, START_US + 842 * HOUR_US))
    assert_equals_batch(buffer, first_hours(without, 845))
    window = buffer.window(ETH, START_US + 845 * HOUR_US, ["candle_range"])
    assert window.mask.tolist() == [True] * 43 + [False] * 3 + [True] * 2
    assert not window.values[~window.mask].any()


def test_bars_of_one_close_may_come_in_two_calls() -> None:
    """When a second symbol's bar comes later, the rows of that close are computed again with both."""
    buffer = loaded(first_hours(WALK, 840))
    btc, eth = hour(WALK, 840)
    buffer.append([btc])
    buffer.append([eth])
    assert_equals_batch(buffer, first_hours(WALK, 841))


def test_a_symbol_that_returns_gets_its_missed_rows() -> None:
    """A symbol without bars for two closes gets outage rows for them when its next bar arrives."""
    buffer = loaded(first_hours(WALK, 840))
    for index in (840, 841):
        buffer.append(hour(WALK, index)[:1])
    buffer.append(hour(WALK, 842))
    silent = (pl.col("symbol") == "ETH-USDT") & pl.col("open_time_us").is_between(
        START_US + 840 * HOUR_US, START_US + 841 * HOUR_US
    )
    assert_equals_batch(buffer, first_hours(WALK.filter(~silent), 843))


@pytest.mark.parametrize("age", [0, 1, 30, 60, 300])
def test_a_revision_reaches_every_row_that_reads_it(age: int) -> None:
    """After a revision of the newest or an older bar, the rows equal the batch's over the revised bars."""
    buffer = loaded(first_hours(WALK, 840))
    at_us = START_US + (839 - age) * HOUR_US
    is_revised = (pl.col("open_time_us") == at_us) & (pl.col("symbol") == "BTC-USDT")
    revised = first_hours(WALK, 840).with_columns(
        pl.when(is_revised).then(pl.col("high") * 1.01).otherwise("high").alias("high"),
        pl.when(is_revised).then(pl.col("volume") * 2).otherwise("volume").alias("volume"),
    )
    buffer.revise(bars_of(revised.filter(is_revised))[0])
    assert_equals_batch(buffer, revised)


def test_a_revision_of_a_bar_older_than_the_buffer_changes_nothing() -> None:
    """Such a bar is not added again."""
    buffer = loaded(WALK)
    before = buffer.bars
    buffer.revise(hour(WALK, 0)[0])
    assert buffer.bars is before


def test_a_window_ends_at_its_cut_off() -> None:
    """A window holds the rows up to its close and none newer, even if the buffer holds newer rows."""
    buffer = FeatureBuffer([BTC, ETH], interval_us=HOUR_US, window=4)
    buffer.load(first_hours(WALK, 840))
    window = buffer.window(ETH, START_US + 840 * HOUR_US, NAMES)
    rows = buffer.rows.filter(pl.col("symbol") == "ETH-USDT").select(NAMES).to_numpy()
    assert window.values.shape == (4, len(NAMES))
    assert window.values.dtype == np.float32
    assert np.array_equal(window.values, rows.astype(np.float32))
    with pytest.raises(ValueError, match="only 3"):
        buffer.window(ETH, START_US + 839 * HOUR_US, NAMES)


def test_requests_that_cannot_be_answered_are_rejected() -> None:
    """Unknown features, times and instruments are errors that name them."""
    buffer = loaded(first_hours(WALK, 840), (BTC, ETH, Instrument("binance", "SOL-USDT")))
    close_us = START_US + 840 * HOUR_US
    with pytest.raises(ValueError, match="astrology"):
        buffer.window(BTC, close_us, ["astrology"])
    with pytest.raises(ValueError, match="newest row closes"):
        buffer.window(BTC, close_us + HOUR_US, NAMES)
    with pytest.raises(ValueError, match="SOL-USDT"):
        buffer.window(Instrument("binance", "SOL-USDT"), close_us, NAMES)
    with pytest.raises(ValueError, match="XRP-USDT"):
        buffer.load(random_walk(("XRP-USDT",), 2))
    with pytest.raises(ValueError, match="same time"):
        buffer.append([hour(WALK, 840)[0], hour(WALK, 841)[1]])


def test_recent_bars_are_the_closes_up_to_the_cut_off() -> None:
    """The baselines get closes and variances up to the requested close, NaN in an outage."""
    buffer = loaded(first_hours(WALK, 840))
    buffer.append(hour(WALK, 841))
    recent = buffer.recent(BTC, START_US + 842 * HOUR_US)
    assert len(recent.close_time_us) == 720
    assert recent.close_time_us[-1] == START_US + 842 * HOUR_US
    assert np.isnan(recent.log_close).nonzero()[0].tolist() == [718]
    assert np.isnan(recent.variance).nonzero()[0].tolist() == [718]
    assert recent.log_close[-1] == pytest.approx(np.log(hour(WALK, 841)[0].close))
    assert len(buffer.recent(BTC, START_US + 840 * HOUR_US, count=5).log_close) == 5
    with pytest.raises(ValueError, match="no bar closes"):
        buffer.recent(BTC, START_US + 843 * HOUR_US)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_late_instrument_has_the_features_of_the_batch(ahead: int) -> None:
    """Its bar comes in a later call, also after the next close of the others: its row sees the bars up to its own.

    That holds whether the leader or another symbol is late, and then for the rows of the others at that close too.
    """
    last = 860
    at_close = pl.col("close_time_us") == START_US + (last + 1) * HOUR_US
    expected = loaded(first_hours(WALK, last + 1)).rows.filter(at_close).select(FEATURE_NAMES).to_numpy()
    for late in (BTC, ETH):
        buffer = loaded(first_hours(WALK, last))
        for index in range(last, last + 1 + ahead):
            buffer.append([bar for bar in hour(WALK, index) if bar.instrument != late])
        buffer.append([bar for bar in hour(WALK, last) if bar.instrument == late])
        rows = buffer.rows.filter(at_close).select(FEATURE_NAMES).to_numpy()
        assert np.allclose(rows, expected, rtol=1e-9, atol=1e-9)
