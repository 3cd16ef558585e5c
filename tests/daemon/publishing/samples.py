"""Sample records and messages of each kind, with overridable fields."""

from __future__ import annotations

import numpy as np

from daemon.forecasting.records import DataQuality, IssuedForecast, Latency, Skill
from daemon.pipeline.events import GapOpened, GapRepaired, SymbolState, SymbolStateChanged
from daemon.pipeline.sequence import MissingIds
from daemon.publishing import event_payloads, payloads, wire
from daemon.publishing.outbox import OutboxMessage
from daemon.store.retention import Pruned
from daemon.timestamps import from_iso
from features.market import HOUR_US, Bar, Completeness, Instrument
from models.forecast import Forecast, ModelInfo

BITCOIN = Instrument("binance", "BTC-USDT")
CLOSE_US = from_iso("2026-01-05T13:00:00Z")
MODEL = ModelInfo(id="01JGW", kind="attention_lstm", trained_until_us=from_iso("2026-01-05T00:00:00Z"))
LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def made_forecast(**changes: object) -> Forecast:
    fields: dict[str, object] = {
        "venue": BITCOIN.venue,
        "symbol": BITCOIN.symbol,
        "close_time_us": CLOSE_US,
        "interval_us": HOUR_US,
        "horizons": (1, 24),
        "levels": LEVELS,
        "quantiles": np.array([[-0.0081, -0.004, 0.0, 0.00412345678912, 0.008], [-0.04, -0.02, -1e-9, 0.02, 0.041]]),
        "volatility": np.array([0.0041, 0.0202]),
        "prob_up": np.array([0.503, 0.5]),
        "attention": np.full(48, 1 / 48),
        "model": MODEL,
    }
    return Forecast(**(fields | changes))  # type: ignore[arg-type]


def issued_forecast(**changes: object) -> IssuedForecast:
    fields: dict[str, object] = {
        "forecast": made_forecast(),
        "source": "model",
        "reference_price": 93250.1,
        "issued_at_us": CLOSE_US + 2_114_000,
        "quality": DataQuality(
            completeness=Completeness.PROVEN, missing_trades=0, window_bars_missing=0, clock_skew_ms=-12
        ),
        "skill": Skill(window="30d", scored=718, pinball_vs_har=0.98123456789, pinball_vs_har_se=0.011),
        "latency": Latency(bar_close_to_publish=2114, features=3.14159, inference=6.0),
    }
    return IssuedForecast(**(fields | changes))  # type: ignore[arg-type]


def bar(**changes: object) -> Bar:
    fields: dict[str, object] = {
        "venue": BITCOIN.venue,
        "symbol": BITCOIN.symbol,
        "interval_us": HOUR_US,
        "open_time_us": CLOSE_US - HOUR_US,
        "open": 93000.0,
        "high": 93400.5,
        "low": 92900.25,
        "close": 93250.1,
        "volume": 812.34567,
        "quote_volume": 75_700_000.5,
        "trades": 123_456,
        "taker_buy_volume": 400.0,
        "taker_buy_quote_volume": 37_200_000.0,
        "completeness": Completeness.PROVEN,
        "known_at_us": CLOSE_US + 2_000_000,
        "first_trade_id": 1000,
        "last_trade_id": 99_000,
    }
    return Bar(**(fields | changes))  # type: ignore[arg-type]


def empty_bar() -> Bar:
    return bar(
        open=None,
        high=None,
        low=None,
        close=None,
        volume=0.0,
        quote_volume=0.0,
        trades=0,
        taker_buy_volume=0.0,
        taker_buy_quote_volume=0.0,
        completeness=Completeness.EMPTY,
        first_trade_id=None,
        last_trade_id=None,
    )


def symbol_state(**changes: object) -> SymbolStateChanged:
    fields: dict[str, object] = {
        "instrument": BITCOIN,
        "state": SymbolState.LIVE,
        "since_us": CLOSE_US,
        "last_trade_at_us": CLOSE_US - 1_500_000,
        "reason": "",
    }
    return SymbolStateChanged(**(fields | changes))  # type: ignore[arg-type]


def events() -> list[wire.EventMessage]:
    missing = MissingIds(first_id=11, last_id=13, after_us=CLOSE_US - 9_000_000, before_us=CLOSE_US - 8_000_000)
    return [
        event_payloads.retrain_started(at_us=CLOSE_US, model_kind="attention_lstm", reason="schedule"),
        event_payloads.retrain_finished(at_us=CLOSE_US, result="promoted", duration_s=81.23456, candidate="01JGW"),
        event_payloads.model_promoted(at_us=CLOSE_US, info=MODEL, previous_id=None, reason="first model"),
        event_payloads.model_rejected(at_us=CLOSE_US, candidate="01JGX", reasons=["pinball above the champion's"]),
        event_payloads.gap_opened(GapOpened(instrument=BITCOIN, missing=missing, at_us=CLOSE_US)),
        event_payloads.gap_repaired(GapRepaired(instrument=BITCOIN, trades=3, at_us=CLOSE_US)),
        event_payloads.store_pruned(Pruned(forecasts=200, scores=4_800, until_us=CLOSE_US), at_us=CLOSE_US),
        event_payloads.store_pruned(Pruned(trade_chunks=9), at_us=CLOSE_US),
        event_payloads.store_lost(
            at_us=CLOSE_US, record="trades", count=512, reason="backlog_full", detail="64 MiB of trades wait"
        ),
        event_payloads.store_too_large(
            at_us=CLOSE_US, used_bytes=5 * 10**9, limit_bytes=4 * 10**9, reason="raise store.max_disk_mb"
        ),
    ]


def every_payload() -> list[bytes]:
    """At least one message of each schema, with all optional fields and with none."""
    baseline = ModelInfo(id="har", kind="har", trained_until_us=None)
    sparse = issued_forecast(
        forecast=made_forecast(attention=None, model=baseline),
        source="baseline",
        skill=None,
        quality=DataQuality(
            completeness=Completeness.EMPTY, missing_trades=0, window_bars_missing=3, clock_skew_ms=None
        ),
    )
    return [
        payloads.forecast(issued_forecast()),
        payloads.forecast(sparse),
        payloads.bar(bar()),
        payloads.bar(empty_bar()),
        payloads.bar(bar(quote_volume=None, trades=None, taker_buy_volume=None, taker_buy_quote_volume=None)),
        *(
            payloads.status(state, since_us=CLOSE_US, version="0.1.0", reason="")
            for state in ("starting", "online", "degraded", "stopped", "offline")
        ),
        payloads.symbol_status(symbol_state()),
        payloads.symbol_status(symbol_state(state=SymbolState.WARMING_UP, last_trade_at_us=None, reason="3 bars")),
        payloads.model(
            MODEL, promoted_at_us=CLOSE_US, scores={"attention_lstm": {"pinball": 0.00123456789}, "har": {}}
        ),
        *(payloads.encode(event) for event in events()),
    ]


def message(
    topic: str,
    payload: bytes = b"{}",
    *,
    retain: bool = True,
    expires_at_us: int | None = None,
    valid_until_us: int | None = None,
    model: str | None = None,
    submitted_s: float = 0.0,
) -> OutboxMessage:
    return OutboxMessage(
        topic=topic,
        payload=payload,
        retain=retain,
        expires_at_us=expires_at_us,
        schema=wire.BAR_SCHEMA,
        model=model,
        submitted_s=submitted_s,
        valid_until_us=valid_until_us,
    )
