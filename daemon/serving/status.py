"""The status document shown by ``/api/v1/status``, the page and ``forecastd status``. Fields are only ever added.

Times are RFC 3339 in UTC, market time. An unknown value is null, never zero.
"""

from __future__ import annotations

import msgspec

from daemon.forecasting.records import Skill


class BarStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The newest closed bar."""

    close_time: str
    completeness: str
    missing_trades: int | None
    revision: int
    trades: int | None = None


class HorizonStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One horizon of the newest forecast, as prices: the median and the central 80% band."""

    bars: int
    median: float
    low_80: float
    high_80: float
    prob_up: float


class AttentionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The bar of the window with the highest attention weight; ``bars_ago`` 1 is the newest bar.

    weight: its share of 1. weights: those of the whole window, oldest first.
    """

    bars_ago: int
    weight: float
    weights: list[float] = msgspec.field(default_factory=list)


class ForecastStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The newest issued forecast. ``kind`` is the forecaster's, ``source`` "model" or "baseline"."""

    bar_close: str
    issued_at: str
    source: str
    kind: str
    reference_price: float
    horizons: list[HorizonStatus]
    attention_top: AttentionStatus | None = None


class SymbolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument; ``state`` is warming_up, live, stale or halted. ``price`` is the newest trade's, else a close."""

    venue: str
    symbol: str
    state: str
    reason: str = ""
    price: float | None = None
    last_trade_at: str | None = None
    bar: BarStatus | None = None
    forecast: ForecastStatus | None = None
    skill: Skill | None = None


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The model that serves."""

    id: str
    kind: str
    trained_until: str | None = None
    loaded_at: str | None = None


class RetrainDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The running retraining, else the last one. ``progress`` is a share of 1, ``stage`` the current stage."""

    running: bool
    progress: float | None = None
    stage: str = ""
    epoch: int | None = None
    epochs: int | None = None
    remaining_s: float | None = None
    last_result: str | None = None
    last_finished_at: str | None = None
    next_at: str | None = None


class MqttStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's connection; ``url`` never holds a password.

    expired, overflowed: messages dropped while the broker was away. refused, too_large: messages that it does not take.
    """

    url: str
    connected: bool
    protocol: str | None = None
    published: int = 0
    outbox: int = 0
    expired: int = 0
    overflowed: int = 0
    refused: int = 0
    too_large: int = 0
    reason: str = ""


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    size_bytes: int | None = None


class VenueClockStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The clock of one venue; ``skew_ms`` is its lead over this machine's.

    trusted: false while it contradicts market time, with the ``reason``.
    """

    venue: str
    skew_ms: int | None = None
    trusted: bool = True
    reason: str = ""


class ComponentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One component of the daemon: healthy, degraded or unhealthy, since how many seconds its work waits, and why."""

    component: str
    state: str
    waiting_s: float = 0.0
    reason: str = ""


class StatusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the daemon. ``clock`` is the market time now, ``speed`` market seconds per wall second.

    not_ready: why ``/readyz`` fails; empty while the daemon forecasts.
    """

    schema: str = "forecastd.status.v1"
    instance: str
    version: str
    state: str
    reason: str
    since: str
    clock: str
    speed: float
    interval: str
    symbols: list[SymbolStatus]
    mqtt: MqttStatus
    store: StoreStatus
    model: ModelStatus | None = None
    retrain: RetrainDocument | None = None
    venue_clocks: list[VenueClockStatus] = []
    components: list[ComponentStatus] = []
    not_ready: list[str] = []
