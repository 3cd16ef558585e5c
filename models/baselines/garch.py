"""GARCH(1,1) with Student's t innovations, fitted by the ``arch`` package (extra ``forecastd[garch]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.windows import RecentBars
from models.baselines.common import LEAST_ROWS, MissingExtra, baseline_forecast
from models.baselines.variance_scales import VarianceScales, fit_variance_scales
from models.forecast import Forecast, ForecastInput, ModelInfo
from models.history import Series, regular_histories, shortfall, tail

FloatArray = npt.NDArray[np.float64]

_RETURNS = 720  # that the filter reads, as many as a live input has
_LEAST_RETURNS = 168
_PERCENT = 100.0  # the optimiser wants values near 1


@dataclass(frozen=True, slots=True)
class GarchParameters:
    """``s2[t+1] = omega + alpha r[t]^2 + beta s2[t]``, in squared log returns; ``level`` is the mean of r^2 in the fit.

    ``level`` replaces an unknown squared return, and the variance before the first one.
    nu: fitted degrees of freedom of the innovations; the quantiles are those of the residuals.
    """

    omega: float
    alpha: float
    beta: float
    nu: float
    level: float

    def variance(self, log_close: FloatArray, horizons: Sequence[int]) -> FloatArray:
        """(N,) closes to (N, H): expected variance of the log return over the next ``horizons`` bars.

        The recursion is unrolled over the last 720 returns, so that live forecasts and the fit agree.
        """
        squares = np.diff(log_close, prepend=np.nan) ** 2
        squares = np.where(np.isfinite(squares), squares, self.level)
        decays = self.beta ** np.arange(_RETURNS)  # newest first
        count = len(squares)
        past = np.minimum(np.arange(1, count + 1), _RETURNS)
        remembered = self.beta**past
        one_step = (
            self.omega * (1.0 - remembered) / (1.0 - self.beta)
            + self.alpha * np.convolve(squares, decays)[:count]
            + remembered * self.level
        )
        step, total, totals = one_step, np.zeros(count), {}
        for bar in range(1, max(horizons) + 1):
            total = total + step
            totals[bar] = total
            step = self.omega + (self.alpha + self.beta) * step
        return np.stack([totals[horizon] for horizon in horizons], axis=1)


class Garch:
    """T. Bollerslev, "A conditionally heteroskedastic time series model", Review of Economics and Statistics 69 (1987).

    Maximum likelihood, mean zero. The quantiles are those of past returns over their predicted standard deviation
    (filtered historical simulation), the median is 0. It forecasts only series that were in the fit.
    """

    def __init__(
        self, parameters: Mapping[Series, GarchParameters], scales: VarianceScales, *, trained_until_us: int
    ) -> None:
        self.horizons = scales.horizons
        self.levels = scales.levels
        self.parameters = dict(parameters)
        self.info = ModelInfo(id=f"garch-{trained_until_us}", kind="garch", trained_until_us=trained_until_us)
        self._scales = scales

    @classmethod
    def fit(cls, bars: pl.DataFrame, *, interval_us: int, horizons: Sequence[int], levels: Sequence[float]) -> Garch:
        """Fits every series of a bars frame. Raises MissingExtra, or ValueError for too little history."""
        return cls.fit_histories(regular_histories(bars, interval_us=interval_us), horizons=horizons, levels=levels)

    @classmethod
    def fit_histories(
        cls, histories: Mapping[Series, RecentBars], *, horizons: Sequence[int], levels: Sequence[float]
    ) -> Garch:
        """As ``fit``, from series that are already on their grids."""
        parameters = {
            series: fitted
            for series, recent in histories.items()
            if (fitted := fit_parameters(recent.log_close)) is not None
        }
        known = {series: histories[series] for series in parameters}
        if not known:
            raise ValueError(f"GARCH needs {LEAST_ROWS} bars with a known past and future; {shortfall(histories)}")
        variances = {
            series: parameters[series].variance(recent.log_close, horizons) for series, recent in known.items()
        }
        scales = fit_variance_scales("GARCH", known, variances, horizons=horizons, levels=levels)
        return cls(parameters, scales, trained_until_us=scales.newest_us)

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """Raises ValueError for a series that was not in the fit, or with too few known returns."""
        return [self._forecast(given) for given in inputs]

    def _forecast(self, given: ForecastInput) -> Forecast:
        series = (given.venue, given.symbol)
        if series not in self.parameters:
            raise ValueError(f"{given.venue}:{given.symbol} was not in GARCH's fit")
        recent = tail(given.recent, _RETURNS + 1)
        known = np.isfinite(np.diff(recent.log_close)).sum()
        if known < _LEAST_RETURNS:
            raise ValueError(
                f"{given.venue}:{given.symbol} has {known} known returns of the last {_RETURNS}, "
                f"GARCH needs {_LEAST_RETURNS}"
            )
        variance_scale = self._scales.of(series)
        sigma = variance_scale.sigma(self.parameters[series].variance(recent.log_close, self.horizons)[-1])
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
        parameters = [
            {"venue": venue, "symbol": symbol, **asdict(fitted)} for (venue, symbol), fitted in self.parameters.items()
        ]
        return {"calibrations": self._scales.to_json(), "parameters": parameters}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Garch:
        """The inverse of ``to_json``. Raises KeyError, TypeError or ValueError for a state of another shape."""
        parameters = {
            (entry["venue"], entry["symbol"]): GarchParameters(
                **{name: entry[name] for name in GarchParameters.__dataclass_fields__}
            )
            for entry in state["parameters"]
        }
        scales = VarianceScales.from_json(state["calibrations"])
        return cls(parameters, scales, trained_until_us=scales.newest_us)


def fit_parameters(log_close: FloatArray) -> GarchParameters | None:
    """Maximum likelihood over the known returns of (N,) closes; None if fewer than 500 are known.

    Raises MissingExtra if ``arch`` is not installed.
    """
    try:
        from arch import arch_model  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MissingExtra('the GARCH baseline needs the package arch: pip install "forecastd[garch]"') from error
    returns = np.diff(log_close)
    returns = returns[np.isfinite(returns)]
    if len(returns) < LEAST_ROWS:
        return None
    model = arch_model(_PERCENT * returns, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False)
    fitted = model.fit(disp="off", show_warning=False).params
    return GarchParameters(
        omega=float(fitted["omega"]) / _PERCENT**2,
        alpha=float(fitted["alpha[1]"]),
        beta=min(float(fitted["beta[1]"]), 1.0 - 1e-9),
        nu=float(fitted["nu"]),
        level=float(np.mean(returns**2)),
    )
