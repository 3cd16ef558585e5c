"""Builders of forecasts and bars for tests of the scoreboard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.forecasting.records import DataQuality, IssuedForecast, Latency
from features.market import HOUR_US, Bar, Completeness
from models.forecast import Forecast, ModelInfo

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
SHAPE = np.array([-1.96, -1.28, 0.0, 1.28, 1.96])
START_US = 1_700_000_000 * 1_000_000 // HOUR_US * HOUR_US


def forecast(
    kind: str, hour: int, *, horizons: Sequence[int] = (1, 2), width: float = 0.01, symbol: str = "BTC-USDT"
) -> Forecast:
    """A symmetric forecast made at the close of ``hour``, of the same width at every horizon."""
    return Forecast(
        venue="binance",
        symbol=symbol,
        close_time_us=START_US + hour * HOUR_US,
        interval_us=HOUR_US,
        horizons=tuple(horizons),
        levels=LEVELS,
        quantiles=np.tile(width * SHAPE, (len(horizons), 1)),
        volatility=np.full(len(horizons), width),
        prob_up=np.full(len(horizons), 0.5),
        attention=None,
        model=ModelInfo(id=f"{kind}-1", kind=kind, trained_until_us=None),
    )


def issue(made: Forecast, reference_price: float = 100.0) -> IssuedForecast:
    return IssuedForecast(
        forecast=made,
        source="model",
        reference_price=reference_price,
        issued_at_us=made.close_time_us + 1,
        quality=DataQuality(
            completeness=Completeness.PROVEN, missing_trades=0, window_bars_missing=0, clock_skew_ms=None
        ),
        skill=None,
        latency=Latency(bar_close_to_publish=1, features=0.0, inference=0.0),
    )


def bar(
    hour: int,
    close: float | None,
    *,
    completeness: Completeness = Completeness.PROVEN,
    revision: int = 0,
    symbol: str = "BTC-USDT",
) -> Bar:
    """The bar that closes at ``hour``."""
    return Bar(
        venue="binance",
        symbol=symbol,
        interval_us=HOUR_US,
        open_time_us=START_US + (hour - 1) * HOUR_US,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=0.0 if close is None else 1.0,
        quote_volume=None,
        trades=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        completeness=completeness,
        known_at_us=START_US + hour * HOUR_US + 7,
        revision=revision,
    )


def empty(hour: int) -> Bar:
    return bar(hour, None, completeness=Completeness.EMPTY)
