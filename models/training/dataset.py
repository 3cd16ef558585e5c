"""Training data from bars: scaled features, labels, the scaler, HAR, and the split in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from features.algebra import WARM_UP_ROWS
from features.catalogue import FEATURE_NAMES
from features.cross_section import leaders_in
from features.labels import label_rows
from features.scaling import RobustScaler, usable_features
from features.table import feature_rows
from features.windows import Panel, RecentBars, panel
from models.baselines import Har
from models.evaluation.splits import TimeSplit, cut_time, split_in_time
from models.history import Series, UnusableBars, regular_histories, shortfall, until
from models.specification import TrainingSpec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_DAY_US = 86_400_000_000
_LONGEST_VALIDATION = 60  # days: enough for early stopping; the network does not learn from this span


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """N cut-offs and their labels; NaN where a label is unknown.

    slot: (N,) grid row of the last bar. series: (N,) position in ``TrainingData.series``. position: (N,) index
    of the last bar in its series' history. log_returns: (N, H). sigma: (N, H) HAR's standard deviation of them,
    known at the cut-off. variances: (N, H) realised variance from bar ranges, scaled to the level of the returns.
    """

    slot: IntArray
    series: IntArray
    position: IntArray
    close_time_us: IntArray
    log_returns: FloatArray
    sigma: FloatArray
    variances: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """G grid rows, the samples that end on some of them, and the scaler and HAR fitted on the training part.

    values: (G, F) float32, scaled, 0 where masked. mask: (G,). Every series is preceded by window - 1 masked rows.
    """

    feature_names: tuple[str, ...]
    series: tuple[Series, ...]
    histories: Mapping[Series, RecentBars]
    scaler: RobustScaler
    har: Har
    values: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    samples: Samples
    split: TimeSplit


def least_known_bars(window: int) -> int:
    """Fewest known bars, the newest included, of a window that a network may forecast from: half."""
    return (window + 1) // 2


def prepare(bars: pl.DataFrame, spec: TrainingSpec) -> TrainingData:
    """Prepares the data of one run. Raises UnusableBars if the bars are too few or no feature is usable."""
    histories = regular_histories(bars, interval_us=spec.interval_us)
    if not histories:
        raise UnusableBars("there are no bars to train on")
    cut_us = _cut(histories, spec)
    rows = feature_rows(bars, interval_us=spec.interval_us, leaders=leaders_in(bars))
    past = rows.filter(pl.col("close_time_us") <= cut_us)
    names = usable_features(past, FEATURE_NAMES)
    fitted_on = panel(past, names)
    if not fitted_on.mask.any():
        raise UnusableBars(f"training needs bars with all features; {shortfall(histories)}")
    scaler = RobustScaler.fit(fitted_on.values, fitted_on.mask, names)
    known = {series: until(recent, cut_us) for series, recent in histories.items()}
    har = Har.fit_histories(known, horizons=spec.horizons, levels=spec.levels)
    table = panel(rows, names)
    samples = _samples(table, _labels(bars, spec), histories, har, spec)
    split = split_in_time(samples.close_time_us, cut_us=cut_us, label_span_us=max(spec.horizons) * spec.interval_us)
    if not len(split.train) or not np.isfinite(samples.log_returns[split.validation]).any(axis=0).all():
        longest = max(len(recent.log_close) for recent in histories.values())
        raise UnusableBars(
            f"{longest} bars are too few to train on: besides the {WARM_UP_ROWS} of the feature warm-up, every "
            f"horizon up to {max(spec.horizons)} bars needs outcomes for training and for validation"
        )
    values, mask = _padded(table, scaler, spec.window)
    return TrainingData(tuple(names), table.keys, histories, scaler, har, values, mask, samples, split)


def _cut(histories: Mapping[Series, RecentBars], spec: TrainingSpec) -> int:
    first_us = min(int(recent.close_time_us[0]) for recent in histories.values())
    last_us = max(int(recent.close_time_us[-1]) for recent in histories.values())
    return cut_time(
        min(first_us + WARM_UP_ROWS * spec.interval_us, last_us), last_us, at_most_us=_LONGEST_VALIDATION * _DAY_US
    )


def _padded(table: Panel, scaler: RobustScaler, window: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Scaled values (G, F) and mask (G,) with window - 1 masked rows before each series."""
    slots = _slots(table, window)
    count = len(slots) + len(table.keys) * (window - 1)
    values = np.zeros((count, table.values.shape[1]), dtype=np.float32)
    mask = np.zeros(count, dtype=np.bool_)
    values[slots] = scaler.transform(table.values, table.mask)
    mask[slots] = table.mask
    return values, mask


def _slots(table: Panel, window: int) -> IntArray:
    """(N,) the row in the padded grid of each row of the table."""
    return np.arange(len(table.series)) + (table.series + 1) * (window - 1)


def _labels(bars: pl.DataFrame, spec: TrainingSpec) -> tuple[FloatArray, FloatArray]:
    """Log returns (N, H) and variances (N, H) of the rows of the table; NaN where unknown."""
    rows = label_rows(bars, interval_us=spec.interval_us, horizons=spec.horizons)
    log_returns, log_variances = (
        rows.select(pl.col(f"{label}_{horizon}").fill_null(np.nan) for horizon in spec.horizons).to_numpy()
        for label in ("log_return", "log_variance")
    )
    return log_returns, np.exp(log_variances)


def _samples(
    table: Panel,
    labels: tuple[FloatArray, FloatArray],
    histories: Mapping[Series, RecentBars],
    har: Har,
    spec: TrainingSpec,
) -> Samples:
    """A sample for each row with its newest bar, half of its window, the scale and at least one label known."""
    sigma = np.concatenate([har.sigma(series, histories[series]) for series in table.keys])
    levels = np.stack([har.variance_level(series) for series in table.keys])
    position = np.arange(len(table.series)) - table.first_row[table.series]
    log_returns, variances = labels
    usable = (
        table.mask
        & (_known_in_window(table.mask, position, spec.window) >= least_known_bars(spec.window))
        & np.isfinite(sigma).all(axis=1)
        & np.isfinite(log_returns).any(axis=1)
    )
    return Samples(
        slot=_slots(table, spec.window)[usable],
        series=table.series[usable],
        position=position[usable],
        close_time_us=table.open_time_us[usable] + spec.interval_us,
        log_returns=log_returns[usable],
        sigma=sigma[usable],
        variances=(variances * levels[table.series])[usable],
    )


def _known_in_window(mask: npt.NDArray[np.bool_], position: IntArray, window: int) -> IntArray:
    """(N,) how many of the last ``window`` rows of the same series are known."""
    total = np.concatenate([[0], np.cumsum(mask)])
    stop = np.arange(1, len(mask) + 1)
    return np.asarray(total[stop] - total[stop - np.minimum(window, position + 1)], dtype=np.int64)
