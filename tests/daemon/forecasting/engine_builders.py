"""Bars of forecast rounds and faulty champions for tests of the engine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from daemon.forecasting.engine import ForecastEngine
from daemon.forecasting.rounds import Champion
from features.market import Bar, Completeness, Instrument
from models.forecast import Forecast, ForecastInput
from tests.limits import LIMIT_S
from tests.models.synthetic import HOUR_US, START_US, garch_bars
from tests.models.tiny_artifacts import HORIZONS, LEVELS

INSTRUMENTS = (Instrument("binance", "BTC-USDT"), Instrument("binance", "ETH-USDT"))
FRAME = garch_bars(1400)
HISTORY_BARS = 1300
NOW_US = START_US + HISTORY_BARS * HOUR_US


def history(count: int = HISTORY_BARS) -> pl.DataFrame:
    """The first ``count`` hours of both instruments."""
    return FRAME.filter(pl.col("open_time_us") < START_US + count * HOUR_US)


def bars_closing_at(close_time_us: int, frame: pl.DataFrame = FRAME) -> list[Bar]:
    """The round of bars that closes at one time."""
    columns = [name for name in frame.columns if name != "complete"]
    rows = frame.filter(pl.col("open_time_us") == close_time_us - HOUR_US).select(columns)
    return [
        Bar(**row, interval_us=HOUR_US, completeness=Completeness.PROVEN, known_at_us=close_time_us)
        for row in rows.iter_rows(named=True)
    ]


def make_engine(kind: str = "attention_lstm") -> ForecastEngine:
    return ForecastEngine(INSTRUMENTS, interval_us=HOUR_US, kind=kind, horizons=HORIZONS, levels=LEVELS)


@dataclass(eq=False)
class FailingChampion:
    """A champion that raises a given exception."""

    real: Champion
    error: Exception | None

    def __post_init__(self) -> None:
        self.manifest, self.info = self.real.manifest, self.real.info

    def rejection_reason(self, given: ForecastInput) -> str | None:
        return self.real.rejection_reason(given)

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        raise self.error or RuntimeError


@dataclass(eq=False)
class NanChampion(FailingChampion):
    """A champion whose network returns NaN."""

    error: Exception | None = None

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        return [replace(each, quantiles=each.quantiles * np.nan) for each in self.real.forecast(inputs)]


@dataclass(eq=False)
class HangingChampion(FailingChampion):
    """A champion that hangs until it is released."""

    error: Exception | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.released = threading.Event()
        self.asked = 0

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        self.asked += 1
        self.released.wait(LIMIT_S)
        return self.real.forecast(inputs)
