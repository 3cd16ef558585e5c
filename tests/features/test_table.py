"""The feature table: the same values from any start, up to any end, and with any other symbols in the frame."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.algebra import WARM_UP_ROWS
from features.catalogue import FEATURE_NAMES, FEATURES
from features.table import KEY_COLUMNS, feature_rows
from tests.features.market_data import HOUR_US, START_US, random_walk, real_hours, scale_of

SYMBOLS = ("BTC-USDT", "ETH-USDT")
LEADERS = {"binance": "BTC-USDT"}


def rows_of(bars: pl.DataFrame, last_rows: int | None = None) -> pl.DataFrame:
    return feature_rows(bars, interval_us=HOUR_US, leaders=LEADERS, last_rows=last_rows)


def with_faults(bars: pl.DataFrame) -> pl.DataFrame:
    """Removes three hours as an outage and empties every 41st bar."""
    hours = (pl.col("open_time_us") - START_US) // HOUR_US
    empty = hours % 41 == 0
    prices, volumes = ["open", "high", "low", "close"], ["volume", "quote_volume", "taker_buy_volume"]
    return bars.filter(~hours.is_between(650, 652)).with_columns(
        pl.when(~empty).then(pl.col(prices)), pl.when(empty).then(0.0).otherwise(pl.col(volumes)).name.keep()
    )


WALK = random_walk(SYMBOLS, 1400)
FAULTY = with_faults(WALK)
WALK_ROWS = rows_of(WALK)
FAULTY_ROWS = rows_of(FAULTY)


def largest_difference(measured: pl.DataFrame, expected: pl.DataFrame, names: tuple[str, ...] = FEATURE_NAMES) -> float:
    """The largest difference in units of the feature's scale; where one is null, the other must be."""
    worst = 0.0
    for name in names:
        left, right = measured[name].to_numpy(), expected[name].to_numpy()
        assert np.array_equal(np.isnan(left), np.isnan(right)), f"{name} is null in one and not in the other"
        difference = np.abs(left - right)
        if not np.isnan(difference).all():
            worst = max(worst, float(np.nanmax(difference)) / scale_of(expected, name))
    return worst


def test_columns_are_keys_then_the_catalogue() -> None:
    """The table holds the keys and every feature as Float64, sorted by symbol and time."""
    assert WALK_ROWS.columns == [*KEY_COLUMNS, *FEATURE_NAMES]
    assert set(WALK_ROWS.select(FEATURE_NAMES).dtypes) == {pl.Float64}
    assert WALK_ROWS.select("symbol", "open_time_us").equals(WALK.select("symbol", "open_time_us"))
    assert (WALK_ROWS["close_time_us"] - WALK_ROWS["open_time_us"]).unique().to_list() == [HOUR_US]


def test_every_feature_has_values_and_none_is_infinite() -> None:
    """On a whole market all features exist once warm; nowhere is there a NaN or an infinity."""
    for rows in (WALK_ROWS, FAULTY_ROWS):
        finite = rows.select(pl.col(FEATURE_NAMES).is_finite().all())
        assert all(finite.row(0))
    warm = WALK_ROWS.filter(pl.col("open_time_us") >= START_US + WARM_UP_ROWS * HOUR_US)
    assert sum(warm.select(FEATURE_NAMES).null_count().row(0)) == 0


@pytest.mark.parametrize("bars", [WALK, FAULTY], ids=["whole", "with outage and empty bars"])
@settings(max_examples=12, deadline=None)
@given(start=st.integers(0, 700), count=st.integers(WARM_UP_ROWS + 1, 700), last_rows=st.sampled_from([1, 2, 48]))
def test_streamed_rows_equal_batch_rows_wherever_the_buffer_starts(
    bars: pl.DataFrame, start: int, count: int, last_rows: int
) -> None:
    """The newest rows of any stretch of warm-up length are the batch's, to 1e-9 of the feature's scale."""
    last_rows = min(last_rows, count - WARM_UP_ROWS)
    first_us = START_US + start * HOUR_US
    end_us = first_us + count * HOUR_US
    stretch = bars.filter((pl.col("open_time_us") >= first_us) & (pl.col("open_time_us") < end_us))
    assume(stretch["open_time_us"].min() == first_us)  # an outage at its start makes the stretch shorter than warm-up
    assume(stretch["open_time_us"].max() == end_us - HOUR_US)
    streamed = rows_of(stretch, last_rows)
    batch = WALK_ROWS if bars is WALK else FAULTY_ROWS
    expected = batch.join(streamed.select(KEY_COLUMNS), on=KEY_COLUMNS, maintain_order="right")
    assert expected.height == streamed.height > 0
    assert largest_difference(streamed, expected) <= 1e-9


def test_each_feature_needs_no_more_than_its_declared_memory() -> None:
    """A frame of memory + 1 rows gives the same value as years of rows, and one row fewer gives null."""
    for memory in sorted({feature.memory_rows for feature in FEATURES}):
        names = tuple(feature.name for feature in FEATURES if feature.memory_rows == memory)
        for end in (1200, 1400):
            newest_us = START_US + (end - 1) * HOUR_US
            known = FAULTY.filter(pl.col("open_time_us") <= newest_us)
            expected = FAULTY_ROWS.filter(pl.col("open_time_us") == newest_us)
            measured = rows_of(known.filter(pl.col("open_time_us") >= newest_us - memory * HOUR_US)).filter(
                pl.col("open_time_us") == newest_us
            )
            worst = max(
                np.abs((measured[name] - expected[name]).fill_null(0.0).to_numpy()).max() / scale_of(FAULTY_ROWS, name)
                for name in names
            )
            assert worst <= (1e-12 if memory < WARM_UP_ROWS else 1e-10), (memory, names)
            assert measured.select(names).null_count().equals(expected.select(names).null_count())
            if memory:
                short = rows_of(known.filter(pl.col("open_time_us") > newest_us - memory * HOUR_US))
                last = short.filter(pl.col("open_time_us") == newest_us)
                assert sum(last.select(names).null_count().row(0)) == last.height * len(names)


@settings(max_examples=10, deadline=None)
@given(end=st.integers(1, 1399))
def test_the_future_never_changes_the_past(end: int) -> None:
    """Features on truncated bars, and before altered later bars, are bit for bit the same."""
    cut_us = START_US + end * HOUR_US
    expected = FAULTY_ROWS.filter(pl.col("open_time_us") < cut_us)
    past = pl.col("open_time_us") < cut_us
    truncated = FAULTY.filter(past)
    last_known = truncated["open_time_us"].max()
    expected = expected.filter(pl.col("open_time_us") <= last_known)
    assert rows_of(truncated).equals(expected)
    prices, volumes = ["open", "high", "low", "close"], ["volume", "quote_volume", "taker_buy_volume"]
    poisoned = FAULTY.with_columns(
        pl.when(past).then(pl.col(prices)).otherwise(pl.lit(1e9)).name.keep(),
        pl.when(past).then(pl.col(volumes)).otherwise(pl.lit(1e-9)).name.keep(),
    )
    assert rows_of(poisoned).filter(pl.col("open_time_us") <= last_known).equals(expected)


def test_other_symbols_reach_a_row_only_through_the_cross_section() -> None:
    """Bars of another symbol change no feature outside the cross-section, to the last bit."""
    wild = WALK.with_columns(
        pl.when(pl.col("symbol") == "ETH-USDT").then(pl.col(name) * 1e6).otherwise(pl.col(name))
        for name in ("open", "high", "low", "close", "volume", "quote_volume")
    )
    own = [feature.name for feature in FEATURES if feature.family != "cross_section"]
    assert rows_of(wild).head(1400).select(own).equals(WALK_ROWS.head(1400).select(own))
    alone = rows_of(WALK.filter(pl.col("symbol") == "BTC-USDT"))
    assert alone.select(own).equals(WALK_ROWS.head(1400).select(own))


def test_the_order_of_bars_does_not_matter() -> None:
    """Shuffled bars give the same table."""
    assert rows_of(FAULTY.sample(fraction=1, shuffle=True, seed=5)).equals(FAULTY_ROWS)


@pytest.mark.parametrize("last_rows", [1, 3, 48])
def test_the_newest_rows_are_the_end_of_the_table(last_rows: int) -> None:
    """Computing only the newest rows gives the same values."""
    newest = rows_of(FAULTY, last_rows)
    expected = FAULTY_ROWS.join(newest.select(KEY_COLUMNS), on=KEY_COLUMNS, maintain_order="right")
    assert newest.height == 2 * last_rows
    assert_frame_equal(newest, expected, rel_tol=1e-9, abs_tol=1e-12)


def test_a_young_symbol_has_nulls_until_its_memory_is_there() -> None:
    """With fewer bars than a feature's memory it is null, in the batch and at the newest row alike."""
    young = WALK.head(100)
    for rows in (rows_of(young), rows_of(young, last_rows=5)):
        assert rows["log_return_48"][-1] is not None
        assert rows["rsi_14"].null_count() == rows["log_return_168"].null_count() == rows.height
    assert_frame_equal(rows_of(young, last_rows=5), rows_of(young).tail(5), rel_tol=1e-9, abs_tol=1e-12)


def test_memory_is_counted_from_a_symbol_s_own_first_bar() -> None:
    """A symbol that was listed later is null until its own rows are enough, however old its neighbours are."""
    listed_us = START_US + 700 * HOUR_US
    later = WALK.filter((pl.col("symbol") == "BTC-USDT") | (pl.col("open_time_us") >= listed_us))
    for rows in (rows_of(later), rows_of(later, last_rows=690)):
        eth = rows.filter(pl.col("symbol") == "ETH-USDT").tail(690)
        first = eth["open_time_us"].filter(eth["average_gap_168"].is_not_null())[0]
        assert first == listed_us + 167 * HOUR_US
        first = eth["open_time_us"].filter(eth["adx_14"].is_not_null())[0]
        assert first == listed_us + 500 * HOUR_US


def test_an_outage_blanks_single_rows_and_not_a_week() -> None:
    """The outage rows hold nulls, a row a day later has all its averages."""
    hour = 651
    outage = FAULTY_ROWS.row(hour, named=True)
    assert outage["log_return_1"] is outage["candle_range"] is outage["taker_imbalance_1"] is None
    assert outage["next_hour_sin"] is not None
    after = FAULTY_ROWS.row(hour + 10, named=True)
    assert None not in (after["log_realized_24"], after["rsi_14"], after["volume_24"], after["beta_168"])
    assert FAULTY_ROWS["log_return_6"][hour + 6] is None


def test_an_empty_bar_has_no_return() -> None:
    """Where nothing traded there is no price: the return to and from that bar is unknown, its volume was 0."""
    empty = START_US + 41 * 20 * HOUR_US
    row = FAULTY_ROWS.filter((pl.col("open_time_us") == empty) & (pl.col("symbol") == "ETH-USDT")).row(0, named=True)
    assert row["log_return_1"] is row["rsi_14"] is row["log_garman_klass_1"] is row["volume_1"] is None
    assert row["volume_24"] is not None


def test_a_column_that_the_venue_lacks_blanks_its_features_only() -> None:
    """Without taker volumes the features derived from them are null throughout, and no other changes."""
    lacking = WALK.with_columns(
        taker_buy_volume=pl.lit(None, pl.Float64), taker_buy_quote_volume=pl.lit(None, pl.Float64)
    )
    rows = rows_of(lacking)
    dependent = [
        feature.name for feature in FEATURES if feature.sources & {"taker_buy_volume", "taker_buy_quote_volume"}
    ]
    others = [name for name in FEATURE_NAMES if name not in dependent]
    assert "taker_imbalance_24" in dependent
    assert sum(rows.select(dependent).count().row(0)) == 0
    assert rows.select(others).equals(WALK_ROWS.select(others))


def test_venues_need_a_leader() -> None:
    """A venue without a leader is named in the error."""
    with pytest.raises(ValueError, match="binance"):
        feature_rows(WALK, interval_us=HOUR_US, leaders={"kraken": "BTC-EUR"})


def test_no_bars_give_no_rows() -> None:
    """An empty frame gives an empty table with all columns, with any leaders."""
    assert feature_rows(WALK.clear(), interval_us=HOUR_US, leaders={}).height == 0
    for last_rows in (None, 1):
        assert rows_of(WALK.clear(), last_rows).columns == [*KEY_COLUMNS, *FEATURE_NAMES]


def test_real_years_with_their_outages_are_finite_or_null() -> None:
    """Every feature of eight years of BTC and five of SOL is finite or null, and most recent rows are whole."""
    rows = rows_of(real_hours("BTCUSDT", "SOLUSDT"))
    assert all(rows.select(pl.col(FEATURE_NAMES).is_finite().all()).row(0))
    recent = rows.filter(pl.col("open_time_us") >= START_US)
    whole = recent.select(pl.all_horizontal(pl.col(FEATURE_NAMES).is_not_null()).mean()).item()
    assert whole > 0.97


def test_real_streamed_rows_equal_batch_rows() -> None:
    """Over real hours too, a buffer that starts anywhere gives the batch's rows to 1e-9 of the feature's scale."""
    bars = real_hours("BTCUSDT", "SOLUSDT", rows=40_000)
    batch = rows_of(bars)
    times = bars["open_time_us"].unique().sort()
    for end in (5_000, 15_100, 15_120, 39_999):  # SOL's outage of 2023-03-24 is near the second and third
        known = bars.filter(pl.col("open_time_us").is_between(times[end - 768], times[end]))
        streamed = rows_of(known, last_rows=48)
        expected = batch.join(streamed.select(KEY_COLUMNS), on=KEY_COLUMNS, maintain_order="right")
        for name in FEATURE_NAMES:
            left, right = streamed[name].to_numpy(), expected[name].to_numpy()
            assert np.allclose(left, right, rtol=0, atol=1e-9 * scale_of(batch, name), equal_nan=True), name
