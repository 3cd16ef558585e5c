"""Measures of every forecaster on the same targets, each with its block-bootstrap standard error.

R2, MAPE and RMSE of a price level are left out: yesterday's price scores 0.998 there, so they do not discriminate.

* Pinball loss and CRPS in basis points of log return: ``models.evaluation.losses``.
* Skill: ratio of mean pinball losses on the same targets; below 1 beats the baseline.
* QLIKE of the variance (A. Patton, "Volatility forecast comparison using imperfect volatility proxies", Journal of
  Econometrics 160, 2011) against the variance from the ranges of the bars, scaled to the level of the returns.
* R2 of log variance: 1 - Var(log v - log f) / Var(log v) with f the square of the forecast volatility. The mean of
  the error is removed: it contains the factor between the variances of a range and of a return, which depends on the
  level, not the forecaster. As in the regression of J. Mincer and V. Zarnowitz (1969), but with the slope held at 1.
* Coverage of the central intervals whose two quantiles are forecast.
* PIT: the share of truths between neighbouring quantiles over the expected share; all 1 if calibrated
  (A. P. Dawid, 1984; T. Gneiting, F. Balabdaoui, A. Raftery, "Probabilistic forecasts, calibration and sharpness",
  JRSS B 69, 2007).
* RMSE ratio: root mean squared error of the median over that of the random walk, whose median is 0.
* Calibrated: CRPS and coverage of the forecasts after online calibration (``models.conformal``).
* Direction: share of targets where median and return have the same sign, among those where neither is 0; and its
  difference from the last-sign reversal rule on the same targets, because 50% is the wrong baseline.

Standard errors of a panel are over time: errors that the instruments of one instant share are not counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.distribution import central_index
from models.evaluation.bootstrap import BlockBootstrap, block_length
from models.evaluation.leak_alarm import LeakAlarm, leak_alarm
from models.evaluation.losses import crps_from_quantiles, inside, mean_pinball, qlike
from models.evaluation.outcomes import Outcomes
from models.evaluation.skill import Estimate, minimum_count

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BASIS_POINTS = 1e4
_DAY_US = 86_400_000_000
WALK, RULE = "random_walk", "reversal"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Scores of one kind after online calibration. crps_over_raw: below 1 is an improvement. coverage: by percent."""

    crps_bp: Estimate
    crps_over_raw: Estimate
    coverage: dict[int, Estimate]


@dataclass(frozen=True, slots=True)
class Measures:
    """One kind's skill. ``pinball_vs``: by baseline. ``coverage``: by percent. ``pit``: (Q + 1,) densities.

    qlike and r2_log_variance are None if no variance is known, direction if no sign was predicted, calibrated if the
    outcomes hold no calibrated forecasts; all other measures are of the raw forecasts.
    """

    pinball_bp: Estimate
    crps_bp: Estimate
    pinball_vs: dict[str, Estimate]
    qlike: Estimate | None
    r2_log_variance: Estimate | None
    coverage: dict[int, Estimate]
    pit: tuple[float, ...]
    rmse_vs_random_walk: Estimate
    direction: Estimate | None
    direction_over_reversal: Estimate | None
    leak_alarm: LeakAlarm
    calibrated: Calibrated | None


@dataclass(frozen=True, slots=True)
class HorizonMeasures:
    """Measures at one horizon of one series, or of all of them together if ``series`` is "all".

    scored: targets that every kind forecast. silent: by kind, targets that it did not forecast. block: rows per block
    of the bootstrap. by_kind: empty if too few targets were scored.
    """

    series: str
    horizon: int
    scored: int
    days: float
    block: int
    silent: dict[str, int]
    by_kind: dict[str, Measures]


def horizon_measures(outcomes: Outcomes, *, seed: int = 0) -> list[HorizonMeasures]:
    """Measures at each horizon, for each series and, if there are several, for all together."""
    groups = [(f"{venue}:{symbol}", outcomes.index == row) for row, (venue, symbol) in enumerate(outcomes.series)]
    if len(groups) > 1:
        groups.append(("all", np.ones(len(outcomes), dtype=np.bool_)))
    return [
        _measures_at(outcomes, name, chosen, column, seed)
        for name, chosen in groups
        for column in range(len(outcomes.horizons))
    ]


def common_targets(outcomes: Outcomes, column: int) -> npt.NDArray[np.bool_]:
    """(N,) True where the return over the horizon is known and every kind has a forecast."""
    spoken = np.stack([answers.spoken for answers in outcomes.answers.values()])
    return np.asarray(np.isfinite(outcomes.returns[:, column]) & spoken.all(axis=0))


def _measures_at(
    outcomes: Outcomes, name: str, chosen: npt.NDArray[np.bool_], column: int, seed: int
) -> HorizonMeasures:
    horizon = outcomes.horizons[column]
    rows = np.flatnonzero(chosen & common_targets(outcomes, column))
    truths = chosen & np.isfinite(outcomes.returns[:, column])
    silent = {kind: int((truths & ~answers.spoken).sum()) for kind, answers in outcomes.answers.items()}
    times = outcomes.close_time_us[rows]
    instants = len(np.unique(times))
    days = 0.0 if not len(rows) else float(times.max() - times.min() + outcomes.interval_us) / _DAY_US
    if instants < minimum_count(horizon):
        return HorizonMeasures(name, horizon, len(rows), days, 0, silent, {})
    table = _Table(outcomes, rows, column)
    walk = table.per_instant(table.pinball[WALK])
    bootstrap = BlockBootstrap(instants, block=block_length(walk, least=2 * horizon), seed=seed)
    by_kind = {kind: table.measures(kind, bootstrap, days) for kind in outcomes.answers}
    return HorizonMeasures(name, horizon, len(rows), days, bootstrap.block, silent, by_kind)


class _Table:
    """The losses of every kind on the same targets, and the estimates computed from them."""

    def __init__(self, outcomes: Outcomes, rows: IntArray, column: int) -> None:
        _, self._instant = np.unique(outcomes.close_time_us[rows], return_inverse=True)
        self.levels = outcomes.levels
        self.truth = outcomes.returns[rows, column]
        self.variance = outcomes.variances[rows, column]
        self.quantiles = {kind: each.quantiles[rows, column] for kind, each in outcomes.answers.items()}
        self.volatility = {kind: each.volatility[rows, column] for kind, each in outcomes.answers.items()}
        self.calibrated = {kind: each[rows, column] for kind, each in outcomes.calibrated.items()}
        self.pinball = {
            kind: mean_pinball(self.truth, quantiles, self.levels) for kind, quantiles in self.quantiles.items()
        }
        centre = central_index(self.levels)
        self._median = {kind: quantiles[:, centre] for kind, quantiles in self.quantiles.items()}

    def per_instant(self, values: FloatArray) -> FloatArray:
        """(n,) to (T,): sums over the series of each instant."""
        return np.asarray(np.bincount(self._instant, weights=values), dtype=np.float64)

    def measures(self, kind: str, bootstrap: BlockBootstrap, days: float) -> Measures:
        rmse = self._root_ratio(bootstrap, (self.truth - self._median[kind]) ** 2, self.truth**2)
        over = self._over_reversal(bootstrap, kind)
        return Measures(
            pinball_bp=self._mean(bootstrap, BASIS_POINTS * self.pinball[kind]),
            crps_bp=self._mean(bootstrap, self._crps_bp(self.quantiles[kind])),
            pinball_vs={
                other: self._ratio(bootstrap, self.pinball[kind], loss)
                for other, loss in self.pinball.items()
                if other != kind
            },
            qlike=self._qlike(bootstrap, kind),
            r2_log_variance=self._r2_log_variance(bootstrap, kind),
            coverage=self._coverage(bootstrap, self.quantiles[kind]),
            pit=pit_densities(self.truth, self.quantiles[kind], self.levels),
            rmse_vs_random_walk=rmse,
            direction=self._direction(bootstrap, kind),
            direction_over_reversal=over,
            leak_alarm=leak_alarm(rmse_vs_random_walk=rmse, direction_over_reversal=over, days=days),
            calibrated=self._calibrated(bootstrap, kind),
        )

    def _mean(self, bootstrap: BlockBootstrap, values: FloatArray) -> Estimate:
        return self._ratio(bootstrap, values, np.ones_like(values))

    def _ratio(self, bootstrap: BlockBootstrap, above: FloatArray, below: FloatArray) -> Estimate:
        columns = np.stack([self.per_instant(above), self.per_instant(below)], axis=1)
        return bootstrap.estimate(columns, lambda means: means[..., 0] / means[..., 1])

    def _root_ratio(self, bootstrap: BlockBootstrap, above: FloatArray, below: FloatArray) -> Estimate:
        columns = np.stack([self.per_instant(above), self.per_instant(below)], axis=1)
        return bootstrap.estimate(columns, lambda means: np.sqrt(means[..., 0] / means[..., 1]))

    def _qlike(self, bootstrap: BlockBootstrap, kind: str) -> Estimate | None:
        known = np.isfinite(self.variance)
        if not known.any():
            return None
        loss = np.zeros_like(self.truth)
        loss[known] = qlike(self.variance[known], self.volatility[kind][known] ** 2)
        return self._ratio(bootstrap, loss, known.astype(np.float64))

    def _r2_log_variance(self, bootstrap: BlockBootstrap, kind: str) -> Estimate | None:
        known = np.isfinite(self.variance)
        target = np.log(self.variance, where=known, out=np.zeros_like(self.variance))
        if not known.any() or np.ptp(target[known]) == 0.0:
            return None
        error = target - 2.0 * np.log(self.volatility[kind])
        # Both are centred, so that the difference of squares below keeps its digits.
        target, error = (np.where(known, each - each[known].mean(), 0.0) for each in (target, error))
        parts = (known.astype(np.float64), error, error**2, target, target**2)
        columns = np.stack([self.per_instant(part) for part in parts], axis=1)

        def explained(means: FloatArray) -> FloatArray:
            share, e, e2, y, y2 = np.moveaxis(means, -1, 0)
            return np.asarray(1.0 - (e2 / share - (e / share) ** 2) / (y2 / share - (y / share) ** 2))

        return bootstrap.estimate(columns, explained)

    def _coverage(self, bootstrap: BlockBootstrap, quantiles: FloatArray) -> dict[int, Estimate]:
        return {
            percent: self._mean(bootstrap, inside(quantiles, lower, upper, self.truth).astype(np.float64))
            for percent, lower, upper in central_intervals(self.levels)
        }

    def _calibrated(self, bootstrap: BlockBootstrap, kind: str) -> Calibrated | None:
        if kind not in self.calibrated:
            return None
        raw, calibrated = self._crps_bp(self.quantiles[kind]), self._crps_bp(self.calibrated[kind])
        return Calibrated(
            crps_bp=self._mean(bootstrap, calibrated),
            crps_over_raw=self._ratio(bootstrap, calibrated, raw),
            coverage=self._coverage(bootstrap, self.calibrated[kind]),
        )

    def _crps_bp(self, quantiles: FloatArray) -> FloatArray:
        return BASIS_POINTS * crps_from_quantiles(self.truth, quantiles, self.levels)

    def _direction(self, bootstrap: BlockBootstrap, kind: str) -> Estimate | None:
        hit, sided = self._hits(kind)
        return self._ratio(bootstrap, hit * sided, sided) if sided.any() else None

    def _over_reversal(self, bootstrap: BlockBootstrap, kind: str) -> Estimate | None:
        """Difference of the two shares of right signs where none of forecast, rule and truth is 0."""
        if kind == RULE:
            return None
        (hit, sided), (rule_hit, rule_sided) = self._hits(kind), self._hits(RULE)
        both = sided * rule_sided
        return self._ratio(bootstrap, (hit - rule_hit) * both, both) if both.any() else None

    def _hits(self, kind: str) -> tuple[FloatArray, FloatArray]:
        """(n,) whether the sign was right, (n,) whether forecast and truth both differ from 0; ones and zeros."""
        predicted, actual = np.sign(self._median[kind]), np.sign(self.truth)
        return (predicted == actual).astype(np.float64), ((predicted != 0.0) & (actual != 0.0)).astype(np.float64)


def central_intervals(levels: Sequence[float]) -> list[tuple[int, int, int]]:
    """Percent, lower and upper column of each central interval with both levels present, narrowest first."""
    found = [
        (round(100 * (high - low)), lower, upper)
        for lower, low in enumerate(levels)
        for upper, high in enumerate(levels)
        if low < 0.5 and abs(low + high - 1.0) < 1e-9
    ]
    return sorted(found)


def pit_densities(truth: FloatArray, quantiles: FloatArray, levels: Sequence[float]) -> tuple[float, ...]:
    """(Q + 1,) share of the truths (n,) in each gap between the quantiles (n, Q), over the gap's own probability."""
    gap = (truth[:, None] > quantiles).sum(axis=1)  # (n,) how many quantiles lie below
    shares = np.bincount(gap, minlength=len(levels) + 1) / len(truth)
    expected = np.diff(np.concatenate([[0.0], levels, [1.0]]))
    return tuple(float(each) for each in shares / expected)
