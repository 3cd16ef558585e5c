"""The plan of the account, fixed before its first run: network, symbols, schedule and data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from models.evaluation.candidates import Settings
from models.evaluation.splits import Fold
from models.evaluation.walkforward import FoldTask, fold_tasks
from models.training.bars_file import read_bars

KIND, PRESET, SEEDS = "attention_lstm", "small", 3
"""Chosen on 2024, forecast by what was known before it; ``--year 2024`` shows the scores of that choice."""
RIVAL = "lightgbm"
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
HISTORY_DAYS = 4 * 365
HORIZONS_SHOWN = (1, 6, 24)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_MONTHS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillRun:
    """data: a folder of hourly klines. folder: where the run is kept.

    months: how many of the year, from January; none that begins after the data end.
    """

    data: Path
    folder: Path
    year: int = 2025
    months: int = _MONTHS
    kind: str = KIND
    seeds: int = SEEDS


def tasks(run: SkillRun) -> list[FoldTask]:
    """One task a month that the data reach into: fitted on the four years before it, asked at every close of it.

    Raises ValueError where the data lack a symbol or the time.
    """
    bars = read_bars(run.data, symbols=SYMBOLS)
    first_us, last_us = _month_us(run.year, 0), _month_us(run.year, run.months)
    begin_us, end_us = bars["open_time_us"].min(), bars["open_time_us"].max()
    if not isinstance(begin_us, int) or not isinstance(end_us, int) or begin_us >= first_us or end_us < first_us:
        raise ValueError(f"{run.data} holds no hours before and in {run.year}")
    settings = Settings(
        interval_us=HOUR_US, preset=PRESET, device="cpu", seeds=run.seeds, threads=1, keep_in=run.folder / "models"
    )
    span_us = max(settings.horizons) * HOUR_US
    edges = [_month_us(run.year, month) for month in range(run.months + 1)]
    begun = sum(edge <= end_us for edge in edges[:-1])
    folds = [
        Fold(
            index=month,
            train_from_us=edges[month] - span_us - HISTORY_DAYS * DAY_US,
            train_until_us=edges[month] - span_us,  # embargo: no outcome that was fitted on is forecast
            test_from_us=edges[month],
            test_until_us=edges[month + 1],
        )
        for month in range(begun)
    ]
    known = bars.filter(pl.col("open_time_us") < last_us + span_us)
    return fold_tasks(known, folds, (run.kind, RIVAL), settings)


def _month_us(year: int, month: int) -> int:
    """When the month opens; ``month`` counts from 0 and may be 12."""
    opened = datetime(year + month // _MONTHS, month % _MONTHS + 1, 1, tzinfo=UTC)
    return int(opened.timestamp()) * 1_000_000
