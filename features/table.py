"""``feature_rows`` computes all features, with the same code for training, replay and live forecasts."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from features.algebra import WARM_UP_ROWS
from features.catalogue import FEATURE_NAMES, FEATURES, feature_program
from features.frames import BAR_KEYS, newest_rows, regular_bars
from features.polars_evaluator import PolarsEvaluator
from features.table_keys import with_keys

KEY_COLUMNS = (*BAR_KEYS, "close_time_us")
_WORKING_COLUMNS = (*KEY_COLUMNS, "position")
_EVALUATOR = PolarsEvaluator(feature_program(FEATURES))


def feature_rows(
    bars: pl.DataFrame,
    *,
    interval_us: int,
    leaders: Mapping[str, str],
    last_rows: int | None = None,
) -> pl.DataFrame:
    """One row of features for every bar and outage of ``bars`` (``BARS_SCHEMA``, any order).

    Columns: venue, symbol, open_time_us, close_time_us, then ``FEATURE_NAMES`` as Float64; sorted by venue, symbol
    and time. A row depends on bars up to its own close and no later one. A feature is null if its sources are, or if
    fewer earlier rows exist than its memory; never NaN or infinite.

    leaders: for each venue, the symbol whose returns lead its market (``choose_leaders``).
    last_rows: return only the rows of the newest ``last_rows`` intervals of the frame, with the same values.

    Raises ValueError if the bars lack a column or lie off the grid, or a venue has no leader.
    """
    bars = regular_bars(bars, interval_us)
    if last_rows is None:
        return _finished(_EVALUATOR.evaluate(with_keys(bars, interval_us, leaders), _WORKING_COLUMNS))
    return newest_feature_rows(bars, interval_us=interval_us, leaders=leaders, last_rows=last_rows)


def newest_feature_rows(
    bars: pl.DataFrame, *, interval_us: int, leaders: Mapping[str, str], last_rows: int
) -> pl.DataFrame:
    """``feature_rows`` of the newest ``last_rows`` intervals; ``bars`` must be a result of ``regular_bars``."""
    if last_rows < 1:
        raise ValueError(f"last_rows was {last_rows}, must be at least 1")
    recent = newest_rows(bars, WARM_UP_ROWS + last_rows, interval_us)
    rows = _EVALUATOR.evaluate(with_keys(recent, interval_us, leaders), _WORKING_COLUMNS)
    return _finished(newest_rows(rows, last_rows, interval_us))


def _finished(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` in the order of the catalogue, null if a series is younger than a feature's memory."""
    if rows.height and rows["position"].min() >= WARM_UP_ROWS:  # type: ignore[operator]  # an integer column
        return rows.select(*KEY_COLUMNS, *FEATURE_NAMES)
    return rows.select(
        *KEY_COLUMNS,
        *(
            pl.when(pl.col("position") >= feature.memory_rows).then(feature.name).alias(feature.name)
            for feature in FEATURES
        ),
    )
