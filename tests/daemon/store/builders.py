"""Bars, trades and scores for the store's tests."""

from __future__ import annotations

import msgspec

from daemon.forecasting.records import Score
from daemon.pipeline.sequence import SequenceState
from features.market import HOUR_US, Audit, Bar, Completeness, Instrument, Trade

BTC = Instrument("binance", "BTC-USDT")
ETH = Instrument("binance", "ETH-USDT")

BAR = Bar(
    venue="binance",
    symbol="BTC-USDT",
    interval_us=HOUR_US,
    open_time_us=0,
    open=100.0,
    high=110.0,
    low=90.0,
    close=105.0,
    volume=2.5,
    quote_volume=250.25,
    trades=7,
    taker_buy_volume=1.5,
    taker_buy_quote_volume=150.5,
    completeness=Completeness.PROVEN,
    known_at_us=HOUR_US + 1,
    first_trade_id=10,
    last_trade_id=16,
    missing_trades=0,
    late_trades=1,
    revision=0,
    audit=Audit.EQUAL,
)
EMPTY = msgspec.structs.replace(
    BAR,
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
SCORE = Score(
    venue="binance",
    symbol="BTC-USDT",
    close_time_us=HOUR_US,
    horizon_bars=1,
    role="issued",
    kind="har",
    model_id="har",
    log_return=0.01,
    median=0.0,
    pinball=0.002,
    squared_error=0.0001,
    inside_80=True,
    inside_95=False,
    volatility=0.004,
    scored_at_us=2 * HOUR_US,
    crps=0.004,
)


def bar(**changes: object) -> Bar:
    return msgspec.structs.replace(BAR, **changes)


def trade(trade_id: int, time_us: int | None = None) -> Trade:
    return Trade(trade_id, trade_id * 1_000 if time_us is None else time_us, 100.0 + trade_id, 0.5, bool(trade_id % 2))


def state(last_id: int) -> SequenceState:
    return SequenceState(last_id=last_id, last_time_us=last_id * 1_000, covered_from_us=0)
