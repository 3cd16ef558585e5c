"""Applies the daemon's online calibration to the forecasts of a walk-forward, in time order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.conformal import OnlineCalibration
from models.evaluation.outcomes import Outcomes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def with_calibrated(outcomes: Outcomes) -> Outcomes:
    """The outcomes with ``calibrated`` filled: for each kind (N, H, Q) quantiles, NaN where it has no forecast.

    As live, in time order: at each cut-off the calibration first learns every truth that has become known by then, each
    horizon h bars after its forecast, then the forecast is calibrated. Calibration continues across retrainings.
    """
    kinds = tuple(outcomes.answers)
    raw = np.stack([outcomes.answers[kind].quantiles for kind in kinds])  # (K, N, H, Q)
    calibrated = np.empty_like(raw)
    for series in range(len(outcomes.series)):
        rows = np.flatnonzero(outcomes.index == series)
        rows = rows[np.argsort(outcomes.close_time_us[rows])]
        calibrated[:, rows] = _one_series(outcomes, raw, rows)
    return replace(outcomes, calibrated=dict(zip(kinds, calibrated, strict=True)))


def _one_series(outcomes: Outcomes, raw: FloatArray, rows: IntArray) -> FloatArray:
    """Calibrated quantiles (K, n, H, Q) of one series, in the order of ``rows``, which ascend in time."""
    calibration = OnlineCalibration(horizons=outcomes.horizons, levels=outcomes.levels, shape=(len(raw),))
    columns = np.arange(len(outcomes.horizons))
    span_us = np.asarray(outcomes.horizons) * outcomes.interval_us
    times = outcomes.close_time_us[rows]
    learned = np.zeros(len(columns), np.int64)  # by horizon, how many forecasts have a known truth
    calibrated = np.empty((len(raw), len(rows), *raw.shape[2:]))
    for position, now_us in enumerate(times):
        # Usually one truth per horizon is due; after an outage several.
        while (due := times[np.minimum(learned, position)] + span_us <= now_us).any():
            at = rows[learned]  # (H,)
            truth = np.where(due, outcomes.returns[at, columns], np.nan)
            calibration.learn(raw[:, at, columns], np.broadcast_to(truth, raw.shape[:1] + truth.shape))
            learned += due
        calibrated[:, position] = calibration.calibrated(raw[:, rows[position]])
    return calibrated
