"""The status document, filled from the running parts: what the page, ``forecastd status`` and people look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from daemon import __version__
from daemon.clock import Clock
from daemon.config import Config
from daemon.forecasting.records import IssuedForecast
from daemon.pipeline.pipeline import Pipeline
from daemon.publishing.publisher import Publisher
from daemon.retraining.supervisor import RetrainStatus as SupervisorStatus
from daemon.serving.health import Health
from daemon.serving.status import (
    AttentionStatus,
    BarStatus,
    ForecastStatus,
    HorizonStatus,
    ModelStatus,
    MqttStatus,
    RetrainDocument,
    StatusDocument,
    StoreStatus,
    SymbolStatus,
)
from daemon.store.ledger import LEDGER_NAME
from daemon.timestamps import iso
from features.market import Bar, Instrument
from models.forecast import ModelInfo

SHOWN_HORIZONS = (1, 6, 24)


def symbol_status(pipeline: Pipeline, instrument: Instrument, issued: IssuedForecast | None) -> SymbolStatus:
    """One instrument as it stands now."""
    series = pipeline.instruments[instrument]
    bar = pipeline.last_bar(instrument)
    return SymbolStatus(
        venue=instrument.venue,
        symbol=instrument.symbol,
        state=series.state.value,
        reason=series.state_reason,
        price=pipeline.reference_price(instrument) if series.last_price is None else series.last_price,
        last_trade_at=iso(series.last_trade_at_us) if series.last_trade_at_us else None,
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
    """The hour that the network looked at most; None for a baseline."""
    weights = issued.forecast.attention
    if weights is None:
        return None
    top = int(np.argmax(weights))
    return AttentionStatus(bars_ago=len(weights) - top, weight=float(weights[top]), weights=weights.tolist())


def status_document(
    *,
    config: Config,
    clock: Clock,
    health: Health,
    pipeline: Pipeline,
    publisher: Publisher,
    mqtt_address: str,
    instruments: Sequence[Instrument],
    latest: Mapping[Instrument, IssuedForecast],
    model: ModelInfo | None,
    loaded_at_us: int | None,
    supervisor: SupervisorStatus,
    last_retrain: Mapping[str, object] | None,
    next_retrain_us: int | None,
) -> StatusDocument:
    """The whole daemon at this moment."""
    condition = health.condition
    mqtt = publisher.state
    progress = supervisor.progress
    return StatusDocument(
        instance=config.instance.name,
        version=__version__,
        state=condition.state.value,
        reason=condition.reason,
        since=iso(condition.since_us),
        clock=iso(clock.market_us()),
        speed=clock.speed,
        interval=config.bars.interval,
        symbols=[symbol_status(pipeline, each, latest.get(each)) for each in instruments],
        mqtt=MqttStatus(
            url=mqtt_address,
            connected=mqtt.connected,
            protocol=str(mqtt.protocol) if mqtt.protocol else None,
            published=mqtt.published,
            outbox=publisher.depth,
            expired=mqtt.expired,
            reason=mqtt.last_error or "",
        ),
        store=_store(config.instance.state_dir),
        model=_model(model, loaded_at_us) if model else None,
        retrain=RetrainDocument(
            running=supervisor.running,
            progress=progress.ratio if progress and supervisor.running else None,
            stage=progress.phase if progress and supervisor.running else "",
            epoch=progress.epoch if progress and supervisor.running else None,
            epochs=progress.epochs if progress and supervisor.running else None,
            remaining_s=progress.remaining_s if progress and supervisor.running else None,
            last_result=str(last_retrain["outcome"]) if last_retrain else None,
            last_finished_at=_time(last_retrain["finished_at_us"]) if last_retrain else None,
            next_at=iso(next_retrain_us) if next_retrain_us else None,
        ),
    )


def _store(folder: Path) -> StoreStatus:
    files = [file for file in folder.glob(f"{LEDGER_NAME}*") if file.is_file()]
    return StoreStatus(path=str(folder), size_bytes=sum(file.stat().st_size for file in files))


def _model(model: ModelInfo, loaded_at_us: int | None) -> ModelStatus:
    trained_until = iso(model.trained_until_us) if model.trained_until_us is not None else None
    loaded_at = iso(loaded_at_us) if loaded_at_us is not None else None
    return ModelStatus(id=model.id, kind=model.kind, trained_until=trained_until, loaded_at=loaded_at)


def _bar(bar: Bar) -> BarStatus:
    return BarStatus(
        close_time=iso(bar.close_time_us),
        completeness=bar.completeness.value,
        missing_trades=bar.missing_trades,
        revision=bar.revision,
        trades=bar.trades,
    )


def _time(value: object) -> str | None:
    return iso(value) if isinstance(value, int) else None
