"""Scores of a network on its validation span, compared with the random walk and HAR, with standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.baselines import RANDOM_WALK_RETURNS, centred_quantiles
from models.evaluation.losses import inside, mean_pinball, qlike
from models.evaluation.skill import loss_ratio
from models.training.dataset import Samples, TrainingData

FloatArray = npt.NDArray[np.float64]
_BASIS_POINTS = 1e4


def scores(
    data: TrainingData,
    *,
    chosen: npt.NDArray[np.int64],
    quantiles: FloatArray,
    log_sigma: FloatArray,
    horizons: Sequence[int],
    levels: tuple[float, ...],
) -> dict[str, Any]:
    """Scores as JSON values, by horizon in bars.

    quantiles (n, H, Q) and log_sigma (n, H) are the network's for the ``chosen`` samples, in units of sigma.
    Pinball losses are means over the levels, in basis points of log return; a ratio below 1 beats the baseline.
    """
    samples = data.samples
    har = np.stack([data.har.residual_quantiles(series) for series in data.series])[samples.series[chosen]]
    random_walk = random_walk_quantiles(data, chosen, levels)
    sigma = samples.sigma[chosen]
    report = {}
    for column, horizon in enumerate(horizons):
        truth = samples.log_returns[chosen, column]
        known = np.isfinite(truth)
        model = sigma[:, column, None] * quantiles[:, column]
        losses = {
            "model": mean_pinball(truth, model, levels)[known],
            "har": mean_pinball(truth, sigma[:, column, None] * har[:, column], levels)[known],
            "random_walk": mean_pinball(truth, random_walk * np.sqrt(horizon), levels)[known],
        }
        times = samples.close_time_us[chosen][known]
        report[str(horizon)] = (
            {"scored": int(known.sum())}
            | {f"pinball_bp_{name}": float(loss.mean() * _BASIS_POINTS) for name, loss in losses.items()}
            | _ratios(losses, times, horizon)
            | _coverages(truth[known], model[known], levels)
            | _qlikes(samples, chosen, column, log_sigma)
        )
    return report


def random_walk_quantiles(data: TrainingData, chosen: npt.NDArray[np.int64], levels: tuple[float, ...]) -> FloatArray:
    """(n, Q) for one bar, from the 720 returns before each sample's cut-off; NaN if none is known."""
    quantiles = np.full((len(chosen), len(levels)), np.nan)
    for index, series in enumerate(data.series):
        returns = np.diff(data.histories[series].log_close, prepend=np.nan)
        for row in np.flatnonzero(data.samples.series[chosen] == index):
            stop = int(data.samples.position[chosen[row]]) + 1
            recent = returns[max(stop - RANDOM_WALK_RETURNS, 0) : stop]
            recent = recent[np.isfinite(recent)]
            if len(recent):
                quantiles[row] = centred_quantiles(recent, levels)
    return quantiles


def _ratios(losses: dict[str, FloatArray], times: npt.NDArray[np.int64], horizon: int) -> dict[str, float]:
    ratios = {}
    for baseline in ("har", "random_walk"):
        ratio, error = loss_ratio(losses["model"], losses[baseline], times, lag=horizon - 1)
        ratios[f"pinball_vs_{baseline}"] = ratio
        ratios[f"pinball_vs_{baseline}_se"] = error
    return ratios


def _coverages(truth: FloatArray, quantiles: FloatArray, levels: tuple[float, ...]) -> dict[str, float]:
    """Share of truths inside each central interval with both levels present."""
    coverages = {}
    for lower, level in enumerate(levels):
        for upper, other in enumerate(levels):
            if level < 0.5 and abs(level + other - 1.0) < 1e-9:
                hits = inside(quantiles, lower, upper, truth)
                coverages[f"coverage_{round(100 * (other - level))}"] = float(hits.mean())
    return coverages


def _qlikes(samples: Samples, chosen: npt.NDArray[np.int64], column: int, log_sigma: FloatArray) -> dict[str, float]:
    realised = samples.variances[chosen, column]
    known = np.isfinite(realised)
    har = samples.sigma[chosen, column] ** 2
    model = har * np.exp(2.0 * log_sigma[:, column])
    return {
        "qlike_model": float(qlike(realised[known], model[known]).mean()),
        "qlike_har": float(qlike(realised[known], har[known]).mean()),
    }
