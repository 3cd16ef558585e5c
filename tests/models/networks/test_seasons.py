"""Seasonal inputs follow the clock, and can represent a single hour of the day."""

import numpy as np
import torch

from features.calendar import DAY_US, HOUR_US, calendar_ahead
from models.networks.seasons import season_count, seasons

WEEK_OF_HOURS = np.arange(7 * 24, dtype=np.int64) * HOUR_US  # closes, from a Thursday


def of(close_time_us: np.ndarray, *, horizons: tuple[int, ...] = (1,), day: int = 11, week: int = 3) -> np.ndarray:
    calendar = calendar_ahead(close_time_us, horizons=horizons, interval_us=HOUR_US)
    return seasons(torch.from_numpy(calendar), day=day, week=week).numpy()


def test_columns_are_the_harmonics_of_the_next_bars_hour() -> None:
    """Sines, then cosines, of the phase of the day times one, two, ...; of the week after them."""
    found = of(WEEK_OF_HOURS, day=2, week=1)
    assert found.shape == (168, season_count(2, 1))
    day = 2 * np.pi * (WEEK_OF_HOURS % DAY_US) / DAY_US
    week = 2 * np.pi * ((WEEK_OF_HOURS // HOUR_US + 3 * 24) % 168) / 168
    columns = [np.sin(day), np.sin(2 * day), np.cos(day), np.cos(2 * day), np.sin(week), np.cos(week)]
    np.testing.assert_allclose(found, np.stack(columns, axis=1), atol=1e-5)


def test_one_hour_of_the_day_differs_from_its_neighbours() -> None:
    """A linear function of the columns fits a burst at 14:00 alone almost fully; plain waves cannot."""
    burst = (WEEK_OF_HOURS // HOUR_US % 24 == 14).astype(float)

    def left(columns: np.ndarray) -> float:
        columns = np.column_stack([columns, np.ones(len(burst))])
        fitted = columns @ np.linalg.lstsq(columns, burst, rcond=None)[0]
        return float(((burst - fitted) ** 2).sum() / ((burst - burst.mean()) ** 2).sum())

    assert left(of(WEEK_OF_HOURS)) < 0.05
    assert left(of(WEEK_OF_HOURS, day=1, week=1)) > 0.9


def test_a_longer_target_is_read_by_the_hour_in_which_it_begins() -> None:
    """Only the first target is read; without harmonics there are no columns."""
    np.testing.assert_allclose(of(WEEK_OF_HOURS, horizons=(1, 6, 24)), of(WEEK_OF_HOURS), atol=1e-5)
    assert of(WEEK_OF_HOURS, day=0, week=0).shape == (168, 0)
