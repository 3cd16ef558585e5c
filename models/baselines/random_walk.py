"""Random walk baseline: median zero, and the spread of the instrument's recent returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.baselines.common import all_forecasts, baseline_forecasts
from models.distribution import central_index
from models.forecast import Forecast, ForecastInput, ModelInfo

FloatArray = npt.NDArray[np.float64]

RANDOM_WALK_RETURNS = 720
RANDOM_WALK_LEAST_RETURNS = 24


def recent_returns(given: ForecastInput) -> FloatArray:
    """The known values of the last 720 one-bar log returns. Raises ValueError if they are fewer than 24."""
    returns = np.diff(given.recent.log_close[-RANDOM_WALK_RETURNS - 1 :])
    returns = returns[np.isfinite(returns)]
    if len(returns) < RANDOM_WALK_LEAST_RETURNS:
        raise ValueError(
            f"{given.venue}:{given.symbol} has {len(returns)} known returns, "
            f"the random walk needs {RANDOM_WALK_LEAST_RETURNS}"
        )
    return returns


class RandomWalk:
    """Median 0, and quantiles of the instrument's last 720 one-bar returns times the square root of the horizon.

    Overlapping returns of the horizon itself would need no scaling, but 720 bars hold only 30 independent
    24-bar returns, too few for an outer quantile.
    """

    def __init__(self, horizons: Sequence[int], levels: Sequence[float]) -> None:
        self.horizons = tuple(horizons)
        self.levels = tuple(levels)
        self.info = ModelInfo(id="random_walk", kind="random_walk", trained_until_us=None)

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """Raises ValueError if fewer than 24 returns are known."""
        return all_forecasts(self.forecast_each(inputs))

    def forecast_each(self, inputs: Sequence[ForecastInput]) -> list[Forecast | str]:
        """One forecast per input, computed together; the reason where an input cannot be forecast."""
        outcomes: dict[int, Forecast | str] = {}
        by_count: dict[int, dict[int, FloatArray]] = {}
        for index, given in enumerate(inputs):
            try:
                returns = recent_returns(given)
            except ValueError as error:
                outcomes[index] = str(error)
            else:
                by_count.setdefault(len(returns), {})[index] = returns
        for group in by_count.values():
            forecasts = self._forecasts([inputs[index] for index in group], np.stack(list(group.values())))
            outcomes |= zip(group, forecasts, strict=True)
        return [outcomes[index] for index in range(len(inputs))]

    def _forecasts(self, inputs: Sequence[ForecastInput], returns: FloatArray) -> list[Forecast]:
        """returns: (N, R)."""
        growth = np.sqrt(np.asarray(self.horizons, dtype=np.float64))  # (H,)
        quantiles = np.quantile(returns, self.levels, axis=1).T  # (N, Q)
        centred = quantiles - quantiles[:, central_index(self.levels), None]
        return baseline_forecasts(
            inputs,
            horizons=self.horizons,
            levels=self.levels,
            quantiles=growth[:, None] * centred[:, None, :],
            volatility=growth * np.sqrt(np.mean(returns**2, axis=1))[:, None],
            model=self.info,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"horizons": list(self.horizons), "levels": list(self.levels)}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> RandomWalk:
        """The inverse of ``to_json``."""
        return cls(state["horizons"], state["levels"])
