"""Records shared by the packages of the daemon: issued forecasts with their quality, skill and latency, and scores.

No I/O.
"""

from __future__ import annotations

import msgspec

from daemon.intervals import interval_name
from daemon.timestamps import iso
from features.market import Completeness, MissingTrades
from models.forecast import Forecast


class DataQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of the data behind one forecast.

    completeness, missing_trades, missing_ranges: of the last bar; missing_trades is None where the number of missing
    trades is unknown. window_bars_missing: bars of the input window that are missing or empty. clock_skew_ms: the
    venue's clock minus this machine's in milliseconds, None while unknown.
    """

    completeness: Completeness
    missing_trades: int | None
    window_bars_missing: int
    clock_skew_ms: int | None
    missing_ranges: tuple[MissingTrades, ...] = ()


class Skill(msgspec.Struct, frozen=True, kw_only=True):
    """Live skill of one instrument's one-bar forecasts over ``window``; ratios below 1 beat the baseline.

    window: e.g. "30d". scored: forecasts behind the figures. ``*_se`` is the standard error of the ratio of that name.
    None until enough forecasts are scored. coverage_*: share of truths inside the central interval, from 0 to 1.
    crps_bp: mean CRPS in basis points of log return. ``raw_*``: the same before calibration, None without calibration;
    crps_vs_raw below 1: calibration improves the CRPS.
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
    """Milliseconds of wall time per stage; ``bar_close_to_publish`` is issued_at - bar_close."""

    bar_close_to_publish: int
    features: float
    inference: float


class IssuedForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast as issued: once per bar, never changed.

    source: "model" or "baseline". reference_price: the last known close, in the quote currency. issued_at_us: market
    time in microseconds. raw: the forecast before calibration; None where forecasts are not calibrated.
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
    """The score of one forecaster at one horizon.

    role: "issued", "raw" (the issued forecast before calibration) or "baseline". kind: the forecaster's kind. Times are
    in microseconds. log_return (the truth), median, pinball (mean over the quantile levels), volatility and crps are in
    log-return units, squared_error in their square; crps is None in scores of earlier versions. inside_80, inside_95:
    whether the truth lies inside the central interval.
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
    """The calibration state of one forecaster kind for one instrument; ``state`` is JSON."""

    venue: str
    symbol: str
    interval_us: int
    kind: str
    state: str


def forecast_id(venue: str, symbol: str, interval_us: int, close_time_us: int) -> str:
    """The unique id of a forecast, e.g. ``binance:BTC-USDT:1h:2026-01-05T13:00:00Z``."""
    return f"{venue}:{symbol}:{interval_name(interval_us)}:{iso(close_time_us)}"
