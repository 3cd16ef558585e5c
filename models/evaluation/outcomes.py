"""Forecasts and realised outcomes as arrays, from which all measures of skill are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.forecast import Forecast
from models.history import Series

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Forecasts of one forecaster at N cut-offs; NaN where it has none.

    quantiles: (N, H, Q) log returns. volatility: (N, H) standard deviation of the same. attention: (N, L), None if it
    never has any.
    """

    quantiles: FloatArray
    volatility: FloatArray
    attention: FloatArray | None

    @property
    def spoken(self) -> npt.NDArray[np.bool_]:
        """(N,) True where there is a forecast."""
        return np.asarray(np.isfinite(self.volatility).all(axis=1))

    @classmethod
    def of(cls, forecasts: Sequence[Forecast | None], *, horizons: int, levels: int) -> Answers:
        """The arrays of N forecasts, None where the forecaster gave none."""
        quantiles = np.full((len(forecasts), horizons, levels), np.nan)
        volatility = np.full((len(forecasts), horizons), np.nan)
        lengths = {len(each.attention) for each in forecasts if each is not None and each.attention is not None}
        attention = np.full((len(forecasts), max(lengths)), np.nan) if lengths else None
        for row, forecast in enumerate(forecasts):
            if forecast is None:
                continue
            quantiles[row], volatility[row] = forecast.quantiles, forecast.volatility
            if attention is not None and forecast.attention is not None:
                attention[row] = forecast.attention
        return cls(quantiles, volatility, attention)


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """N cut-offs of some series, the realised returns and variances over H horizons, and the forecasts of every kind.

    index: (N,) position in ``series``. close_time_us: (N,) the cut-off. fold: (N,) index of the retraining.
    log_close: (N,) log of the reference price. returns: (N, H) log returns, NaN where unknown. variances: (N, H)
    realised variance of the same span, at the level of the returns (Garman-Klass times HAR's variance level).
    calibrated: by kind (N, H, Q) the quantiles after online calibration; empty without calibration.
    """

    interval_us: int
    horizons: tuple[int, ...]
    levels: tuple[float, ...]
    series: tuple[Series, ...]
    index: IntArray
    close_time_us: IntArray
    fold: IntArray
    log_close: FloatArray
    returns: FloatArray
    variances: FloatArray
    answers: Mapping[str, Answers]
    calibrated: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.close_time_us)


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """The cut-offs of all ``parts``, which share series, horizons, levels and kinds, sorted by series and time."""
    first = parts[0]
    order = np.lexsort(
        (np.concatenate([part.close_time_us for part in parts]), np.concatenate([part.index for part in parts]))
    )
    answers = {kind: _answers([part.answers[kind] for part in parts], order) for kind in first.answers}
    return Outcomes(
        interval_us=first.interval_us,
        horizons=first.horizons,
        levels=first.levels,
        series=first.series,
        index=np.concatenate([part.index for part in parts])[order],
        close_time_us=np.concatenate([part.close_time_us for part in parts])[order],
        fold=np.concatenate([part.fold for part in parts])[order],
        log_close=np.concatenate([part.log_close for part in parts])[order],
        returns=np.concatenate([part.returns for part in parts])[order],
        variances=np.concatenate([part.variances for part in parts])[order],
        answers=answers,
    )


def _answers(parts: Sequence[Answers], order: IntArray) -> Answers:
    lengths = {part.attention.shape[1] for part in parts if part.attention is not None}
    attention = None
    if lengths:
        empty = [np.full((len(part.volatility), max(lengths)), np.nan) for part in parts]
        attention = np.concatenate(
            [none if part.attention is None else part.attention for part, none in zip(parts, empty, strict=True)]
        )[order]
    return Answers(
        np.concatenate([part.quantiles for part in parts])[order],
        np.concatenate([part.volatility for part in parts])[order],
        attention,
    )
