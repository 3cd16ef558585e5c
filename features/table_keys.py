"""Columns that the Polars evaluator needs beside those of the bars: close time, series, moment, position, leader."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl


def with_keys(bars: pl.DataFrame, interval_us: int, leaders: Mapping[str, str]) -> pl.DataFrame:
    """Regular ``bars`` with the columns that the evaluator needs. Raises ValueError if a venue has no leader."""
    venue, symbol, time = pl.col("venue"), pl.col("symbol"), pl.col("open_time_us")
    leaderless = set(bars["venue"].unique()) - leaders.keys()
    if leaderless:
        raise ValueError(f"leaders lacks the venues {sorted(leaderless)}")
    new_venue = (venue != venue.shift()).fill_null(value=False)
    new_series = new_venue | (symbol != symbol.shift()).fill_null(value=False)
    venue_number = new_venue.cum_sum().cast(pl.Int64)
    keyed = bars.with_columns(
        close_time_us=time + interval_us,
        series=new_series.cum_sum(),
        moment=time // interval_us * (venue_number.max() + 1) + venue_number,
        is_leader=symbol == venue.replace_strict(leaders, default=None, return_dtype=pl.String),
    )
    return keyed.with_columns(
        pl.col("series").set_sorted(),
        position=(time - time.first().over("series")) // interval_us,
    )
