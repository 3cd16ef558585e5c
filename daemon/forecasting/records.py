"""Records that cross rooms inside the daemon: the quality, skill and latency that travel with a forecast."""

from __future__ import annotations

import msgspec

from daemon.intervals import interval_name
from daemon.timestamps import iso
from features.market import Completeness, MissingTrades
from models.forecast import Forecast


class DataQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What the forecast was made from. ``missing_trades`` is of the last bar, ``window_bars_missing`` of the window.

    missing_trades: None where trades are missing and nobody knows how many.
    """

    completeness: Completeness
    missing_trades: int | None
    window_bars_missing: int
    clock_skew_ms: int | None
    missing_ranges: tuple[MissingTrades, ...] = ()


class Skill(msgspec.Struct, frozen=True, kw_only=True):
    """Live skill of one instrument's one-bar forecasts over ``window``; ratios below 1 beat the baseline.

    ``*_se`` is the standard error of the ratio beside it. None until enough forecasts are scored. crps_bp is the mean
    CRPS in basis points of log return. ``raw_*``: of the same forecasts before calibration, None where there was none;
    crps_vs_raw below 1: calibration pays.
    """

    window: str
    scored: int
    pinball_vs_har: float | None = None
    pinball_vs_har_se: float | None = None
    pinball_vs_random_walk: float | None = None
    pinball_vs_random_walk_se: float | None = None
    rmse_vs_random_walk: float | None = None
    rmse_vs_random_walk_se: float | None = None
    coverage_80: float | None = None
    coverage_95: float | None = None
    crps_bp: float | None = None
    raw_crps_bp: float | None = None
    crps_vs_raw: float | None = None
    crps_vs_raw_se: float | None = None
    raw_coverage_80: float | None = None
    raw_coverage_95: float | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of wall time spent per stage; ``bar_close_to_publish`` is issued_at - bar_close."""

    bar_close_to_publish: int
    features: float
    inference: float


class IssuedForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast as it is issued: once for a bar, never changed. ``source`` is "model" or "baseline".

    raw: the same as the forecaster gave it, before calibration; None where forecasts are issued as they are given.
    """

    forecast: Forecast
    source: str
    reference_price: float
    issued_at_us: int
    quality: DataQuality
    skill: Skill | None
    latency: Latency
    raw: Forecast | None = None

    @property
    def id(self) -> str:
        forecast = self.forecast
        return forecast_id(forecast.venue, forecast.symbol, forecast.interval_us, forecast.close_time_us)


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One forecast of one horizon beside the truth. ``kind`` is the forecaster's, ``role`` "issued", "raw" (the issued
    one before calibration) or "baseline".

    pinball is the mean over the quantile levels, in log-return units, and so is crps, None in scores of old;
    ``inside_80`` and ``inside_95`` say whether the truth fell into the interval.
    """

    venue: str
    symbol: str
    close_time_us: int
    horizon_bars: int
    role: str
    kind: str
    model_id: str
    log_return: float
    median: float
    pinball: float
    squared_error: float
    inside_80: bool
    inside_95: bool
    volatility: float
    scored_at_us: int
    crps: float | None = None


class CalibrationState(msgspec.Struct, frozen=True, kw_only=True):
    """What calibration knows of one kind of forecaster for one instrument; ``state`` is its JSON."""

    venue: str
    symbol: str
    interval_us: int
    kind: str
    state: str


def forecast_id(venue: str, symbol: str, interval_us: int, close_time_us: int) -> str:
    """The one name of a forecast, e.g. ``binance:BTC-USDT:1h:2026-01-05T13:00:00Z``."""
    return f"{venue}:{symbol}:{interval_name(interval_us)}:{iso(close_time_us)}"
