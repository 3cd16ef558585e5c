"""Messages of all retained topics as JSON bytes, the same bytes for the same record. No I/O.

Times are RFC 3339 in UTC. Log returns and probabilities have 8 significant digits, derived prices 12; the venue's
own numbers are not rounded. A number that is not finite raises DataFault, because JSON cannot represent it and null
means "unknown".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from daemon.errors import DataFault
from daemon.forecasting.records import DataQuality, IssuedForecast, Latency, Skill
from daemon.intervals import interval_name
from daemon.pipeline.events import SymbolStateChanged
from daemon.publishing.figures import (
    LOG_RETURN_DIGITS,
    PRICE_DIGITS,
    RATIO_DIGITS,
    finite,
    finite_or_none,
    iso_or_none,
    model_reference,
    significant,
)
from daemon.publishing.wire import (
    BarMessage,
    ForecastMessage,
    Horizon,
    MissingRangeDocument,
    Model,
    ModelMessage,
    Quality,
    StatusMessage,
    SymbolStatusMessage,
)
from daemon.timestamps import MICROSECONDS_PER_SECOND, iso
from features.market import Bar, MissingTrades
from models.forecast import Forecast, ModelInfo

# Market time after the next bar's close within which the next forecast replaces this one.
VALIDITY_MARGIN_US = 5 * MICROSECONDS_PER_SECOND


class _ForecastModel(msgspec.Struct):
    """The part of an encoded forecast that names its model."""

    model: Model


def model_id(forecast_payload: bytes) -> str:
    """The model id in an encoded forecast. Raises DataFault for bytes that are no forecast."""
    try:
        return msgspec.json.decode(forecast_payload, type=_ForecastModel).model.id
    except msgspec.DecodeError as error:
        raise DataFault(f"a stored forecast cannot be read: {error}") from error


def valid_until_us(forecast: Forecast) -> int:
    """Market time until which a forecast is valid."""
    return forecast.close_time_us + forecast.interval_us + VALIDITY_MARGIN_US


def forecast(issued: IssuedForecast, *, stored: bool = True) -> bytes:
    """A forecast as forecastd.forecast.v1. Raises DataFault for a number that is not finite.

    stored: False where it is published although it could not be stored before.
    """
    record = issued.forecast
    message = ForecastMessage(
        id=issued.id,
        venue=record.venue,
        symbol=record.symbol,
        interval=interval_name(record.interval_us),
        bar_close=iso(record.close_time_us),
        issued_at=iso(issued.issued_at_us, milliseconds=True),
        valid_until=iso(valid_until_us(record)),
        reference_price=finite(issued.reference_price, "reference price"),
        source=issued.source,
        model=model_reference(record.model),
        horizons=[_horizon(issued, row) for row in range(len(record.horizons))],
        attention=None if record.attention is None else [_rounded_return(weight) for weight in record.attention],
        data_quality=_quality(issued.quality),
        skill=None if issued.skill is None else _rounded_skill(issued.skill),
        latency_ms=_rounded_latency(issued.latency),
        stored=stored,
    )
    return encode(message)


def bar(record: Bar) -> bytes:
    """A bar, or a revision of one, as forecastd.bar.v1. Raises DataFault for a number that is not finite."""
    market_data = {
        name: finite_or_none(getattr(record, name), name)
        for name in ("open", "high", "low", "close", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
    }
    message = BarMessage(
        venue=record.venue,
        symbol=record.symbol,
        interval=interval_name(record.interval_us),
        open_time=iso(record.open_time_us),
        close_time=iso(record.close_time_us),
        revision=record.revision,
        vwap=None if record.vwap is None else significant(record.vwap, PRICE_DIGITS),
        volume=finite(record.volume, "volume"),
        trades=record.trades,
        first_trade_id=record.first_trade_id,
        last_trade_id=record.last_trade_id,
        completeness=record.completeness,
        missing_trades=record.missing_trades,
        late_trades=record.late_trades,
        audit=record.audit,
        missing_ranges=_missing_ranges(record.missing_ranges),
        **market_data,
    )
    return encode(message)


def _quality(quality: DataQuality) -> Quality:
    return Quality(
        completeness=quality.completeness,
        missing_trades=quality.missing_trades,
        window_bars_missing=quality.window_bars_missing,
        clock_skew_ms=quality.clock_skew_ms,
        missing_ranges=_missing_ranges(quality.missing_ranges),
    )


def _missing_ranges(ranges: Sequence[MissingTrades]) -> list[MissingRangeDocument]:
    return [
        MissingRangeDocument(
            first_id=each.first_id,
            last_id=each.last_id,
            after=iso(each.after_us, milliseconds=True),
            before=iso_or_none(each.before_us),
        )
        for each in ranges
    ]


def status(state: str, *, since_us: int, version: str, reason: str) -> bytes:
    """The daemon's own state as forecastd.status.v1: starting, online, degraded, stopped or offline."""
    return encode(StatusMessage(state=state, since=iso(since_us), version=version, reason=reason))


def status_state(payload: bytes) -> str | None:
    """The state in an encoded status; None for bytes that are no status."""
    try:
        return msgspec.json.decode(payload, type=StatusMessage).state
    except msgspec.DecodeError:
        return None


def symbol_status(change: SymbolStateChanged) -> bytes:
    """An instrument's state as forecastd.symbol_status.v1."""
    last_trade_at_us = change.last_trade_at_us
    message = SymbolStatusMessage(
        venue=change.instrument.venue,
        symbol=change.instrument.symbol,
        state=change.state.value,
        since=iso(change.since_us),
        last_trade_at=None if last_trade_at_us is None else iso(last_trade_at_us, milliseconds=True),
        reason=change.reason,
    )
    return encode(message)


def model(info: ModelInfo, *, promoted_at_us: int, scores: Mapping[str, Mapping[str, float]]) -> bytes:
    """The champion as forecastd.model.v1; ``scores`` maps each horizon in bars to its measures."""
    champion = model_reference(info)
    message = ModelMessage(
        id=champion.id,
        kind=champion.kind,
        trained_until=champion.trained_until,
        promoted_at=iso(promoted_at_us),
        scores={
            horizon: {measure: significant(value, RATIO_DIGITS) for measure, value in measures.items()}
            for horizon, measures in scores.items()
        },
    )
    return encode(message)


def encode(message: msgspec.Struct) -> bytes:
    """The message as JSON bytes, with the fields in the order of their declaration."""
    return msgspec.json.encode(message)


def _horizon(issued: IssuedForecast, row: int) -> Horizon:
    """The distribution of one horizon; ``row`` is its row in the forecast's arrays (horizons x levels)."""
    record, reference_price = issued.forecast, issued.reference_price
    bars = record.horizons[row]
    levels = [format(level, "g") for level in record.levels]
    log_returns = [float(value) for value in record.quantiles[row]]
    return Horizon(
        bars=bars,
        target_time=iso(record.close_time_us + bars * record.interval_us),
        quantiles={level: _rounded_return(value) for level, value in zip(levels, log_returns, strict=True)},
        price_quantiles={
            level: _price(reference_price, value) for level, value in zip(levels, log_returns, strict=True)
        },
        volatility=_rounded_return(record.volatility[row]),
        prob_up=_rounded_return(record.prob_up[row]),
        raw_quantiles=None
        if issued.raw is None
        else {level: _rounded_return(value) for level, value in zip(levels, issued.raw.quantiles[row], strict=True)},
    )


def _price(reference_price: float, log_return: float) -> float:
    try:
        return significant(reference_price * math.exp(log_return), PRICE_DIGITS)
    except OverflowError as error:
        raise DataFault(f"log return {log_return} gives no finite price") from error


def _rounded_return(value: float) -> float:
    return significant(float(value), LOG_RETURN_DIGITS)


def _rounded_skill(skill: Skill) -> Skill:
    rounded = {
        name: significant(value, RATIO_DIGITS)
        for name, value in msgspec.structs.asdict(skill).items()
        if isinstance(value, float)
    }
    return msgspec.structs.replace(skill, **rounded)


def _rounded_latency(latency: Latency) -> Latency:
    return msgspec.structs.replace(
        latency,
        features=round(finite(latency.features, "feature latency"), 3),
        inference=round(finite(latency.inference, "inference latency"), 3),
    )
