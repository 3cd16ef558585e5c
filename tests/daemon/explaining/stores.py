"""Stores with the forecasts of real networks and baselines, made and saved as the daemon does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from daemon.forecasting.engine import ForecastEngine
from daemon.forecasting.records import DataQuality, IssuedForecast, Latency
from daemon.forecasting.rounds import InstrumentForecast
from daemon.publishing import payloads
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import LEDGER_NAME, Ledger
from features.market import Completeness
from tests.daemon.forecasting.engine_builders import NOW_US, bars_closing_at, history, make_engine
from tests.models.synthetic import HOUR_US


def serving(artifact: Path | None, kind: str = "attention_lstm") -> ForecastEngine:
    """An engine with its history, and a network where there is one."""
    engine = make_engine(kind)
    engine.load_history(history())
    if artifact is not None:
        engine.serve(engine.load_champion(artifact))
    return engine


def close_hours(engine: ForecastEngine, hours: Sequence[int]) -> list[InstrumentForecast]:
    """The forecasts of these hours after the history; an hour that is left out is missing in the windows."""
    made: list[InstrumentForecast] = []
    for hour in hours:
        close_time_us = NOW_US + hour * HOUR_US
        made += engine.close_bars(close_time_us, bars_closing_at(close_time_us)).forecasts
    return made


def save(ledger: Ledger, made: InstrumentForecast) -> IssuedForecast:
    """Stores a forecast as it would have been published."""
    forecast = made.issued
    issued = IssuedForecast(
        forecast=forecast,
        source=made.source,
        reference_price=100.0,
        issued_at_us=forecast.close_time_us + 1,
        quality=DataQuality(
            completeness=Completeness.PROVEN,
            missing_trades=0,
            window_bars_missing=made.window_bars_missing,
            clock_skew_ms=None,
        ),
        skill=None,
        latency=Latency(bar_close_to_publish=1, features=0.0, inference=0.0),
    )
    ledger.save_forecast(
        StoredForecast(
            id=issued.id,
            venue=forecast.venue,
            symbol=forecast.symbol,
            interval_us=forecast.interval_us,
            close_time_us=forecast.close_time_us,
            valid_until_us=payloads.valid_until_us(forecast),
            topic="forecast",
            payload=payloads.forecast(issued),
        ),
        reading=forecast.reading,
    )
    return issued


def fill(folder: Path, made: Sequence[InstrumentForecast]) -> list[IssuedForecast]:
    """A state directory with the store of these forecasts."""
    with Ledger(folder / LEDGER_NAME) as ledger:
        return [save(ledger, each) for each in made]
