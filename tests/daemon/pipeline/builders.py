"""Builders of pipelines, their trades and their round forecasts."""

from __future__ import annotations

from daemon.forecasting.calibration import Calibration
from daemon.forecasting.rounds import InstrumentForecast, RoundForecasts
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.answers import SequenceStart
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import Timeouts
from features.market import HOUR_US, Instrument, Trade
from tests.daemon.forecasting.forecast_builders import LEVELS, START_US, forecast
from tests.daemon.pipeline.stream_records import traits_of

BTC, ETH = Instrument("binance", "BTC-USDT"), Instrument("binance", "ETH-USDT")
TIMEOUTS = Timeouts(grace_us=2_000_000, proof_wait_us=30_000_000)


def make_pipeline(calibration: Calibration | None = None) -> Pipeline:
    return Pipeline(
        (BTC, ETH),
        interval_us=HOUR_US,
        traits={"binance": traits_of()},
        timeouts=TIMEOUTS,
        scoreboard=Scoreboard(interval_us=HOUR_US, levels=LEVELS, calibration=calibration),
    )


def trade(trade_id: int, hours: float, price: float = 100.0) -> Trade:
    return Trade(trade_id, START_US + int(hours * HOUR_US), price, 1.0, True)


def start_sequences(pipeline: Pipeline, *instruments: Instrument) -> None:
    """Starts the sequences of these instruments at START_US with one trade."""
    for each in instruments:
        first = trade(1, 0.1)
        start = SequenceStart([first], None)
        pipeline.start_sequence(each, start, from_time_us=START_US, now_us=first.time_us, wall_s=0.0)


def feed(pipeline: Pipeline, instrument: Instrument, *trades: Trade) -> None:
    pipeline.trades_received(instrument, trades, trades[-1].time_us, trades[-1].time_us / 1e6)


def round_forecasts(hour: int, *symbols: str) -> RoundForecasts:
    """The model's forecasts at the close of bar number ``hour``, each with two baselines."""
    forecasts = tuple(
        InstrumentForecast(
            issued=forecast("har", hour, symbol=symbol),
            source="model",
            reason=None,
            baselines=(forecast("har", hour, symbol=symbol), forecast("random_walk", hour, symbol=symbol)),
            window_bars_missing=3,
        )
        for symbol in symbols
    )
    return RoundForecasts(
        close_time_us=START_US + hour * HOUR_US,
        forecasts=forecasts,
        unforecast=(),
        failure=None,
        features_ms=1.5,
        inference_ms=2.5,
    )
