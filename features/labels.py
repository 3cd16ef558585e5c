"""Training labels: log return and log variance of the next h bars, with the time at which each became known."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from features.algebra import LEAST_VARIANCE
from features.frames import BAR_KEYS, SERIES_KEYS, regular_bars
from features.polars_evaluator import as_polars
from features.price import LOG_CLOSE
from features.volatility import GARMAN_KLASS


def label_rows(bars: pl.DataFrame, *, interval_us: int, horizons: Sequence[int]) -> pl.DataFrame:
    """Labels for every bar and outage of ``bars``; the rows and their order are those of ``feature_rows``.

    Columns: venue, symbol, open_time_us, close_time_us, and for each horizon h in bars

    * log_return_h: log(close[t+h] / close[t]).
    * log_variance_h: log of the summed Garman-Klass variances of the bars t+1 .. t+h; null if one of them is
      missing, or none of them has a range.
    * known_at_us_h: the close time of bar t+h, null if the return is.

    Null means not known yet, or never. Raises ValueError if a horizon is below 1.
    """
    if not horizons or min(horizons) < 1:
        raise ValueError(f"horizons were {list(horizons)}, must be one bar or more")
    regular = regular_bars(bars, interval_us)
    measured = regular.select(
        *BAR_KEYS,
        close_time_us=pl.col("open_time_us") + interval_us,
        log_close=as_polars(LOG_CLOSE),
        variance=as_polars(GARMAN_KLASS),
    )
    labels = [label for horizon in horizons for label in _labels(horizon)]
    labelled = measured.with_columns(labels).drop("log_close", "variance")
    return labelled.with_columns(
        pl.when(pl.col(f"log_return_{horizon}").is_not_null())
        .then(pl.col("close_time_us") + horizon * interval_us)
        .alias(f"known_at_us_{horizon}")
        for horizon in horizons
    )


def _labels(horizon: int) -> tuple[pl.Expr, pl.Expr]:
    log_close = pl.col("log_close")
    moved = log_close.shift(-horizon) - log_close
    # Shifted so that the sum ends at bar t+h and reads no later bar.
    total = pl.col("variance").rolling_sum(horizon, min_samples=horizon).shift(-horizon)
    return (
        moved.over(SERIES_KEYS).alias(f"log_return_{horizon}"),
        pl.when(total > LEAST_VARIANCE).then(total.log()).over(SERIES_KEYS).alias(f"log_variance_{horizon}"),
    )
