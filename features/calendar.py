"""Time-of-day and calendar features of the NEXT bar, in UTC: known before it opens, and also during an outage."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from features.algebra import Condition, Expression, choose, cosine, since, sine, until
from features.definitions import Definition
from features.polars_evaluator import as_polars

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
FUNDING_PERIOD_US = 8 * HOUR_US

_in_day = since(DAY_US)
_day_phase = _in_day / DAY_US
_week_phase = since(WEEK_US, 3 * DAY_US) / WEEK_US  # the epoch was a Thursday: the phase counts from Monday
_MINUTE_US = HOUR_US // 60


def _wave(name: str, phase: Expression, cycles: int = 1) -> tuple[Definition, Definition]:
    angle = phase * (2 * math.pi * cycles)
    return Definition(f"{name}_sin", sine(angle)), Definition(f"{name}_cos", cosine(angle))


def _flag(name: str, condition: Condition) -> Definition:
    return Definition(name, choose(condition, 1.0, 0.0))


CALENDAR = (
    *_wave("next_hour", _day_phase),
    *_wave("next_half_day", _day_phase, cycles=2),
    *_wave("next_weekday", _week_phase),
    _flag("next_is_weekend", _week_phase >= 5 / 7),
    # 13:30 to 20:00 UTC: the New York Stock Exchange's hours in summer time.
    _flag("next_in_us_session", (_in_day >= 810 * _MINUTE_US) & (_in_day < 1200 * _MINUTE_US)),
    # Perpetual swaps settle funding at 00:00, 08:00 and 16:00 UTC.
    Definition("hours_to_funding", until(FUNDING_PERIOD_US) / HOUR_US),
)

FAMILIES = {"calendar": CALENDAR}

_NAMES = [each.name for each in CALENDAR]
DAY_WAVE = (_NAMES.index("next_hour_sin"), _NAMES.index("next_hour_cos"))
WEEK_WAVE = (_NAMES.index("next_weekday_sin"), _NAMES.index("next_weekday_cos"))
"""Positions in ``CALENDAR`` of the sine and cosine of the phase of the day and of the week."""

_LARGEST = {"hours_to_funding": FUNDING_PERIOD_US / HOUR_US}


def calendar_ahead(
    close_time_us: npt.NDArray[np.int64], *, horizons: Sequence[int], interval_us: int
) -> npt.NDArray[np.float32]:
    """Calendar features (N, H, C) of the last bar of each target, for (N,) cut-offs; they depend on time alone.

    C is the number of ``CALENDAR`` features. The target of h bars ends with the bar that opens h - 1 intervals after
    the cut-off. Hours to funding are in units of the funding period, so that every column lies between -1 and 1.
    """
    ahead = (np.asarray(horizons, dtype=np.int64) - 1) * interval_us  # (H,)
    opens = (close_time_us[:, None] + ahead).ravel()  # (N * H,)
    columns = pl.DataFrame({"close_time_us": opens}).select(
        (as_polars(each.expression) / _LARGEST.get(each.name, 1.0)).alias(each.name) for each in CALENDAR
    )
    return columns.to_numpy().astype(np.float32).reshape(len(close_time_us), len(horizons), len(CALENDAR))
