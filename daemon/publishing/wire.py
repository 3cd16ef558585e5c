"""The fields of every message, in the order in which they are written. No I/O.

Inside v1 fields are only ever added. Times are RFC 3339 text in UTC; None is JSON's null, "unknown".
"""

from __future__ import annotations

import msgspec

from daemon.forecasting.records import Latency, Skill
from features.market import Audit, Completeness

FORECAST_SCHEMA = "forecastd.forecast.v1"
BAR_SCHEMA = "forecastd.bar.v1"
STATUS_SCHEMA = "forecastd.status.v1"
SYMBOL_STATUS_SCHEMA = "forecastd.symbol_status.v1"
MODEL_SCHEMA = "forecastd.model.v1"
EVENT_SCHEMA = "forecastd.event.v1"
SCHEMAS = (FORECAST_SCHEMA, BAR_SCHEMA, STATUS_SCHEMA, SYMBOL_STATUS_SCHEMA, MODEL_SCHEMA, EVENT_SCHEMA)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The model behind a forecast; ``kind`` is the baseline's if a baseline replaced the model."""

    id: str
    kind: str
    trained_until: str | None


class Horizon(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution ``bars`` bars ahead; quantiles are keyed by their level, e.g. ``"0.025"``.

    raw_quantiles: the forecaster's quantiles before calibration; None if calibration changed nothing.
    """

    bars: int
    target_time: str
    quantiles: dict[str, float]
    price_quantiles: dict[str, float]
    volatility: float
    prob_up: float
    raw_quantiles: dict[str, float] | None


class MissingRangeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Missing trades between two times, with ids where the venue has contiguous ids. ``before``: None until known."""

    first_id: int | None
    last_id: int | None
    after: str
    before: str | None


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of a forecast's input: completeness and missing trades of the last bar, missing bars of the window."""

    completeness: Completeness
    missing_trades: int | None
    window_bars_missing: int
    clock_skew_ms: int | None
    missing_ranges: list[MissingRangeDocument]


class ForecastMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag=FORECAST_SCHEMA):
    """forecastd.forecast.v1. ``stored``: False where the store could not take it before it was published."""

    id: str
    venue: str
    symbol: str
    interval: str
    bar_close: str
    issued_at: str
    valid_until: str
    reference_price: float
    source: str
    model: Model
    horizons: list[Horizon]
    attention: list[float] | None
    data_quality: Quality
    skill: Skill | None
    latency_ms: Latency
    stored: bool = True


class BarMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag=BAR_SCHEMA):
    """forecastd.bar.v1"""

    venue: str
    symbol: str
    interval: str
    open_time: str
    close_time: str
    revision: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    vwap: float | None
    volume: float
    quote_volume: float | None
    trades: int | None
    taker_buy_volume: float | None
    taker_buy_quote_volume: float | None
    first_trade_id: int | None
    last_trade_id: int | None
    completeness: Completeness
    missing_trades: int | None
    late_trades: int
    audit: Audit
    missing_ranges: list[MissingRangeDocument]


class StatusMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag=STATUS_SCHEMA):
    """forecastd.status.v1"""

    state: str
    since: str
    version: str
    reason: str


class SymbolStatusMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag=SYMBOL_STATUS_SCHEMA):
    """forecastd.symbol_status.v1"""

    venue: str
    symbol: str
    state: str
    since: str
    last_trade_at: str | None
    reason: str


class ModelMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag=MODEL_SCHEMA):
    """forecastd.model.v1: ``scores`` maps each horizon in bars to its measures, including those of the baselines."""

    id: str
    kind: str
    trained_until: str | None
    promoted_at: str
    scores: dict[str, dict[str, float]]


class EventMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """forecastd.event.v1: ``at`` is the market time of the event; further fields depend on its kind."""

    at: str
    schema: str = EVENT_SCHEMA

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)


class RetrainStarted(EventMessage, frozen=True, kw_only=True, tag="retrain_started"):
    """A training run began; ``model_kind`` is the kind of network being trained."""

    model_kind: str
    reason: str


class RetrainFinished(EventMessage, frozen=True, kw_only=True, tag="retrain_finished"):
    """A training run ended. ``result``: promoted, rejected, failed or cancelled; ``duration_s`` is wall time."""

    result: str
    duration_s: float
    candidate: str | None
    reason: str | None


class ModelPromoted(EventMessage, frozen=True, kw_only=True, tag="model_promoted"):
    """A candidate became the champion and replaced ``previous_id``."""

    model: Model
    previous_id: str | None
    reason: str


class ModelRejected(EventMessage, frozen=True, kw_only=True, tag="model_rejected"):
    """A candidate was rejected; the champion keeps serving."""

    candidate: str
    reasons: list[str]


class BarAuditMismatch(EventMessage, frozen=True, kw_only=True, tag="bar_audit_mismatch"):
    """A closed bar differs from the venue's candle; ``differences``: field to the bar's and the candle's value."""

    venue: str
    symbol: str
    open_time: str
    completeness: str
    differences: dict[str, tuple[float | None, float | None]]
    verdict: str


class TradeGapOpened(EventMessage, frozen=True, kw_only=True, tag="gap_opened"):
    """Trades may be lost between ``after`` and ``before``, which is None until the stream is received again.

    Ids and their number are None where the venue's ids are not contiguous.
    """

    venue: str
    symbol: str
    first_missing_id: int | None
    last_missing_id: int | None
    missing_trades: int | None
    after: str
    before: str | None


class TradeGapRepaired(EventMessage, frozen=True, kw_only=True, tag="gap_repaired"):
    """A gap is closed: ``trades`` missing trades were fetched."""

    venue: str
    symbol: str
    trades: int


class StorePruned(EventMessage, frozen=True, kw_only=True, tag="store_pruned"):
    """The store reached ``store.max_disk_mb``: its oldest forecasts and scores, up to ``until``, were deleted.

    ``until`` is None where only trades of closed bars were deleted.
    """

    forecasts: int
    scores: int
    until: str | None


class StoreTooLarge(EventMessage, frozen=True, kw_only=True, tag="store_too_large"):
    """The store exceeds ``store.max_disk_mb`` and nothing is left that may be deleted; ``reason`` names the cure."""

    used_bytes: int
    limit_bytes: int
    reason: str


class StoreLost(EventMessage, frozen=True, kw_only=True, tag="store_lost"):
    """``count`` records of one kind could not be stored. ``record``: trades, bars, forecasts or scores.

    ``reason``: backlog_full, conflict or failed.
    """

    record: str
    count: int
    reason: str
    detail: str
