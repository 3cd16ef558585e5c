"""The forecast record and the verb that every forecaster has, network or baseline."""

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
    """Which model spoke: ``id`` is unique, ``kind`` names the forecaster's kind."""

    id: str
    kind: str
    trained_until_us: int | None


@dataclass(frozen=True, slots=True)
class ForecastInput:
    """All that a forecaster may know of one instrument at one bar close.

    window: (L, F) features and mask (L,), newest last; None where the forecaster needs none.
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
    """What a network had before it, and which of it it selected; its weights over the hours are ``attention``.

    known: (L,) bool, the hours that had every feature, oldest first; the others could not be looked at.
    feature_names: the F columns of the window.
    importance: (F,) what each feature weighed, mean over the known hours, sum 1; None where the network selects none.
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
    reading: what lay behind the attention; None for a baseline.
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
            raise ValueError(f"{self.model.kind} made a forecast that is not finite for {self.venue}:{self.symbol}")
        if (np.diff(self.quantiles, axis=1) < 0).any():
            raise ValueError(f"{self.model.kind} made crossing quantiles for {self.venue}:{self.symbol}")


class Forecaster(Protocol):
    """A network or a baseline: the same inputs, the same record out."""

    @property
    def info(self) -> ModelInfo: ...

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """One forecast per input, in order. Raises ValueError where an input cannot be forecast."""
        ...
