"""Forecasts beside what came true, as arrays: what every measure of skill is computed from."""

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
    """What one forecaster said at N cut-offs; NaN where it could not speak.

    quantiles: (N, H, Q) log returns. volatility: (N, H) standard deviation of the same. attention: (N, L), None where
    it never gave any.
    """

    quantiles: FloatArray
    volatility: FloatArray
    attention: FloatArray | None

    @property
    def spoken(self) -> npt.NDArray[np.bool_]:
        """(N,) where there is a forecast."""
        return np.asarray(np.isfinite(self.volatility).all(axis=1))

    @classmethod
    def of(cls, forecasts: Sequence[Forecast | None], *, horizons: int, levels: int) -> Answers:
        """From N forecasts; None where the forecaster was silent."""
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
    """N cut-offs of some series, what came true over H horizons, and every forecaster's answers by its kind.

    index: (N,) position in ``series``. close_time_us: (N,) the cut-off. fold: (N,) which retraining spoke.
    log_close: (N,) log of the reference price. returns: (N, H) log returns, NaN where unknown. variances: (N, H)
    realised variance of the same span, at the level of the returns' (Garman-Klass times the level that HAR found).
    calibrated: by kind (N, H, Q) the quantiles after online calibration; empty where there was none.
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
        silent = [np.full((len(part.volatility), max(lengths)), np.nan) for part in parts]
        attention = np.concatenate(
            [empty if part.attention is None else part.attention for part, empty in zip(parts, silent, strict=True)]
        )[order]
    return Answers(
        np.concatenate([part.quantiles for part in parts])[order],
        np.concatenate([part.volatility for part in parts])[order],
        attention,
    )
