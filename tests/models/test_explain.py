"""Explanation of a forecast: weights of hours, their spread, and weights of features and families."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from features.catalogue import FEATURE_NAMES, FEATURES
from features.market import HOUR_US
from models.explain import (
    GONE,
    attention_rows,
    family_weights,
    feature_weights,
    hours,
    newest_share,
    spread_over,
    top_hours,
)
from models.forecast import WindowReading

CLOSE_US = 1000 * HOUR_US


def test_the_newest_hour_ends_at_the_close() -> None:
    """Hours are adjacent, oldest first; the last is the bar that has just closed."""
    looked = hours(np.full(48, 1 / 48), None, close_time_us=CLOSE_US, interval_us=HOUR_US)
    assert [hour.bars_ago for hour in looked] == list(range(48, 0, -1))
    assert looked[-1].to_us == CLOSE_US
    assert all(one.to_us == other.from_us for one, other in pairwise(looked))
    assert looked[0].from_us == CLOSE_US - 48 * HOUR_US
    assert {hour.known for hour in looked} == {None}


def test_a_mask_of_another_window_is_rejected() -> None:
    """Attention and mask must cover the same hours."""
    with pytest.raises(ValueError, match="attention is over 3 bars, known has 2"):
        hours(np.ones(3) / 3, np.array([True, False]), close_time_us=CLOSE_US, interval_us=HOUR_US)


def test_top_hours_are_the_heaviest() -> None:
    """Heaviest first, newer before older; hours without weight are left out even if fewer than five remain."""
    attention = np.array([0.0, 0.3, 0.1, 0.3, 0.05, 0.1, 0.15, 0.0])
    looked = hours(attention, None, close_time_us=CLOSE_US, interval_us=HOUR_US)
    assert [(hour.bars_ago, hour.weight) for hour in top_hours(looked)] == [
        (5, 0.3),
        (7, 0.3),
        (2, 0.15),
        (3, 0.1),
        (6, 0.1),
    ]
    one = hours(np.eye(8)[7], None, close_time_us=CLOSE_US, interval_us=HOUR_US)
    assert [hour.bars_ago for hour in top_hours(one)] == [1]


def test_spread() -> None:
    """1 if all weight is on one hour, the number of hours if it is even, otherwise between the two."""
    assert spread_over(np.eye(48)[3]) == pytest.approx(1.0)
    assert spread_over(np.full(48, 1 / 48)) == pytest.approx(48.0)
    assert spread_over(np.array([0.5, 0.5, 0.0])) == pytest.approx(2.0)
    assert spread_over(np.zeros(3)) == 0.0


def test_newest_share() -> None:
    """Counted from the end."""
    assert newest_share(np.array([0.4, 0.3, 0.2, 0.1]), 2) == pytest.approx(0.3)


def test_features_by_weight_and_family() -> None:
    """Each feature of the catalogue once, the heaviest first; families add up to the same."""
    weights = np.arange(len(FEATURE_NAMES), dtype=np.float64)
    weights /= weights.sum()
    weighted = feature_weights(WindowReading(np.ones(48, dtype=np.bool_), FEATURE_NAMES, weights))
    assert [each.name for each in weighted] == list(reversed(FEATURE_NAMES))
    families = family_weights(weighted)
    assert sum(weight for _, weight, _ in families) == pytest.approx(1.0)
    assert sum(count for *_, count in families) == len(FEATURES)
    assert {name for name, *_ in families} == {feature.family for feature in FEATURES}
    assert [weight for _, weight, _ in families] == sorted((weight for _, weight, _ in families), reverse=True)


def test_a_feature_absent_from_the_catalogue_is_still_listed() -> None:
    """Stored forecasts may name features of an older catalogue."""
    [kept, gone] = feature_weights(
        WindowReading(np.ones(1, dtype=np.bool_), ("log_return_1", "x"), np.array([0.6, 0.4]))
    )
    assert (kept.family, gone.name, gone.family) == ("return", "x", GONE)


def test_a_network_that_selects_no_features_has_no_weights() -> None:
    assert feature_weights(WindowReading(np.ones(1, dtype=np.bool_), ("log_return_1",), None)) == []


def test_rows_of_the_heat_map() -> None:
    """Rows of a baseline, or of another number of hours, are NaN."""
    rows = attention_rows([np.array([0.25, 0.75]), None, np.array([1.0])], 2)
    np.testing.assert_array_equal(rows, [[0.25, 0.75], [np.nan, np.nan], [np.nan, np.nan]])
