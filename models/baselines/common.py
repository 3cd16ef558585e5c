"""Shared parts of the baselines: forecast records, quantiles of residuals, and the scale of a predicted variance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.distribution import central_index, probability_above_zero
from models.forecast import Forecast, ForecastInput, ModelInfo
from models.history import Series

FloatArray = npt.NDArray[np.float64]

ANY_SERIES: Series = ("*", "*")
"""Key of the parameters fitted on all series together, used for a series that was not in the fit."""

LEAST_ROWS = 500
"""Fewest known outcomes to calibrate on: the outermost residual quantiles need that many."""


class MissingExtra(ValueError):
    """A baseline needs a package that is not installed; the message names the extra that installs it."""


@dataclass(frozen=True, slots=True, eq=False)
class VarianceScale:
    """From a predicted variance to the distribution of the log return, for H horizons and Q levels.

    scale: (H,) factor from the predicted variance to that of the log return.
    residual_quantiles: (H, Q) of the return over its predicted standard deviation, the central one zero.
    """

    scale: FloatArray
    residual_quantiles: FloatArray

    @classmethod
    def fit(cls, variances: FloatArray, returns: FloatArray, levels: Sequence[float]) -> Self | None:
        """variances, returns: (N, H), NaN where unknown. None if a horizon has fewer than ``LEAST_ROWS``.

        The quantiles are those of the standardised residuals, as in filtered historical simulation (G. Barone-Adesi,
        K. Giannopoulos, L. Vosper, "VaR without correlations for portfolios of derivative securities", Journal of
        Futures Markets 19, 1999).
        """
        scales, quantiles = [], []
        for variance, outcome in zip(variances.T, returns.T, strict=True):
            known = np.isfinite(variance) & np.isfinite(outcome)
            if known.sum() < LEAST_ROWS:
                return None
            scale, residuals = standardised(variance[known], outcome[known])
            scales.append(scale)
            quantiles.append(centred_quantiles(residuals, levels))
        return cls(np.asarray(scales), np.stack(quantiles))

    def sigma(self, variance: FloatArray) -> FloatArray:
        """(..., H) predicted variance to (..., H) standard deviation of the log return."""
        return np.asarray(np.sqrt(variance * self.scale), dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        return cls(**{field.name: np.asarray(state[field.name]) for field in fields(cls)})


def standardised(variance: FloatArray, returns: FloatArray) -> tuple[float, FloatArray]:
    """The factor that brings a predicted variance (n,) to the level of the returns (n,), and the residuals (n,).

    The mean of r^2/f minimises QLIKE over a constant factor; it also removes the bias of exp(E[log v]).
    """
    scale = float(np.mean(returns**2 / variance))
    return scale, returns / np.sqrt(scale * variance)


def centred_quantiles(values: FloatArray, levels: Sequence[float]) -> FloatArray:
    """(N,) to (Q,): empirical quantiles, shifted so that the central one is zero."""
    quantiles = np.quantile(values, levels)
    return np.asarray(quantiles - quantiles[central_index(levels)], dtype=np.float64)


def baseline_forecast(
    given: ForecastInput,
    *,
    horizons: tuple[int, ...],
    levels: tuple[float, ...],
    quantiles: FloatArray,
    volatility: FloatArray,
    model: ModelInfo,
) -> Forecast:
    """The forecast record of a baseline: without attention, the probability derived from the quantiles."""
    return baseline_forecasts(
        [given], horizons=horizons, levels=levels, quantiles=quantiles[None], volatility=volatility[None], model=model
    )[0]


def baseline_forecasts(
    inputs: Sequence[ForecastInput],
    *,
    horizons: tuple[int, ...],
    levels: tuple[float, ...],
    quantiles: FloatArray,
    volatility: FloatArray,
    model: ModelInfo,
) -> list[Forecast]:
    """``baseline_forecast`` of N inputs. quantiles: (N, H, Q), volatility: (N, H)."""
    return [
        Forecast(
            venue=given.venue,
            symbol=given.symbol,
            close_time_us=given.close_time_us,
            interval_us=given.interval_us,
            horizons=horizons,
            levels=levels,
            quantiles=own_quantiles,
            volatility=own_volatility,
            prob_up=own_prob_up,
            attention=None,
            model=model,
        )
        for given, own_quantiles, own_volatility, own_prob_up in zip(
            inputs, quantiles, volatility, probability_above_zero(quantiles, levels), strict=True
        )
    ]


def all_forecasts(outcomes: Iterable[Forecast | str]) -> list[Forecast]:
    """The forecasts of ``forecast_each``. Raises ValueError with the first reason where an input has none."""
    forecasts = []
    for outcome in outcomes:
        if isinstance(outcome, str):
            raise ValueError(outcome)  # noqa: TRY004  # the reason, not the type, is wrong
        forecasts.append(outcome)
    return forecasts
