"""Records that cross rooms inside the daemon: the quality, skill and latency that travel with a forecast."""

from __future__ import annotations

import msgspec

from daemon.clock import iso
from features.market import Completeness, MissingTrades
from models.forecast import Forecast

LEDGER_NAME = "ledger.sqlite"  # in the state directory


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
        made = self.forecast
        return forecast_id(made.venue, made.symbol, made.interval_us, made.close_time_us)


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


_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))


def interval_name(interval_us: int) -> str:
    """``3600000000`` as ``1h``: the largest unit that divides it."""
    for unit, length_us in _UNITS:
        if interval_us % length_us == 0:
            return f"{interval_us // length_us}{unit}"
    raise ValueError(f"interval was {interval_us} us, must be whole seconds")


def parse_interval(text: str) -> int:
    """``"1h"`` as microseconds; raises ValueError unless it is 1s to 1d and divides a day."""
    units = dict(_UNITS)
    unit = text[-1:]
    if unit not in units or not text[:-1].isdecimal() or int(text[:-1]) == 0:
        raise ValueError(f"interval was {text!r}; write a number and s, m, h or d, e.g. 1h")
    interval_us = int(text[:-1]) * units[unit]
    if 86_400_000_000 % interval_us:
        raise ValueError(f"interval was {text!r}; it must divide a day, e.g. 5s, 1m, 15m, 1h, 4h, 1d")
    return interval_us


class MissingIds(msgspec.Struct, frozen=True):
    """Trade ids ``first_id..last_id`` that were never received, between two trades whose times bound them."""

    first_id: int
    last_id: int
    after_us: int
    before_us: int

    @property
    def count(self) -> int:
        return self.last_id - self.first_id + 1


class Interruption(msgspec.Struct, frozen=True):
    """A time in which nobody listened to an instrument; trades between the two times may have been lost.

    after_us: the last time that is covered. before_us: when the venue was heard again; None while it is not.
    given_up: the venue was asked for the trades in between and does not have them any more.
    """

    after_us: int
    before_us: int | None = None
    given_up: bool = False


class SequenceState(msgspec.Struct, frozen=True, kw_only=True):
    """Where one instrument's trade sequence stands; stored in the same transaction as the trades it covers.

    Every trade from ``covered_from_us`` on up to ``last_id`` was received, except those in ``missing``; at a venue
    whose ids prove nothing, every trade up to ``last_time_us`` except those in ``interruptions``.
    """

    last_id: int
    last_time_us: int
    covered_from_us: int
    missing: tuple[MissingIds, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
