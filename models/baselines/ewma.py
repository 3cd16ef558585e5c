"""EWMA baseline: an exponentially weighted variance, scaled by the length of each horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.windows import RecentBars
from models.baselines.common import all_forecasts, baseline_forecast
from models.baselines.variance_scales import VarianceScales, fit_variance_scales
from models.forecast import Forecast, ForecastInput, ModelInfo
from models.history import Series, last_known, regular_histories, tail

FloatArray = npt.NDArray[np.float64]

DECAY = 0.94
_BARS = 400  # 0.94^400 is 2e-11: older bars have no weight
_LEAST_BARS = 24
_NEWEST_REACH = 23  # the newest variance may be a day of hours old
_WEIGHTS = DECAY ** np.arange(_BARS, dtype=np.float64)  # newest first


def ewma_variance(recent: RecentBars) -> FloatArray:
    """(N,) weighted mean of the Garman-Klass variances up to each bar; NaN if fewer than 24 are known."""
    known = np.isfinite(recent.variance)
    count = len(known)
    sums, weights, seen = (
        np.convolve(values, kernel)[:count]
        for values, kernel in (
            (np.where(known, recent.variance, 0.0), _WEIGHTS),
            (known.astype(np.float64), _WEIGHTS),
            (known.astype(np.float64), np.ones(_BARS)),
        )
    )
    fresh = np.isfinite(last_known(recent.variance, reach=_NEWEST_REACH))
    enough = fresh & (np.rint(seen) >= _LEAST_BARS)
    return np.where(enough, sums / np.where(enough, weights, 1.0), np.nan)


class Ewma:
    """Exponentially weighted moving average of the variance with decay 0.94 a bar.

    J.P. Morgan, "RiskMetrics technical document" (1996), with the range of the bar (M. Garman, M. Klass, 1980) in place
    of its squared return. The variance of h bars is h times that of one, the median is 0; the level and the quantiles
    are those of past returns over their predicted standard deviation.
    """

    def __init__(self, scales: VarianceScales, *, trained_until_us: int) -> None:
        self.horizons = scales.horizons
        self.levels = scales.levels
        self.info = ModelInfo(id=f"ewma-{trained_until_us}", kind="ewma", trained_until_us=trained_until_us)
        self._scales = scales
        self._growth = np.asarray(self.horizons, dtype=np.float64)  # (H,)

    @classmethod
    def fit(cls, bars: pl.DataFrame, *, interval_us: int, horizons: Sequence[int], levels: Sequence[float]) -> Ewma:
        """Calibrates on every series of a bars frame. Raises ValueError if no series has enough history."""
        return cls.fit_histories(regular_histories(bars, interval_us=interval_us), horizons=horizons, levels=levels)

    @classmethod
    def fit_histories(
        cls, histories: Mapping[Series, RecentBars], *, horizons: Sequence[int], levels: Sequence[float]
    ) -> Ewma:
        """As ``fit``, from series that are already on their grids."""
        growth = np.asarray(horizons, dtype=np.float64)
        variances = {series: ewma_variance(recent)[:, None] * growth for series, recent in histories.items()}
        scales = fit_variance_scales("EWMA", histories, variances, horizons=horizons, levels=levels)
        return cls(scales, trained_until_us=scales.newest_us)

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """Raises ValueError if an instrument has too few known bars."""
        return all_forecasts(self.forecast_each(inputs))

    def forecast_each(self, inputs: Sequence[ForecastInput]) -> list[Forecast | str]:
        """One forecast per input; the reason where an input cannot be forecast."""
        outcomes: list[Forecast | str] = []
        for given in inputs:
            try:
                outcomes.append(self._forecast(given))
            except ValueError as error:
                outcomes.append(str(error))
        return outcomes

    def _forecast(self, given: ForecastInput) -> Forecast:
        variance_scale = self._scales.of((given.venue, given.symbol))
        recent = tail(given.recent, _BARS)
        variance = ewma_variance(recent)[-1] if len(recent.variance) else np.nan
        if not np.isfinite(variance):
            raise ValueError(
                f"{given.venue}:{given.symbol} has too few bars with a range: EWMA needs {_LEAST_BARS}, one of them "
                f"among the last {_NEWEST_REACH + 1}"
            )
        sigma = variance_scale.sigma(variance * self._growth)
        return baseline_forecast(
            given,
            horizons=self.horizons,
            levels=self.levels,
            quantiles=sigma[:, None] * variance_scale.residual_quantiles,
            volatility=sigma,
            model=self.info,
        )

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        return self._scales.to_json()

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Ewma:
        """The inverse of ``to_json``. Raises KeyError or ValueError for a state of another shape."""
        scales = VarianceScales.from_json(state)
        return cls(scales, trained_until_us=scales.newest_us)
