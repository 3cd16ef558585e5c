"""Calendar features describe the next bar."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from features.calendar import CALENDAR, FUNDING_PERIOD_US, calendar_ahead
from features.table import feature_rows
from tests.features.market_data import HOUR_US, random_walk


def calendar_of(opens: datetime) -> dict[str, float]:
    """The features of the hourly bar before the one that opens at ``opens``."""
    before_us = int(opens.timestamp()) * 1_000_000 - HOUR_US
    bars = random_walk(("BTC-USDT",), 1).with_columns(open_time_us=pl.lit(before_us, pl.Int64))
    return feature_rows(bars, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"}).row(0, named=True)


def test_hour_and_weekday_are_waves_of_the_next_bar() -> None:
    """Before a Monday midnight both phases are 0; six hours on, the hour's is a quarter."""
    midnight = calendar_of(datetime(2024, 1, 1, tzinfo=UTC))
    assert (midnight["next_hour_sin"], midnight["next_hour_cos"]) == pytest.approx((0, 1))
    assert (midnight["next_weekday_sin"], midnight["next_weekday_cos"]) == pytest.approx((0, 1))
    morning = calendar_of(datetime(2024, 1, 1, 6, tzinfo=UTC))
    assert (morning["next_hour_sin"], morning["next_hour_cos"]) == pytest.approx((1, 0), abs=1e-12)
    assert morning["next_weekday_sin"] == pytest.approx(math.sin(2 * math.pi * 6 / 168))


@pytest.mark.parametrize(
    ("opens", "weekend"),
    [
        (datetime(2024, 1, 5, 23, tzinfo=UTC), 0),
        (datetime(2024, 1, 6, 0, tzinfo=UTC), 1),
        (datetime(2024, 1, 7, 23, tzinfo=UTC), 1),
        (datetime(2024, 1, 8, 0, tzinfo=UTC), 0),
    ],
)
def test_the_weekend_is_saturday_and_sunday_in_utc(opens: datetime, weekend: float) -> None:
    """The flag describes the next bar."""
    assert calendar_of(opens)["next_is_weekend"] == weekend


@pytest.mark.parametrize(("hour", "hours"), [(0, 0), (1, 7), (8, 0), (15, 1), (23, 1)])
def test_hours_to_funding(hour: int, hours: float) -> None:
    """Funding is at 00, 08 and 16 UTC; 0 where the next bar opens with one."""
    assert calendar_of(datetime(2024, 3, 5, hour, tzinfo=UTC))["hours_to_funding"] == hours


def test_the_calendar_ahead_is_the_one_that_later_rows_will_have() -> None:
    """That of a target of h bars is in the row h - 1 bars on; hours to funding are shares of the funding period."""
    rows = feature_rows(random_walk(("BTC-USDT",), 60), interval_us=HOUR_US, leaders={"binance": "BTC-USDT"})
    closes, horizons = rows["close_time_us"].to_numpy()[:30], (1, 3, 24)
    ahead = calendar_ahead(closes, horizons=horizons, interval_us=HOUR_US)
    assert ahead.shape == (30, 3, len(CALENDAR))
    assert ahead.dtype == np.float32
    assert np.abs(ahead).max() <= 1.0
    for column, each in enumerate(CALENDAR):
        largest = FUNDING_PERIOD_US / HOUR_US if each.name == "hours_to_funding" else 1.0
        for index, horizon in enumerate(horizons):
            later = rows[each.name].to_numpy()[horizon - 1 : horizon + 29] / largest
            np.testing.assert_allclose(ahead[:, index, column], later, atol=1e-6)
