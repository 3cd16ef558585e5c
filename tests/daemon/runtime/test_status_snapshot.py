"""The status document: prices from log returns, unknown values as null, no stale value beside a new one."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from daemon.clock import ManualClock
from daemon.config import Config, load_config
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.answers import SequenceStart
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import Timeouts
from daemon.publishing.publisher_state import PublisherState
from daemon.retraining.supervisor import RetrainStatus
from daemon.runtime.run_reporter import RunOutcome
from daemon.runtime.status_snapshot import (
    ModelInService,
    RetrainSnapshot,
    attention_top,
    forecast_status,
    mqtt_status,
    status_document,
    symbol_status,
    symbol_statuses,
)
from daemon.serving.health import Health
from daemon.serving.status import StatusDocument
from daemon.timestamps import from_iso
from features.market import HOUR_US, Trade
from models.forecast import ModelInfo
from models.specification import Progress
from tests.daemon.pipeline.stream_records import traits_of
from tests.daemon.publishing.samples import BITCOIN, CLOSE_US, LEVELS, bar, issued_forecast, made_forecast

TIMEOUTS = Timeouts(grace_us=2_000_000, proof_wait_us=30_000_000)
TRAINING = Progress(phase="training", ratio=0.4, elapsed_s=4.0, epoch=3, epochs=8, remaining_s=6.0)


@pytest.fixture
def pipeline() -> Pipeline:
    scoreboard = Scoreboard(interval_us=HOUR_US, levels=LEVELS)
    return Pipeline(
        [BITCOIN], interval_us=HOUR_US, traits={"binance": traits_of()}, timeouts=TIMEOUTS, scoreboard=scoreboard
    )


@pytest.fixture
def config() -> Config:
    return load_config(None, command_line={"instance.state_dir": "/state"}, environ={})


def publisher() -> Any:
    """The part of a publisher that the document reads."""
    state = PublisherState(connected=True, since_us=0, published=7, refused=3, too_large=4, overflowed=5)
    return SimpleNamespace(state=state, depth=2)


def document(pipeline: Pipeline, config: Config, **changes: Any) -> StatusDocument:
    clock = ManualClock(CLOSE_US)
    given: dict[str, Any] = {
        "config": config,
        "clock": clock,
        "health": Health(clock, []),
        "symbols": symbol_statuses(pipeline, {}),
        "mqtt": mqtt_status(publisher(), "mqtt://127.0.0.1:1883"),
        "model": None,
        "retrain": RetrainSnapshot(RetrainStatus(running=False), None, None),
    }
    return status_document(**(given | changes))


def test_before_the_first_bar_everything_unknown_is_null(pipeline: Pipeline, config: Config) -> None:
    """No price, bar, forecast, model or training is ever shown as a zero."""
    shown = document(pipeline, config)
    (symbol,) = shown.symbols
    assert (symbol.price, symbol.bar, symbol.forecast, symbol.last_trade_at) == (None, None, None, None)
    assert symbol.state == "warming_up"
    assert shown.model is None
    assert shown.retrain is not None
    assert (shown.retrain.progress, shown.retrain.last_result, shown.retrain.next_at) == (None, None, None)


def test_the_document_survives_json(pipeline: Pipeline, config: Config) -> None:
    """What the page and `forecastd status` read is what the daemon filled."""
    full = document(pipeline, config, symbols=symbol_statuses(pipeline, {BITCOIN: issued_forecast()}))
    assert msgspec.json.decode(msgspec.json.encode(full), type=StatusDocument) == full


def test_quantiles_become_prices() -> None:
    """Median and 80% band are the reference price times e to the log return."""
    near, far = forecast_status(issued_forecast()).horizons
    assert (near.bars, far.bars) == (1, 24)
    assert near.low_80 == pytest.approx(93250.1 * math.exp(-0.004))
    assert near.high_80 == pytest.approx(93250.1 * math.exp(0.00412345678912))
    assert far.median == pytest.approx(93250.1, rel=1e-8)
    assert near.prob_up == pytest.approx(0.503)


def test_other_horizons_show_their_first() -> None:
    """Where 1, 6 and 24 bars are not forecast, the nearest horizon stands for the forecast."""
    made = made_forecast(horizons=(2, 5))
    assert [each.bars for each in forecast_status(issued_forecast(forecast=made)).horizons] == [2]


@pytest.mark.parametrize(("index", "bars_ago"), [(47, 1), (0, 48), (40, 8)])
def test_attention_counts_back_from_the_newest_bar(index: int, bars_ago: int) -> None:
    """The last weight belongs to the newest bar, which is 1 bar ago; the whole window comes with it, oldest first."""
    weights = np.full(48, 0.01)
    weights[index] = 0.53
    top = attention_top(issued_forecast(forecast=made_forecast(attention=weights)))
    assert top is not None
    assert (top.bars_ago, top.weight) == (bars_ago, 0.53)
    assert top.weights == weights.tolist()


def test_a_baseline_has_no_attention() -> None:
    """None, not an even distribution."""
    assert attention_top(issued_forecast(forecast=made_forecast(attention=None))) is None


def test_the_price_is_the_newest_trades(pipeline: Pipeline) -> None:
    """The last close until a trade of this run came, then that trade's price; an older one changes nothing."""
    pipeline.set_last_bar(bar())
    assert symbol_status(pipeline, BITCOIN, None).price == 93250.1
    first = Trade(99_001, CLOSE_US + 1_000_000, 93_300.0, 0.5, True)
    start = SequenceStart([first], None)
    pipeline.start_sequence(BITCOIN, start, from_time_us=CLOSE_US, now_us=CLOSE_US + 2_000_000, wall_s=2.0)
    newest = Trade(99_002, CLOSE_US + 5_000_000, 93_333.0, 0.5, True)
    pipeline.trades_received(BITCOIN, [newest], CLOSE_US + 6_000_000, 6.0)
    pipeline.trades_received(BITCOIN, [first], CLOSE_US + 7_000_000, 7.0)
    shown = symbol_status(pipeline, BITCOIN, None)
    assert (shown.price, shown.last_trade_at) == (93_333.0, "2026-01-05T13:00:05Z")


def test_a_bar_shows_its_verdict(pipeline: Pipeline) -> None:
    """Close time, verdict and count of the newest bar."""
    pipeline.set_last_bar(bar(missing_trades=3, revision=2))
    shown = symbol_status(pipeline, BITCOIN, None).bar
    assert shown is not None
    assert (shown.close_time, shown.completeness, shown.trades) == ("2026-01-05T13:00:00Z", "proven", 123_456)
    assert (shown.missing_trades, shown.revision) == (3, 2)


def test_progress_belongs_to_a_running_training(pipeline: Pipeline, config: Config) -> None:
    """The figures of a finished run are not shown beside the plan of the next one."""
    last = RunOutcome(outcome="promoted", reason="", model_id="m", duration_s=1.0, finished_at_us=CLOSE_US)
    under_way = RetrainSnapshot(RetrainStatus(running=True, progress=TRAINING), None, None)
    running = document(pipeline, config, retrain=under_way).retrain
    over = document(
        pipeline,
        config,
        retrain=RetrainSnapshot(
            RetrainStatus(running=False, progress=TRAINING), last, from_iso("2026-01-06T13:00:00Z")
        ),
    ).retrain
    assert running is not None
    assert over is not None
    assert (running.stage, running.progress, running.epoch, running.remaining_s) == ("training", 0.4, 3, 6.0)
    assert (over.stage, over.progress, over.epoch, over.remaining_s) == ("", None, None, None)
    assert (over.last_result, over.last_finished_at) == ("promoted", "2026-01-05T13:00:00Z")
    assert over.next_at == "2026-01-06T13:00:00Z"


def test_the_model_and_the_broker_are_named(pipeline: Pipeline, config: Config) -> None:
    """The model in service since when, and the state of the broker's connection."""
    model = ModelInfo(id="lstm-7", kind="attention_lstm", trained_until_us=CLOSE_US)
    shown = document(pipeline, config, model=ModelInService(model, CLOSE_US))
    assert shown.model is not None
    assert (shown.model.kind, shown.model.trained_until) == ("attention_lstm", "2026-01-05T13:00:00Z")
    assert shown.model.loaded_at == "2026-01-05T13:00:00Z"
    assert (shown.mqtt.url, shown.mqtt.published, shown.mqtt.outbox) == ("mqtt://127.0.0.1:1883", 7, 2)
    assert (shown.mqtt.refused, shown.mqtt.too_large, shown.mqtt.overflowed) == (3, 4, 5)
    assert shown.mqtt.protocol is None
