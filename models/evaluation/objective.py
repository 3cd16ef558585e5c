"""One number for how good a forecaster was over all horizons, with its standard error: what a search goes by.

Horizons count alike: a figure is taken at each and averaged. Losses are first set against a yardstick's on the same
targets, HAR's or for the median's error the random walk's, so that the far horizons, whose losses are large, do not
decide alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.distribution import central_index
from models.evaluation.bootstrap import BlockBootstrap, block_length
from models.evaluation.losses import crps_from_quantiles, mean_pinball, qlike
from models.evaluation.measures import central_intervals, common_targets
from models.evaluation.outcomes import Outcomes
from models.evaluation.skill import Estimate, minimum_count

FloatArray = npt.NDArray[np.float64]


class _Targets(NamedTuple):
    """What came at n cut-offs over one horizon, and what one forecaster had said of it."""

    truth: FloatArray  # (n,)
    variance: FloatArray  # (n,), NaN where unknown
    quantiles: FloatArray  # (n, Q)
    volatility: FloatArray  # (n,)
    levels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """terms: targets to (n, k); value: the terms' means (..., k) to the figure (...).

    yardstick: the kind over whose figure ours is put, None for a figure that stands by itself.
    """

    says: str
    terms: Callable[[_Targets], FloatArray]
    value: Callable[[FloatArray], FloatArray] = lambda means: means[..., 0]
    yardstick: str | None = "har"
    higher_is_better: bool = False


def _qlike(targets: _Targets) -> FloatArray:
    known = np.isfinite(targets.variance)
    loss = np.zeros_like(targets.truth)
    loss[known] = qlike(targets.variance[known], targets.volatility[known] ** 2)
    return np.stack([loss, known], axis=1)


def _median(targets: _Targets) -> FloatArray:
    return np.asarray(targets.quantiles[:, central_index(targets.levels)])


def _signs(targets: _Targets) -> FloatArray:
    """Whether the sign was right, whether forecast and truth took a side."""
    said, was = np.sign(_median(targets)), np.sign(targets.truth)
    sided = (said != 0.0) & (was != 0.0)
    return np.stack([(said == was) & sided, sided], axis=1).astype(np.float64)


def _misses(targets: _Targets) -> FloatArray:
    """For each central interval, whether the truth lay in it, less the share that belongs there."""
    return np.stack(
        [
            ((targets.quantiles[:, low] <= targets.truth) & (targets.truth <= targets.quantiles[:, high])).astype(
                np.float64
            )
            - percent / 100.0
            for percent, low, high in central_intervals(targets.levels)
        ],
        axis=1,
    )


def _share(means: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        return np.asarray(means[..., 0] / means[..., 1])


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "pinball": Metric(
            "pinball loss over HAR's",
            lambda targets: mean_pinball(targets.truth, targets.quantiles, targets.levels)[:, None],
        ),
        "crps": Metric(
            "CRPS over HAR's",
            lambda targets: crps_from_quantiles(targets.truth, targets.quantiles, targets.levels)[:, None],
        ),
        "qlike": Metric("QLIKE of the variance over HAR's", _qlike, _share),
        "rmse": Metric(
            "RMSE of the median over the random walk's",
            lambda targets: (targets.truth - _median(targets))[:, None] ** 2,
            lambda means: np.asarray(np.sqrt(means[..., 0])),
            yardstick="random_walk",
        ),
        "coverage": Metric(
            "distance of the central intervals' coverage from what it should be",
            _misses,
            lambda means: np.asarray(np.abs(means).mean(axis=-1)),
            yardstick=None,
        ),
        "direction": Metric("share of right signs", _signs, _share, yardstick=None, higher_is_better=True),
    }
)


def fewest_bars(horizon: int) -> int:
    """How many bars give an objective, the newest of which may not know their outcomes yet."""
    return minimum_count(horizon) + horizon


def objective(outcomes: Outcomes, kind: str, metric: Metric) -> Estimate:
    """The mean of the metric over all horizons, on the targets that every kind forecast.

    Its standard error is that of a circular block bootstrap over time, paired with the yardstick. NaN where a figure
    does not exist, as the share of right signs of a median that is always 0. Raises ValueError for too few targets.
    """
    times, instant = np.unique(outcomes.close_time_us, return_inverse=True)
    longest = max(outcomes.horizons)
    if len(times) < fewest_bars(longest):
        raise ValueError(
            f"{len(times)} bars are too few to judge {longest} bars ahead by; {fewest_bars(longest)} would do"
        )
    ours = _columns(outcomes, kind, metric, instant)  # (T, H, k + 1)
    bars = ours if metric.yardstick is None else _columns(outcomes, metric.yardstick, metric, instant)
    both = np.stack([ours, bars], axis=1)  # (T, 2, H, k + 1)

    def figure(means: FloatArray) -> FloatArray:
        sums = means.reshape(*means.shape[:-1], *both.shape[1:])
        said, beside = np.moveaxis(metric.value(sums[..., 1:] / sums[..., :1]), -2, 0)  # (..., H) each
        return np.asarray((said if metric.yardstick is None else said / beside).mean(axis=-1))

    block = block_length(ours[:, -1, 1], least=2 * longest)
    return BlockBootstrap(len(times), block=block).estimate(both.reshape(len(times), -1), figure)


def _columns(outcomes: Outcomes, kind: str, metric: Metric, instant: npt.NDArray[np.int64]) -> FloatArray:
    """(T, H, k + 1): at each instant and horizon how many targets there are, and the sums of their terms."""
    answers = outcomes.answers[kind]
    horizons = []
    for column in range(len(outcomes.horizons)):
        rows = np.flatnonzero(common_targets(outcomes, column))
        targets = _Targets(
            outcomes.returns[rows, column],
            outcomes.variances[rows, column],
            answers.quantiles[rows, column],
            answers.volatility[rows, column],
            outcomes.levels,
        )
        terms = np.column_stack([np.ones(len(rows)), metric.terms(targets)])  # (n, k + 1)
        count = int(instant.max()) + 1
        horizons.append(
            np.stack([np.bincount(instant[rows], weights=term, minlength=count) for term in terms.T], axis=1)
        )
    return np.stack(horizons, axis=1)
