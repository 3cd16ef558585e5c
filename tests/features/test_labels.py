"""Labels: future returns and variances, and when they became known."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from features.labels import label_rows
from features.table import KEY_COLUMNS, feature_rows
from tests.features.market_data import HOUR_US, START_US, random_walk, real_hours

WALK = random_walk(("BTC-USDT", "ETH-USDT"), 300)
LABELS = label_rows(WALK, interval_us=HOUR_US, horizons=(1, 6))


def garman_klass(bars: pl.DataFrame, first: int, last: int) -> float:
    part = bars[first : last + 1]
    spread = (part["high"] / part["low"]).log() ** 2
    body = (part["close"] / part["open"]).log() ** 2
    return float((0.5 * spread - (2 * math.log(2) - 1) * body).sum())


def test_labels_are_of_the_bars_to_come() -> None:
    """Return and variance of the next six bars, known when the sixth has closed."""
    row = LABELS.row(100, named=True)
    assert row["log_return_6"] == pytest.approx(math.log(WALK["close"][106] / WALK["close"][100]))
    assert row["log_variance_6"] == pytest.approx(math.log(garman_klass(WALK, 101, 106)))
    assert row["known_at_us_6"] == START_US + 107 * HOUR_US
    assert row["log_variance_1"] == pytest.approx(math.log(garman_klass(WALK, 101, 101)))


def test_the_unknown_future_is_null_and_not_the_next_symbol() -> None:
    """The last h rows of each symbol have no label of horizon h."""
    for end in (300, 600):
        tail = LABELS[end - 6 : end]
        assert tail.select("log_return_6", "log_variance_6", "known_at_us_6").null_count().row(0) == (6, 6, 6)
        assert tail["log_return_1"].null_count() == 1


@pytest.mark.parametrize("end", [10, 57, 299])
def test_labels_on_truncated_bars_are_the_same_where_known(end: int) -> None:
    """A label that was known at the cut has the very same value later; others were null."""
    cut_us = START_US + end * HOUR_US
    truncated = label_rows(WALK.filter(pl.col("open_time_us") < cut_us), interval_us=HOUR_US, horizons=(1, 6))
    for horizon in (1, 6):
        names = [f"log_return_{horizon}", f"log_variance_{horizon}"]
        later = LABELS.filter(pl.col("open_time_us") < cut_us)
        known = later[f"known_at_us_{horizon}"] <= cut_us
        assert truncated.filter(known).select(names).equals(later.filter(known).select(names))
        assert truncated.filter(~known).select(names).count().row(0) == (0, 0)


def test_an_outage_leaves_no_variance_over_it() -> None:
    """A return over an outage is known, its variance is not; a return from or to the outage is unknown."""
    hole = WALK.filter(pl.col("open_time_us") != START_US + 50 * HOUR_US)
    labels = label_rows(hole, interval_us=HOUR_US, horizons=(6,))
    assert labels["log_return_6"].is_null()[44:51].to_list() == [True] + [False] * 5 + [True]
    assert labels["log_variance_6"].is_null()[43:51].to_list() == [False] + [True] * 6 + [False]


def test_a_bar_without_range_is_no_minus_infinity() -> None:
    """A variance of 0 has no logarithm: null over that bar alone, finite over a span with range in it."""
    at = pl.col("open_time_us") == START_US + 50 * HOUR_US
    flat = WALK.with_columns(pl.when(at).then("close").otherwise(name).alias(name) for name in ("open", "high", "low"))
    labels = label_rows(flat, interval_us=HOUR_US, horizons=(1, 6))
    assert labels["log_variance_1"][49] is None
    assert math.isfinite(labels["log_variance_6"][47])


def test_labels_and_features_have_the_same_rows() -> None:
    """Row i of the labels belongs to row i of the features, outages included."""
    hole = WALK.filter(pl.col("open_time_us") != START_US + 50 * HOUR_US).sample(fraction=1, shuffle=True, seed=1)
    features = feature_rows(hole, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"})
    labels = label_rows(hole, interval_us=HOUR_US, horizons=(1,))
    assert labels.select(KEY_COLUMNS).equals(features.select(KEY_COLUMNS))


def test_horizons_are_at_least_one_bar() -> None:
    """Horizon 0 would be the present."""
    with pytest.raises(ValueError, match="one bar or more"):
        label_rows(WALK, interval_us=HOUR_US, horizons=(0, 1))


def test_real_labels_are_finite_or_null() -> None:
    """Eight years with 28 outages hold no infinite label."""
    labels = label_rows(real_hours("BTCUSDT"), interval_us=HOUR_US, horizons=(1, 24))
    for name in ("log_return_1", "log_variance_1", "log_return_24", "log_variance_24"):
        assert np.isfinite(labels[name].drop_nulls().to_numpy()).all()
