"""Builds outcomes by hand: returns, and forecasts that are normal distributions of a given centre and width."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from models.evaluation.outcomes import Answers, Outcomes
from tests.models.synthetic import HOUR_US, START_US

FloatArray = npt.NDArray[np.float64]
LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
SCORES = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


def normal(sigma: FloatArray | float, returns: FloatArray, *, centre: FloatArray | float = 0.0) -> Answers:
    """Forecasts N(centre, sigma^2) of one horizon at each cut-off."""
    width = np.broadcast_to(np.asarray(sigma, dtype=np.float64), returns.shape)
    middle = np.broadcast_to(np.asarray(centre, dtype=np.float64), returns.shape)
    quantiles = middle[:, None] + width[:, None] * SCORES
    return Answers(quantiles[:, None, :], width[:, None].copy(), None)


def outcomes(
    returns: FloatArray,
    answers: Mapping[str, Answers],
    *,
    variances: FloatArray | None = None,
    series: int = 1,
) -> Outcomes:
    """One horizon of one bar; the (n,) rows are those of ``series`` instruments in turn, each at all times."""
    times = len(returns) // series
    return Outcomes(
        interval_us=HOUR_US,
        horizons=(1,),
        levels=LEVELS,
        series=tuple(("binance", name) for name in ("BTC-USDT", "ETH-USDT", "SOL-USDT")[:series]),
        index=np.repeat(np.arange(series), times),
        close_time_us=START_US + HOUR_US * np.tile(np.arange(times), series),
        fold=np.zeros(len(returns), dtype=np.int64),
        log_close=np.zeros(len(returns)),
        returns=returns[:, None].copy(),
        variances=(np.maximum(returns**2, 1e-12) if variances is None else variances)[:, None],
        answers=answers,
    )


def with_baselines(returns: FloatArray, sigma: FloatArray | float, **answers: Answers) -> dict[str, Answers]:
    """``answers`` and the usual baselines: random walk and HAR of width ``sigma``, and the reversal rule."""
    last = np.concatenate([[0.0], returns[:-1]])
    return {
        **answers,
        "random_walk": normal(sigma, returns),
        "reversal": normal(sigma, returns, centre=-1e-7 * np.sign(last)),
        "har": normal(sigma, returns),
    }
