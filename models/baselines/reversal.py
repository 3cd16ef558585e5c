"""Last-sign reversal baseline: predicts the opposite of the last bar's sign, the reference for skill in direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.baselines.common import baseline_forecast
from models.baselines.random_walk import RANDOM_WALK_RETURNS, RandomWalk
from models.forecast import Forecast, ForecastInput, ModelInfo
from models.history import future_returns

FloatArray = npt.NDArray[np.float64]
_LEAST_GAIN = 1e-7  # a thousandth of a basis point: gives the median a sign without affecting losses


class Reversal:
    """The random walk's distribution, moved against the sign of the last known bar.

    Hourly returns of crypto reverse a little (half of that may be bid-ask bounce, R. Roll, "A simple implicit
    measure of the effective bid-ask spread", Journal of Finance 39, 1984). The distribution moves by the mean
    gain of the rule over the last 720 bars, or by a thousandth of a basis point if that is not positive, so that the
    median has a sign except after a bar without a move.
    """

    def __init__(self, horizons: Sequence[int], levels: Sequence[float]) -> None:
        self.horizons = tuple(horizons)
        self.levels = tuple(levels)
        self.info = ModelInfo(id="reversal", kind="reversal", trained_until_us=None)
        self._walk = RandomWalk(self.horizons, self.levels)

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """Raises ValueError if fewer than 24 returns are known."""
        return [self._forecast(given, walk) for given, walk in zip(inputs, self._walk.forecast(inputs), strict=True)]

    def _forecast(self, given: ForecastInput, walk: Forecast) -> Forecast:
        return baseline_forecast(
            given,
            horizons=self.horizons,
            levels=self.levels,
            quantiles=walk.quantiles + self._move(given.recent.log_close)[:, None],
            volatility=walk.volatility,
            model=self.info,
        )

    def _move(self, log_close: FloatArray) -> FloatArray:
        """(H,) log return by which the distribution is moved."""
        closes = log_close[-RANDOM_WALK_RETURNS - 1 :]
        side = -np.sign(np.diff(closes, prepend=np.nan))  # (N,)
        if not np.isfinite(side[-1]):
            return np.zeros(len(self.horizons))
        gains = [self._gain(side, closes, horizon) for horizon in self.horizons]
        return np.asarray(side[-1] * np.maximum(gains, _LEAST_GAIN), dtype=np.float64)

    @staticmethod
    def _gain(side: FloatArray, closes: FloatArray, horizon: int) -> float:
        if len(closes) <= horizon:
            return 0.0
        gains = side * future_returns(closes, horizon)
        gains = gains[np.isfinite(gains)]
        return float(gains.mean()) if len(gains) else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"horizons": list(self.horizons), "levels": list(self.levels)}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Reversal:
        """The inverse of ``to_json``."""
        return cls(state["horizons"], state["levels"])
