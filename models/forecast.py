"""The forecast record, its inputs, and the protocol of every forecaster, network or baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.windows import RecentBars, Window

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model of a forecast: ``id`` is unique, ``kind`` names the kind of forecaster."""

    id: str
    kind: str
    trained_until_us: int | None


@dataclass(frozen=True, slots=True)
class ForecastInput:
    """All data available to a forecaster for one instrument at one bar close.

    window: (L, F) features and mask (L,), newest last; None if the forecaster needs none.
    recent: closes and variances of recent bars, newest last, for the baselines.
    """

    venue: str
    symbol: str
    close_time_us: int
    interval_us: int
    window: Window | None
    recent: RecentBars


@dataclass(frozen=True, slots=True, eq=False)
class WindowReading:
    """The window that a network read, and its feature weights; ``Forecast.attention`` holds its weights over the hours.

    known: (L,) bool, the hours that had every feature, oldest first; the others carry no attention.
    feature_names: the F columns of the window.
    importance: (F,) weight of each feature, mean over the known hours, sum 1; None if the network selects none.
    """

    known: npt.NDArray[np.bool_]
    feature_names: tuple[str, ...]
    importance: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """The distribution of the log return from the last close to ``horizon`` bars later.

    quantiles: (H, Q) log returns, never crossing along Q.
    volatility: (H,) standard deviation of the same log return, not annualised.
    prob_up: (H,) probability that the log return is above zero.
    attention: (L,) weights over the window's hours, oldest first, sum 1; None for a baseline.
    reading: the window behind the attention; None for a baseline.
    """

    venue: str
    symbol: str
    close_time_us: int
    interval_us: int
    horizons: tuple[int, ...]
    levels: tuple[float, ...]
    quantiles: FloatArray
    volatility: FloatArray
    prob_up: FloatArray
    attention: FloatArray | None
    model: ModelInfo
    reading: WindowReading | None = None

    def __post_init__(self) -> None:
        shape = (len(self.horizons), len(self.levels))
        if self.quantiles.shape != shape:
            raise ValueError(f"quantiles have shape {self.quantiles.shape}, expected {shape} (horizons, levels)")
        if not (np.isfinite(self.quantiles).all() and np.isfinite(self.volatility).all()):
            raise ValueError(f"the forecast of {self.model.kind} for {self.venue}:{self.symbol} is not finite")
        if (np.diff(self.quantiles, axis=1) < 0).any():
            raise ValueError(f"the quantiles of {self.model.kind} for {self.venue}:{self.symbol} cross")


class Forecaster(Protocol):
    """A network or a baseline: both forecast from the same inputs and return the same record."""

    @property
    def info(self) -> ModelInfo: ...

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """One forecast per input, in order. Raises ValueError if an input cannot be forecast."""
        ...
