"""Charts of characters: every hour in its place, at any width and any length of window."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.explaining.charts import (
    SHADES,
    UNKNOWN,
    Columns,
    bar_across,
    column_chart,
    shade_row,
    shade_steps,
)
from daemon.explaining.labels import before_close, day_and_minute, moment
from features.market import HOUR_US
from models.explain import hours

CLOSE_US = 1_767_618_000_000_000  # 2026-01-05 13:00Z
MINUTE_US = HOUR_US // 60


@pytest.mark.parametrize(
    ("length", "cells", "columns"),
    [
        (48, 49, Columns(hours=1, cells=1, count=48)),
        (48, 120, Columns(hours=1, cells=2, count=48)),
        (48, 40, Columns(hours=2, cells=1, count=24)),
        (168, 49, Columns(hours=4, cells=1, count=42)),
        (5, 49, Columns(hours=1, cells=2, count=5)),
    ],
)
def test_columns_fit(length: int, cells: int, columns: Columns) -> None:
    """Two characters an hour where the width allows it, several hours a column where there is not; nothing is lost."""
    assert Columns.within(length, cells) == columns
    weights = np.arange(1.0, length + 1)
    assert columns.sums(weights).sum() == weights.sum()
    assert len(shade_row(weights, 1.0, columns)) <= cells
    assert columns.place(1) == (columns.count - 1) * columns.cells
    assert columns.place(length) == 0


def test_the_columns_are_as_high_as_their_weights() -> None:
    """The heaviest fills the height, half of it fills half, a tenth shows, a trace does not."""
    attention = np.zeros(48)
    attention[[0, 24, 40, 46, 47]] = 0.5, 0.2, 0.05, 0.0001, 0.2499
    looked = hours(attention, attention > 0.0, close_time_us=CLOSE_US, interval_us=HOUR_US)
    lines = column_chart(looked, HOUR_US, Columns.within(48, 49), left=10)
    chart, axis = [line[10:] for line in lines[:8]], lines[8][10:]
    heights = [sum(line[place] != " " for line in chart) for place in range(48)]
    assert [heights[place] for place in (0, 24, 40, 46, 47)] == [8, 4, 1, 0, 4]
    assert sum(heights) == 17
    assert (chart[4][24], chart[-1][40]) == ("▂", "▆")
    assert lines[0].startswith("   50.0% ┤")
    assert lines[4].startswith("   25.0% ┤")
    assert axis.count(UNKNOWN) == 43
    assert axis[0] == axis[24] == axis[47] == "─"


def test_the_times_under_the_axis() -> None:
    """Each label is below its hour and shows how long before the close, and when, the hour opened."""
    looked = hours(np.full(48, 1 / 48), None, close_time_us=CLOSE_US, interval_us=HOUR_US)
    *_, relative, absolute = column_chart(looked, HOUR_US, Columns.within(48, 49), left=10)
    for bars_ago in (48, 36, 24, 12):
        place = 10 + 48 - bars_ago
        assert relative[place:].startswith(f"-{bars_ago}h")
        assert absolute[place:].startswith(day_and_minute(CLOSE_US - bars_ago * HOUR_US))
    assert relative.endswith("-1h")
    assert len(relative) == 58


@pytest.mark.parametrize("length", [1, 2, 3, 7, 48, 200])
def test_any_window_has_a_chart(length: int) -> None:
    """One hour or two hundred: as many columns as fit, and times that do not run into one another."""
    looked = hours(np.full(length, 1 / length), None, close_time_us=CLOSE_US, interval_us=MINUTE_US)
    lines = column_chart(looked, MINUTE_US, Columns.within(length, 49), left=10)
    assert len(lines) == 11
    assert max(map(len, lines)) <= 59
    assert "1m" in lines[-2] or length == 1


def test_shades_grow_with_the_weight() -> None:
    """In five even steps, the darkest for the heaviest of all rows; the legend says where each ends."""
    row = shade_row(np.array([0.0, 0.12, 0.13, 0.4, 0.7, 1.0]), 1.0, Columns(hours=1, cells=1, count=6))
    assert row == "··░▒▓█"
    assert [weight for _, weight in shade_steps(0.8)] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.8])
    assert "".join(shade for shade, _ in shade_steps(1.0)) == SHADES


def test_bars_across() -> None:
    """In eighths of a character."""
    assert bar_across(1.0, 1.0, 3) == "███"
    assert bar_across(0.5, 1.0, 3) == "█▌"
    assert bar_across(0.0, 1.0, 3) == ""
    assert bar_across(0.0, 0.0, 3) == ""


@pytest.mark.parametrize(
    ("bars_ago", "interval_us", "text"),
    [
        (1, HOUR_US, "-1h"),
        (48, HOUR_US, "-48h"),
        (5, 15 * MINUTE_US, "-1h15m"),
        (48, MINUTE_US, "-48m"),
        (30, 5_000_000, "-2m30s"),
        (7, 24 * HOUR_US, "-7d"),
        (7, 4 * HOUR_US, "-28h"),
    ],
)
def test_how_long_before_the_close(bars_ago: int, interval_us: int, text: str) -> None:
    """In the units of the bars."""
    assert before_close(bars_ago, interval_us) == text


def test_moments_are_in_utc() -> None:
    """Seconds are left out where they are 0."""
    assert moment(CLOSE_US) == "2026-01-05 13:00Z"
    assert moment(CLOSE_US + 5_000_000) == "2026-01-05 13:00:05Z"
    assert day_and_minute(CLOSE_US) == "01-05 13:00"
