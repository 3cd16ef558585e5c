"""What every message says: JSON bytes from the daemon's records, the same bytes for the same record. No I/O.

Times are RFC 3339 in UTC. Log returns and probabilities carry 8 significant digits, derived prices 12; the
venue's own numbers are passed on as they are. A number that is not finite is refused with DataFault: JSON
has no word for it, and null would mean "nobody knows".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import msgspec

from daemon.errors import DataFault
from daemon.forecasting.records import DataQuality, IssuedForecast, Latency, Skill
from daemon.intervals import interval_name
from daemon.pipeline.events import BarReconciled, GapOpened, GapRepaired, SymbolStateChanged
from daemon.pipeline.sequence import MissingIds
from daemon.publishing.wire import (
    BAR_SCHEMA,
    EVENT_SCHEMA,
    FORECAST_SCHEMA,
    MODEL_SCHEMA,
    SCHEMAS,
    STATUS_SCHEMA,
    SYMBOL_STATUS_SCHEMA,
    BarAuditMismatch,
    BarMessage,
    EventMessage,
    ForecastMessage,
    Horizon,
    MissingRangeDocument,
    Model,
    ModelMessage,
    ModelPromoted,
    ModelRejected,
    Quality,
    RetrainFinished,
    RetrainStarted,
    StatusMessage,
    SymbolStatusMessage,
    TradeGapOpened,
    TradeGapRepaired,
)
from daemon.timestamps import MICROSECONDS_PER_SECOND, iso
from features.market import Bar, MissingTrades
from models.forecast import Forecast, ModelInfo

__all__ = [
    "forecast",
    "bar",
    "status",
    "symbol_status",
    "model",
    "retrain_started",
    "retrain_finished",
    "model_promoted",
    "model_rejected",
    "bar_audit_mismatch",
    "gap_opened",
    "gap_repaired",
    "encode",
    "schema",
    "model_id",
    "valid_until_us",
    "EventMessage",
    "SCHEMAS",
    "FORECAST_SCHEMA",
    "BAR_SCHEMA",
    "STATUS_SCHEMA",
    "SYMBOL_STATUS_SCHEMA",
    "MODEL_SCHEMA",
    "EVENT_SCHEMA",
]

# The next bar's forecast takes over up to this much market time after its bar closes.
VALIDITY_MARGIN_US = 5 * MICROSECONDS_PER_SECOND

LOG_RETURN_DIGITS = 8
PRICE_DIGITS = 12
RATIO_DIGITS = 6


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one of ``SCHEMAS``; raises ValueError for any other name."""
    if name not in SCHEMAS:
        raise ValueError(f"there is no schema {name!r}; there are {', '.join(SCHEMAS)}")
    document: dict[str, Any] = msgspec.json.decode(
        resources.files("daemon.publishing").joinpath("schemas", f"{name}.json").read_bytes()
    )
    return document


class _Signed(msgspec.Struct):
    model: Model


def model_id(forecast_payload: bytes) -> str:
    """The id of the model that made an encoded forecast; raises DataFault where it is none."""
    try:
        return msgspec.json.decode(forecast_payload, type=_Signed).model.id
    except msgspec.DecodeError as error:
        raise DataFault(f"a stored forecast cannot be read: {error}") from error


def valid_until_us(made: Forecast) -> int:
    """Market time until which a forecast may be acted upon."""
    return made.close_time_us + made.interval_us + VALIDITY_MARGIN_US


def forecast(issued: IssuedForecast) -> bytes:
    """A forecast as forecastd.forecast.v1. Raises DataFault where a number is not finite."""
    made = issued.forecast
    message = ForecastMessage(
        id=issued.id,
        venue=made.venue,
        symbol=made.symbol,
        interval=interval_name(made.interval_us),
        bar_close=iso(made.close_time_us),
        issued_at=iso(issued.issued_at_us, milliseconds=True),
        valid_until=iso(valid_until_us(made)),
        reference_price=_finite(issued.reference_price, "reference price"),
        source=issued.source,
        model=_model(made.model),
        horizons=[_horizon(issued, row) for row in range(len(made.horizons))],
        attention=None if made.attention is None else [_return(weight) for weight in made.attention],
        data_quality=_quality(issued.quality),
        skill=None if issued.skill is None else _skill(issued.skill),
        latency_ms=_latency(issued.latency),
    )
    return encode(message)


def bar(made: Bar) -> bytes:
    """A bar, or a revision of one, as forecastd.bar.v1. Raises DataFault where a number is not finite."""
    shared = {
        name: _finite_or_none(getattr(made, name), name)
        for name in ("open", "high", "low", "close", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
    }
    message = BarMessage(
        venue=made.venue,
        symbol=made.symbol,
        interval=interval_name(made.interval_us),
        open_time=iso(made.open_time_us),
        close_time=iso(made.close_time_us),
        revision=made.revision,
        vwap=None if made.vwap is None else significant(made.vwap, PRICE_DIGITS),
        volume=_finite(made.volume, "volume"),
        trades=made.trades,
        first_trade_id=made.first_trade_id,
        last_trade_id=made.last_trade_id,
        completeness=made.completeness,
        missing_trades=made.missing_trades,
        late_trades=made.late_trades,
        audit=made.audit,
        missing_ranges=_missing_ranges(made.missing_ranges),
        **shared,
    )
    return encode(message)


def _quality(made: DataQuality) -> Quality:
    return Quality(
        completeness=made.completeness,
        missing_trades=made.missing_trades,
        window_bars_missing=made.window_bars_missing,
        clock_skew_ms=made.clock_skew_ms,
        missing_ranges=_missing_ranges(made.missing_ranges),
    )


def _missing_ranges(ranges: Sequence[MissingTrades]) -> list[MissingRangeDocument]:
    return [
        MissingRangeDocument(
            first_id=each.first_id,
            last_id=each.last_id,
            after=iso(each.after_us, milliseconds=True),
            before=_iso_or_none(each.before_us),
        )
        for each in ranges
    ]


def _iso_or_none(time_us: int | None) -> str | None:
    return None if time_us is None else iso(time_us, milliseconds=True)


def status(state: str, *, since_us: int, version: str, reason: str) -> bytes:
    """The daemon's own state as forecastd.status.v1: starting, online, degraded, stopped or offline."""
    return encode(StatusMessage(state=state, since=iso(since_us), version=version, reason=reason))


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
    champion = _model(info)
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


def retrain_started(*, at_us: int, model_kind: str, reason: str) -> RetrainStarted:
    return RetrainStarted(at=iso(at_us), model_kind=model_kind, reason=reason)


def retrain_finished(
    *, at_us: int, result: str, duration_s: float, candidate: str | None = None, reason: str | None = None
) -> RetrainFinished:
    return RetrainFinished(
        at=iso(at_us), result=result, duration_s=round(duration_s, 3), candidate=candidate, reason=reason
    )


def model_promoted(*, at_us: int, info: ModelInfo, previous_id: str | None, reason: str) -> ModelPromoted:
    return ModelPromoted(at=iso(at_us), model=_model(info), previous_id=previous_id, reason=reason)


def model_rejected(*, at_us: int, candidate: str, reasons: Sequence[str]) -> ModelRejected:
    return ModelRejected(at=iso(at_us), candidate=candidate, reasons=list(reasons))


def bar_audit_mismatch(audit: BarReconciled) -> BarAuditMismatch:
    bar = audit.bar
    return BarAuditMismatch(
        at=iso(audit.at_us),
        venue=bar.venue,
        symbol=bar.symbol,
        open_time=iso(bar.open_time_us),
        completeness=bar.completeness.value,
        differences=dict(audit.differences),
        verdict=audit.verdict,
    )


def gap_opened(opened: GapOpened) -> TradeGapOpened:
    """Ids and their number are None where the venue's ids say nothing; ``before`` while nothing is heard yet."""
    missing = opened.missing
    ids = missing if isinstance(missing, MissingIds) else None
    return TradeGapOpened(
        at=iso(opened.at_us),
        venue=opened.instrument.venue,
        symbol=opened.instrument.symbol,
        first_missing_id=ids.first_id if ids else None,
        last_missing_id=ids.last_id if ids else None,
        missing_trades=ids.count if ids else None,
        after=iso(missing.after_us, milliseconds=True),
        before=_iso_or_none(missing.before_us),
    )


def gap_repaired(repaired: GapRepaired) -> TradeGapRepaired:
    return TradeGapRepaired(
        at=iso(repaired.at_us),
        venue=repaired.instrument.venue,
        symbol=repaired.instrument.symbol,
        trades=repaired.trades,
    )


def encode(message: msgspec.Struct) -> bytes:
    """The message's bytes; fields stand in the order of their declaration."""
    return msgspec.json.encode(message)


def significant(value: float, digits: int) -> float:
    """``value`` rounded to significant digits, with no negative zero. Raises DataFault where it is not finite."""
    return float(f"{_finite(value, 'number'):.{digits}g}") + 0.0


def _horizon(issued: IssuedForecast, row: int) -> Horizon:
    made, reference_price = issued.forecast, issued.reference_price
    bars = made.horizons[row]
    levels = [format(level, "g") for level in made.levels]
    log_returns = [float(value) for value in made.quantiles[row]]
    return Horizon(
        bars=bars,
        target_time=iso(made.close_time_us + bars * made.interval_us),
        quantiles={level: _return(value) for level, value in zip(levels, log_returns, strict=True)},
        price_quantiles={
            level: _price(reference_price, value) for level, value in zip(levels, log_returns, strict=True)
        },
        volatility=_return(made.volatility[row]),
        prob_up=_return(made.prob_up[row]),
        raw_quantiles=None
        if issued.raw is None
        else {level: _return(value) for level, value in zip(levels, issued.raw.quantiles[row], strict=True)},
    )


def _price(reference_price: float, log_return: float) -> float:
    try:
        return significant(reference_price * math.exp(log_return), PRICE_DIGITS)
    except OverflowError as error:
        raise DataFault(f"log return {log_return} has no price") from error


def _return(value: float) -> float:
    return significant(float(value), LOG_RETURN_DIGITS)


def _model(info: ModelInfo) -> Model:
    until_us = info.trained_until_us
    return Model(id=info.id, kind=info.kind, trained_until=None if until_us is None else iso(until_us))


def _skill(skill: Skill) -> Skill:
    rounded = {
        name: significant(value, RATIO_DIGITS)
        for name, value in msgspec.structs.asdict(skill).items()
        if isinstance(value, float)
    }
    return msgspec.structs.replace(skill, **rounded)


def _latency(latency: Latency) -> Latency:
    return msgspec.structs.replace(
        latency,
        features=round(_finite(latency.features, "feature latency"), 3),
        inference=round(_finite(latency.inference, "inference latency"), 3),
    )


def _finite(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise DataFault(f"{what} was {value}, must be finite to be published")
    return value


def _finite_or_none(value: float | None, what: str) -> float | None:
    return None if value is None else _finite(value, what)
