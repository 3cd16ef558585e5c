"""Search objective: one figure for the skill of a forecaster over all horizons, with its standard error.

Horizons weigh alike: the figure is computed at each and averaged. Losses are first divided by those of a yardstick on
the same targets (HAR, or for the error of the median the random walk), because otherwise the far horizons, whose losses
are large, would dominate.
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
    """Truths and one kind's forecasts at n cut-offs over one horizon."""

    truth: FloatArray  # (n,)
    variance: FloatArray  # (n,), NaN where unknown
    quantiles: FloatArray  # (n, Q)
    volatility: FloatArray  # (n,)
    levels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure computed from means over targets.

    terms: targets to (n, k). value: means of the terms (..., k) to the figure (...). yardstick: the kind whose figure
    is the divisor; None for a figure without one.
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
    """(n, 2): whether the sign was right, and whether forecast and truth both differ from 0."""
    predicted, actual = np.sign(_median(targets)), np.sign(targets.truth)
    sided = (predicted != 0.0) & (actual != 0.0)
    return np.stack([(predicted == actual) & sided, sided], axis=1).astype(np.float64)


def _misses(targets: _Targets) -> FloatArray:
    """For each central interval, whether the truth lay in it, less the expected share."""
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
    """Fewest bars that give an objective, including the newest, whose outcomes may be unknown yet."""
    return minimum_count(horizon) + horizon


def objective(outcomes: Outcomes, kind: str, metric: Metric) -> Estimate:
    """The mean of the metric over all horizons, on the targets that every kind forecast.

    Its standard error is from a circular block bootstrap over time, paired with the yardstick. NaN if a figure is
    undefined, such as the share of right signs of a median that is always 0. Raises ValueError for too few bars.
    """
    times, instant = np.unique(outcomes.close_time_us, return_inverse=True)
    longest = max(outcomes.horizons)
    if len(times) < fewest_bars(longest):
        raise ValueError(
            f"{len(times)} bars are too few to score {longest} bars ahead; {fewest_bars(longest)} are needed"
        )
    ours = _columns(outcomes, kind, metric, instant)  # (T, H, k + 1)
    yardstick = ours if metric.yardstick is None else _columns(outcomes, metric.yardstick, metric, instant)
    both = np.stack([ours, yardstick], axis=1)  # (T, 2, H, k + 1)

    def figure(means: FloatArray) -> FloatArray:
        sums = means.reshape(*means.shape[:-1], *both.shape[1:])
        own, divisor = np.moveaxis(metric.value(sums[..., 1:] / sums[..., :1]), -2, 0)  # (..., H) each
        return np.asarray((own if metric.yardstick is None else own / divisor).mean(axis=-1))

    block = block_length(ours[:, -1, 1], least=2 * longest)
    return BlockBootstrap(len(times), block=block).estimate(both.reshape(len(times), -1), figure)


def _columns(outcomes: Outcomes, kind: str, metric: Metric, instant: npt.NDArray[np.int64]) -> FloatArray:
    """(T, H, k + 1): for each instant and horizon, the number of targets and the sums of their terms."""
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
