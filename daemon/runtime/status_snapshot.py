"""The status document of the page, the API and ``forecastd status``, made from the running components."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from daemon import __version__
from daemon.clock import Clock
from daemon.config import Config
from daemon.forecasting.records import IssuedForecast
from daemon.pipeline.pipeline import Pipeline
from daemon.publishing.publisher import Publisher
from daemon.retraining.supervisor import RetrainStatus
from daemon.runtime.run_reporter import RunOutcome
from daemon.serving.health import Health
from daemon.serving.status import (
    AttentionStatus,
    BarStatus,
    ComponentStatus,
    ForecastStatus,
    HorizonStatus,
    ModelStatus,
    MqttStatus,
    RetrainDocument,
    StatusDocument,
    StoreStatus,
    SymbolStatus,
    VenueClockStatus,
)
from daemon.store.ledger import LEDGER_NAME
from daemon.timestamps import iso
from features.market import Bar, Instrument
from models.forecast import ModelInfo

SHOWN_HORIZONS = (1, 6, 24)


def symbol_statuses(pipeline: Pipeline, latest: Mapping[Instrument, IssuedForecast]) -> list[SymbolStatus]:
    """The state of every instrument now. ``latest``: the last forecast of each that has one."""
    return [symbol_status(pipeline, each, latest.get(each)) for each in pipeline.instruments]


def symbol_status(pipeline: Pipeline, instrument: Instrument, issued: IssuedForecast | None) -> SymbolStatus:
    """The state of one instrument now."""
    state = pipeline.instruments[instrument]
    bar = pipeline.last_bar(instrument)
    return SymbolStatus(
        venue=instrument.venue,
        symbol=instrument.symbol,
        state=state.state.value,
        reason=state.state_reason,
        price=pipeline.reference_price(instrument) if state.last_price is None else state.last_price,
        last_trade_at=iso(state.last_trade_at_us) if state.last_trade_at_us else None,
        bar=_bar(bar) if bar else None,
        forecast=forecast_status(issued) if issued else None,
        skill=pipeline.scoreboard.skill(*instrument),
    )


def forecast_status(issued: IssuedForecast) -> ForecastStatus:
    """A forecast as prices: median and central 80% band of a near, a middle and a far horizon."""
    made = issued.forecast
    shown = [horizon for horizon in made.horizons if horizon in SHOWN_HORIZONS] or list(made.horizons[:1])
    low, median, high = (made.levels.index(level) for level in (0.1, 0.5, 0.9))
    return ForecastStatus(
        bar_close=iso(made.close_time_us),
        issued_at=iso(issued.issued_at_us, milliseconds=True),
        source=issued.source,
        kind=made.model.kind,
        reference_price=issued.reference_price,
        horizons=[
            HorizonStatus(
                bars=horizon,
                median=issued.reference_price * math.exp(made.quantiles[row, median]),
                low_80=issued.reference_price * math.exp(made.quantiles[row, low]),
                high_80=issued.reference_price * math.exp(made.quantiles[row, high]),
                prob_up=float(made.prob_up[row]),
            )
            for horizon in shown
            for row in [made.horizons.index(horizon)]
        ],
        attention_top=attention_top(issued),
    )


def attention_top(issued: IssuedForecast) -> AttentionStatus | None:
    """The hour with the largest attention weight; None for a baseline."""
    weights = issued.forecast.attention
    if weights is None:
        return None
    top = int(np.argmax(weights))
    return AttentionStatus(bars_ago=len(weights) - top, weight=float(weights[top]), weights=weights.tolist())


class ModelInService(NamedTuple):
    """The model that forecasts; ``loaded_at_us`` is market time, None before it was announced."""

    info: ModelInfo
    loaded_at_us: int | None


class RetrainSnapshot(NamedTuple):
    """Retraining now: the current or last process, the outcome of the last run, the market time of the next."""

    process: RetrainStatus
    last: RunOutcome | None
    next_at_us: int | None


def status_document(
    *,
    config: Config,
    clock: Clock,
    health: Health,
    symbols: list[SymbolStatus],
    mqtt: MqttStatus,
    model: ModelInService | None,
    retrain: RetrainSnapshot,
    venue_clocks: list[VenueClockStatus] | None = None,
) -> StatusDocument:
    """The whole daemon now."""
    condition = health.condition
    return StatusDocument(
        instance=config.instance.name,
        version=__version__,
        state=condition.state.value,
        reason=condition.reason,
        since=iso(condition.since_us),
        clock=iso(clock.market_us()),
        speed=clock.speed,
        interval=config.bars.interval,
        symbols=symbols,
        mqtt=mqtt,
        store=_store(config.instance.state_dir),
        model=_model(model) if model else None,
        retrain=_retrain(retrain),
        venue_clocks=venue_clocks or [],
        components=[
            ComponentStatus(
                component=each.component, state=each.state.value, waiting_s=round(each.waiting_s, 1), reason=each.reason
            )
            for each in health.components
        ],
        not_ready=health.readiness_problems(),
    )


def mqtt_status(publisher: Publisher, address: str) -> MqttStatus:
    """The connection to the broker at ``address`` now."""
    state = publisher.state
    return MqttStatus(
        url=address,
        connected=state.connected,
        protocol=str(state.protocol) if state.protocol else None,
        published=state.published,
        outbox=publisher.depth,
        expired=state.expired,
        overflowed=state.overflowed,
        refused=state.refused,
        too_large=state.too_large,
        reason=state.last_error or "",
    )


def _retrain(snapshot: RetrainSnapshot) -> RetrainDocument:
    running, last = snapshot.process.running, snapshot.last
    progress = snapshot.process.progress if running else None
    return RetrainDocument(
        running=running,
        progress=progress.ratio if progress else None,
        stage=progress.phase if progress else "",
        epoch=progress.epoch if progress else None,
        epochs=progress.epochs if progress else None,
        remaining_s=progress.remaining_s if progress else None,
        last_result=last.outcome if last else None,
        last_finished_at=iso(last.finished_at_us) if last else None,
        next_at=iso(snapshot.next_at_us) if snapshot.next_at_us else None,
    )


def _store(folder: Path) -> StoreStatus:
    files = [file for file in folder.glob(f"{LEDGER_NAME}*") if file.is_file()]
    return StoreStatus(path=str(folder), size_bytes=sum(file.stat().st_size for file in files))


def _model(model: ModelInService) -> ModelStatus:
    info, loaded_at_us = model
    trained_until = iso(info.trained_until_us) if info.trained_until_us is not None else None
    loaded_at = iso(loaded_at_us) if loaded_at_us is not None else None
    return ModelStatus(id=info.id, kind=info.kind, trained_until=trained_until, loaded_at=loaded_at)


def _bar(bar: Bar) -> BarStatus:
    return BarStatus(
        close_time=iso(bar.close_time_us),
        completeness=bar.completeness.value,
        missing_trades=bar.missing_trades,
        revision=bar.revision,
        trades=bar.trades,
    )
