"""What every forecaster of a walk-forward would have published with the daemon's online calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.conformal import OnlineCalibration
from models.evaluation.outcomes import Outcomes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def with_calibrated(outcomes: Outcomes) -> Outcomes:
    """The outcomes with ``calibrated`` filled: for each kind (N, H, Q) quantiles, NaN where it was silent.

    As live, in the order of time: at each cut-off first every truth that has become known by then is learned, each
    horizon h bars after its forecast, then the forecast is calibrated. Calibration goes on over retrainings.
    """
    kinds = tuple(outcomes.answers)
    raw = np.stack([outcomes.answers[kind].quantiles for kind in kinds])  # (K, N, H, Q)
    told = np.empty_like(raw)
    for series in range(len(outcomes.series)):
        rows = np.flatnonzero(outcomes.index == series)
        rows = rows[np.argsort(outcomes.close_time_us[rows])]
        told[:, rows] = _one_series(outcomes, raw, rows)
    return replace(outcomes, calibrated=dict(zip(kinds, told, strict=True)))


def _one_series(outcomes: Outcomes, raw: FloatArray, rows: IntArray) -> FloatArray:
    """(K, n, H, Q) in the order of ``rows``, which ascend in time."""
    calibration = OnlineCalibration(horizons=outcomes.horizons, levels=outcomes.levels, shape=(len(raw),))
    columns = np.arange(len(outcomes.horizons))
    span_us = np.asarray(outcomes.horizons) * outcomes.interval_us
    times = outcomes.close_time_us[rows]
    learned = np.zeros(len(columns), np.int64)  # by horizon, how many forecasts have met their truth
    told = np.empty((len(raw), len(rows), *raw.shape[2:]))
    for position, now_us in enumerate(times):
        # Usually one a horizon; after an outage several.
        while (due := times[np.minimum(learned, position)] + span_us <= now_us).any():
            at = rows[learned]  # (H,)
            truth = np.where(due, outcomes.returns[at, columns], np.nan)
            calibration.learn(raw[:, at, columns], np.broadcast_to(truth, raw.shape[:1] + truth.shape))
            learned += due
        told[:, position] = calibration.calibrated(raw[:, rows[position]])
    return told
