"""HAR baseline: heterogeneous autoregression of the log variance, with hour and weekday."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.windows import RecentBars
from models.baselines.common import (
    ANY_SERIES,
    LEAST_ROWS,
    all_forecasts,
    baseline_forecasts,
    centred_quantiles,
    standardised,
)
from models.forecast import Forecast, ForecastInput, ModelInfo
from models.history import (
    Series,
    UnusableBars,
    future_returns,
    future_variances,
    last_known,
    regular_histories,
    shortfall,
    tail,
    trailing_mean,
)

FloatArray = npt.NDArray[np.float64]

HAR_LAGS = (1, 24, 168)
_HOUR_US = 3_600_000_000
_HOURS = 24
_WEEKDAYS = 7


@dataclass(frozen=True, slots=True, eq=False)
class HarCoefficients:
    """HAR's coefficients for one series, H horizons and Q levels.

    weights: (H, 3 + 24 + 7) of the log lag variances, the hour and the weekday at the cut-off.
    scale: (H,) factor from the fitted variance to that of the log return.
    variance_level: (H,) mean ratio of the variance of the log return to the variance from the ranges of its bars.
    residual_quantiles: (H, Q) of the return over its predicted standard deviation, the central one zero.
    """

    weights: FloatArray
    scale: FloatArray
    variance_level: FloatArray
    residual_quantiles: FloatArray


def har_regressors(recent: RecentBars) -> FloatArray:
    """(N, 34) regressors at each bar's close; NaN rows where the lags have too little history.

    The lags are means of the last 1, 24 and 168 Garman-Klass variances (Corsi 2009); bars without a range
    are left out. A lag needs half of its bars, and the newest variance may be at most a day old. Hour and weekday are
    those in which the target begins; they determine those of the later bars of a longer target.
    """
    newest = last_known(recent.variance, reach=HAR_LAGS[1] - 1)
    day, week = (trailing_mean(recent.variance, lag, least=lag // 2) for lag in HAR_LAGS[1:])
    lags = np.log(np.stack([newest, day, week], axis=1))
    hours = recent.close_time_us // _HOUR_US
    hour = np.eye(_HOURS)[hours % _HOURS]
    weekday = np.eye(_WEEKDAYS)[hours // _HOURS % _WEEKDAYS]
    return np.concatenate([lags, hour, weekday], axis=1)


def newest_regressors(recents: Sequence[RecentBars]) -> FloatArray:
    """(N, 34): the last row of ``har_regressors`` of each of N instruments; NaN for one without bars."""
    variance = np.full((len(recents), max(HAR_LAGS)), np.nan)
    closes_us = np.zeros(len(recents), dtype=np.int64)
    for row, recent in enumerate(recents):
        if bars := len(recent.variance[-max(HAR_LAGS) :]):
            variance[row, -bars:] = recent.variance[-bars:]
            closes_us[row] = recent.close_time_us[-1]
    known = np.isfinite(variance)
    sums, counts = (np.cumsum(values, axis=1) for values in (np.where(known, variance, 0.0), known.astype(np.float64)))
    last = np.where(known, np.arange(variance.shape[1]), -1).max(axis=1)  # (N,)
    fresh = last >= variance.shape[1] - HAR_LAGS[1]
    lags = [np.where(fresh, variance[np.arange(len(recents)), last], np.nan)]
    for lag in HAR_LAGS[1:]:
        total, count = (
            values[:, -1] - (values[:, -lag - 1] if lag < values.shape[1] else 0.0) for values in (sums, counts)
        )
        lags.append(np.where(count >= lag // 2, total / np.maximum(count, 1.0), np.nan))
    hours = closes_us // _HOUR_US
    hour, weekday = np.eye(_HOURS)[hours % _HOURS], np.eye(_WEEKDAYS)[hours // _HOURS % _WEEKDAYS]
    return np.concatenate([np.log(np.stack(lags, axis=1)), hour, weekday], axis=1)


def _too_few(series: Series) -> str:
    return (
        f"{series[0]}:{series[1]} has too few bars with a range: HAR needs half of the last {HAR_LAGS[1]} and half of "
        f"the last {HAR_LAGS[2]}"
    )


class Har:
    """Heterogeneous autoregression of the log variance (Corsi 2009) with hour and weekday, per horizon.

    The quantiles are those of past returns over their predicted standard deviation, times the prediction;
    the median is 0. A series that was not in the fit is forecast with coefficients pooled over all series.
    """

    def __init__(
        self,
        horizons: Sequence[int],
        levels: Sequence[float],
        coefficients: Mapping[Series, HarCoefficients],
        *,
        trained_until_us: int,
    ) -> None:
        self.horizons = tuple(horizons)
        self.levels = tuple(levels)
        self.coefficients = dict(coefficients)
        self.info = ModelInfo(id=f"har-{trained_until_us}", kind="har", trained_until_us=trained_until_us)

    @classmethod
    def fit(cls, bars: pl.DataFrame, *, interval_us: int, horizons: Sequence[int], levels: Sequence[float]) -> Har:
        """Fits every series of a bars frame. Raises ValueError if no series has enough history."""
        return cls.fit_histories(regular_histories(bars, interval_us=interval_us), horizons=horizons, levels=levels)

    @classmethod
    def fit_histories(
        cls, histories: Mapping[Series, RecentBars], *, horizons: Sequence[int], levels: Sequence[float]
    ) -> Har:
        """As ``fit``, from series that are already on their grids."""
        coefficients: dict[Series, HarCoefficients] = {}
        for series, recent in histories.items():
            fitted = _fit([recent], horizons, levels)
            if fitted is not None:
                coefficients[series] = fitted
        pooled = _fit(list(histories.values()), horizons, levels)
        if pooled is None:
            raise UnusableBars(f"HAR needs {LEAST_ROWS} bars with a known past and future; {shortfall(histories)}")
        coefficients[ANY_SERIES] = pooled
        newest_us = max(int(recent.close_time_us[-1]) for recent in histories.values())
        return cls(horizons, levels, coefficients, trained_until_us=newest_us)

    def sigma(self, series: Series, recent: RecentBars) -> FloatArray:
        """(N, H) predicted standard deviation of the log return over each horizon; NaN if history is too short."""
        fitted = self.coefficients.get(series, self.coefficients[ANY_SERIES])
        variance = np.exp(har_regressors(recent) @ fitted.weights.T) * fitted.scale  # (N, 34) @ (34, H)
        return np.asarray(np.sqrt(variance), dtype=np.float64)

    def sigma_now(self, series: Series, recent: RecentBars) -> FloatArray:
        """``sigma`` (H,) of the last bar. Raises ValueError if there are too few known bars."""
        needed = tail(recent, max(HAR_LAGS))
        sigma = self.sigma(series, needed)[-1] if len(needed.log_close) else np.full(len(self.horizons), np.nan)
        if not np.isfinite(sigma).all():
            raise ValueError(_too_few(series))
        return sigma

    def variance_level(self, series: Series) -> FloatArray:
        """(H,) mean ratio of the variance of the log return to the variance from the ranges of its bars."""
        return self.coefficients.get(series, self.coefficients[ANY_SERIES]).variance_level

    def residual_quantiles(self, series: Series) -> FloatArray:
        """(H, Q) quantiles of the return in units of ``sigma``."""
        return self.coefficients.get(series, self.coefficients[ANY_SERIES]).residual_quantiles

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """Raises ValueError if an instrument has too few known bars."""
        return all_forecasts(self.forecast_each(inputs))

    def forecast_each(self, inputs: Sequence[ForecastInput]) -> list[Forecast | str]:
        """One forecast per input, computed together; the reason where an input cannot be forecast."""
        if not inputs:
            return []
        fitted = [self.coefficients.get((each.venue, each.symbol), self.coefficients[ANY_SERIES]) for each in inputs]
        weights = np.stack([each.weights for each in fitted])
        log_variance = np.einsum("nhr,nr->nh", weights, newest_regressors([each.recent for each in inputs]))
        sigma = np.sqrt(np.exp(log_variance) * np.stack([each.scale for each in fitted]))  # (N, H)
        known = np.isfinite(sigma).all(axis=1)
        possible = [index for index, is_known in enumerate(known) if is_known]
        residuals = np.stack([each.residual_quantiles for each in fitted])[possible]  # (K, H, Q)
        forecasts = iter(
            baseline_forecasts(
                [inputs[index] for index in possible],
                horizons=self.horizons,
                levels=self.levels,
                quantiles=sigma[possible, :, None] * residuals,
                volatility=sigma[possible],
                model=self.info,
            )
        )
        return [
            next(forecasts) if is_known else _too_few((given.venue, given.symbol))
            for given, is_known in zip(inputs, known, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        return {
            "horizons": list(self.horizons),
            "levels": list(self.levels),
            "trained_until_us": self.info.trained_until_us,
            "series": [
                {
                    "venue": venue,
                    "symbol": symbol,
                    **{field.name: getattr(fitted, field.name).tolist() for field in fields(fitted)},
                }
                for (venue, symbol), fitted in self.coefficients.items()
            ],
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Har:
        """The inverse of ``to_json``. Raises KeyError or ValueError for a state of another shape."""
        coefficients = {
            (entry["venue"], entry["symbol"]): HarCoefficients(
                **{field.name: np.asarray(entry[field.name]) for field in fields(HarCoefficients)}
            )
            for entry in state["series"]
        }
        if ANY_SERIES not in coefficients:
            raise ValueError("the state of HAR lacks the pooled coefficients")
        return cls(state["horizons"], state["levels"], coefficients, trained_until_us=state["trained_until_us"])


def _fit(histories: Sequence[RecentBars], horizons: Sequence[int], levels: Sequence[float]) -> HarCoefficients | None:
    """Ordinary least squares over the stacked histories; None if any horizon has too few rows."""
    regressors = np.concatenate([har_regressors(recent) for recent in histories])
    weights, scales, variance_levels, residual_quantiles = [], [], [], []
    for horizon in horizons:
        variances = np.concatenate([future_variances(recent.variance, horizon) for recent in histories])
        returns = np.concatenate([future_returns(recent.log_close, horizon) for recent in histories])
        usable = np.isfinite(regressors).all(axis=1) & np.isfinite(variances) & np.isfinite(returns)
        if usable.sum() < LEAST_ROWS:
            return None
        # Hour and weekday dummies each sum to one, so the solution is not unique; lstsq returns that of smallest norm.
        solution, *_ = np.linalg.lstsq(regressors[usable], np.log(variances[usable]), rcond=1e-9)
        solution = _with_unseen_times(solution, regressors[usable])
        fitted = np.exp(regressors[usable] @ solution)
        scale, residuals = standardised(fitted, returns[usable])
        weights.append(solution)
        scales.append(scale)
        variance_levels.append(scale / float(np.mean(variances[usable] / fitted)))
        residual_quantiles.append(centred_quantiles(residuals, levels))
    return HarCoefficients(
        np.stack(weights), np.asarray(scales), np.asarray(variance_levels), np.stack(residual_quantiles)
    )


def _with_unseen_times(weights: FloatArray, regressors: FloatArray) -> FloatArray:
    """Weights in which hours and weekdays absent from the fit have the mean weight of those present.

    The dummies contain the level of the regression: without a weight, the first bar of a new hour after a fit on half a
    day of short bars would be forecast with a variance that is wrong by orders of magnitude.
    """
    completed = weights.copy()
    lags = len(HAR_LAGS)
    for block in (slice(lags, lags + _HOURS), slice(lags + _HOURS, lags + _HOURS + _WEEKDAYS)):
        seen = regressors[:, block].any(axis=0)
        completed[block] = np.where(seen, weights[block], weights[block][seen].mean())
    return completed
