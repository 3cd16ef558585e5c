"""Pipeline of several instruments: what an issued forecast says of its bar, and what is stored."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from daemon.exchanges.base import Ids
from daemon.forecasting.calibration import Calibration
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.answers import SequenceStart, TradesAnswer
from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    Event,
    ForecastIssued,
    ForecastsScored,
    RepairRequested,
    RoundClosed,
)
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import Timeouts
from features.market import HOUR_US, Completeness, Instrument
from tests.daemon.forecasting.forecast_builders import LEVELS, START_US, bar
from tests.daemon.pipeline.builders import (
    BTC,
    TIMEOUTS,
    feed,
    make_pipeline,
    round_forecasts,
    start_sequences,
    trade,
)
from tests.daemon.pipeline.stream_records import traits_of


def of(events: Iterable[Event], kind: type) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_a_revision_is_no_new_round() -> None:
    """A revised bar is announced, and its hour is not forecast twice."""
    pipeline = make_pipeline()
    start_sequences(pipeline, BTC)
    feed(pipeline, BTC, trade(3, 0.9))  # id 2 is missing
    pipeline.time_advanced(START_US + HOUR_US + TIMEOUTS.proof_wait_us, 3700.0)
    events = pipeline.events()
    (first,) = of(events, BarClosed)
    assert isinstance(first, BarClosed)
    assert first.bar.completeness is Completeness.GAP
    late_us = START_US + HOUR_US + 60_000_000
    (request,) = of(events, RepairRequested)
    assert isinstance(request, RepairRequested)
    answer = TradesAnswer([trade(2, 0.5, 120.0)], head_reached=True, complete=True, asked_at_us=late_us)
    pipeline.answer(request, answer, late_us, 3800.0)
    pipeline.time_advanced(late_us + 1, 3801.0)
    events = pipeline.events()
    (revised,) = of(events, BarRevised)
    assert isinstance(revised, BarRevised)
    assert (revised.bar.completeness, revised.bar.high, revised.bar.revision) == (Completeness.PROVEN, 120.0, 1)
    assert of(events, RoundClosed) == []


def test_a_forecast_carries_the_quality_of_its_bar() -> None:
    """Reference price, completeness, clock skew and latencies are those of the bar at whose close it was made."""
    pipeline = make_pipeline()
    start_sequences(pipeline, BTC)
    feed(pipeline, BTC, trade(2, 0.5, 105.0), trade(3, 1.1))
    pipeline.events()
    pipeline.clock_skew_ms["binance"] = -12
    pipeline.forecasts_made(round_forecasts(1, "BTC-USDT"), now_us=START_US + HOUR_US + 250_000)
    (event,) = of(pipeline.events(), ForecastIssued)
    assert isinstance(event, ForecastIssued)
    issued = event.issued
    assert (issued.reference_price, issued.source) == (105.0, "model")
    assert issued.quality.completeness is Completeness.PROVEN
    assert (issued.quality.window_bars_missing, issued.quality.clock_skew_ms) == (3, -12)
    assert (issued.latency.bar_close_to_publish, issued.latency.features, issued.latency.inference) == (250, 1.5, 2.5)


def test_after_an_empty_bar_the_reference_is_the_last_known_close() -> None:
    """An hour without trades: the forecast refers to the price before it."""
    pipeline = make_pipeline()
    start_sequences(pipeline, BTC)
    feed(pipeline, BTC, trade(2, 0.5, 105.0), trade(3, 2.1, 90.0))
    events = pipeline.events()
    assert [event.bar.completeness for event in events if isinstance(event, BarClosed)] == [
        Completeness.PROVEN,
        Completeness.EMPTY,
    ]
    pipeline.forecasts_made(round_forecasts(2, "BTC-USDT"), now_us=START_US + 2 * HOUR_US)
    (event,) = of(pipeline.events(), ForecastIssued)
    assert isinstance(event, ForecastIssued)
    assert event.issued.reference_price == 105.0


def test_a_late_forecast_refers_to_its_own_bar() -> None:
    """The next bar has closed before the forecast is made; its reference is still the close of its own bar."""
    pipeline = make_pipeline()
    start_sequences(pipeline, BTC)
    feed(pipeline, BTC, trade(2, 0.5, 105.0), trade(3, 1.5, 90.0), trade(4, 2.1))
    pipeline.events()
    assert pipeline.reference_price(BTC) == 90.0
    pipeline.forecasts_made(round_forecasts(1, "BTC-USDT"), now_us=START_US + 2 * HOUR_US)
    (event,) = of(pipeline.events(), ForecastIssued)
    assert isinstance(event, ForecastIssued)
    assert event.issued.reference_price == 105.0


def test_without_a_price_nothing_is_issued() -> None:
    """An instrument that never traded has no reference price; one with a stored bar has its close."""
    for past, issued in ((None, 0), (bar(0, 99.0), 1)):
        pipeline = make_pipeline()
        if past is not None:
            pipeline.set_last_bar(past)
        start = SequenceStart([], None)
        pipeline.start_sequence(BTC, start, from_time_us=START_US, now_us=START_US, wall_s=0.0)
        pipeline.time_advanced(START_US + HOUR_US + TIMEOUTS.proof_wait_us, 3700.0)
        assert len(of(pipeline.events(), BarClosed)) == 1
        pipeline.forecasts_made(round_forecasts(1, "BTC-USDT"), now_us=START_US + HOUR_US)
        assert len(of(pipeline.events(), ForecastIssued)) == issued


def test_bars_without_a_trade_refer_to_the_close_before_the_start() -> None:
    """The history is loaded beside the first bars; one that closed without any trade waits for its price."""
    pipeline = make_pipeline()
    pipeline.start_sequence(BTC, SequenceStart([], None), from_time_us=START_US, now_us=START_US, wall_s=0.0)
    pipeline.time_advanced(START_US + HOUR_US + TIMEOUTS.proof_wait_us, 3700.0)
    pipeline.events()
    pipeline.set_earlier_close(BTC, 99.0)
    assert pipeline.forecasts_made(round_forecasts(1, "BTC-USDT"), now_us=START_US + HOUR_US) == []
    (event,) = of(pipeline.events(), ForecastIssued)
    assert isinstance(event, ForecastIssued)
    assert event.issued.reference_price == 99.0


def test_a_forecast_without_a_price_is_named() -> None:
    """The caller logs why it is not issued."""
    pipeline = make_pipeline()
    pipeline.start_sequence(BTC, SequenceStart([], None), from_time_us=START_US, now_us=START_US, wall_s=0.0)
    pipeline.time_advanced(START_US + HOUR_US + TIMEOUTS.proof_wait_us, 3700.0)
    pipeline.events()
    assert pipeline.forecasts_made(round_forecasts(1, "BTC-USDT"), now_us=START_US + HOUR_US) == [BTC]


def test_forecasts_are_scored_when_their_bar_closes() -> None:
    """One hour later the issued forecast and its baselines are scored; the round does not wait for that."""
    pipeline = make_pipeline()
    start_sequences(pipeline, BTC)
    feed(pipeline, BTC, trade(2, 1.1))
    pipeline.events()
    pipeline.forecasts_made(round_forecasts(1, "BTC-USDT"), now_us=START_US + HOUR_US)
    feed(pipeline, BTC, trade(3, 2.1))
    assert of(pipeline.events(), RoundClosed)
    (scored,) = of(pipeline.events(), ForecastsScored)
    assert isinstance(scored, ForecastsScored)
    assert {(score.role, score.kind, score.horizon_bars) for score in scored.scores} == {
        ("issued", "har", 1),
        ("baseline", "har", 1),
        ("baseline", "random_walk", 1),
    }


def test_an_issued_forecast_is_calibrated_and_keeps_the_raw_one() -> None:
    """Before the first score the two are the same; after a bar outside every interval the issued one is wider."""
    calibration = Calibration(interval_us=HOUR_US, horizons=(1, 2), levels=LEVELS)
    pipeline = make_pipeline(calibration)
    start_sequences(pipeline, BTC)
    issued = []
    for hour in (1, 2):
        feed(pipeline, BTC, trade(hour + 1, hour + 0.1, 100.0 * 1.5 ** (hour + 1)))
        pipeline.events()
        pipeline.forecasts_made(round_forecasts(hour, "BTC-USDT"), now_us=START_US + hour * HOUR_US + 1)
        (event,) = of(pipeline.events(), ForecastIssued)
        assert isinstance(event, ForecastIssued)
        issued.append(event.issued)
    first, second = issued
    assert first.forecast is first.raw
    assert second.raw is not None
    assert (second.forecast.quantiles[0] > second.raw.quantiles[0]).tolist() == [False, False, False, True, True]
    assert (second.forecast.quantiles[1] == second.raw.quantiles[1]).all()  # no horizon of two bars is scored yet
    assert [score.role for score in pipeline.scoreboard.bar_closed(bar(3, 300.0))][:3] == ["issued", "raw", "baseline"]


def test_unsaved_trades_are_returned_once_with_their_state() -> None:
    """What is stored in one transaction is enough to resume from."""
    pipeline = make_pipeline()
    start_sequences(pipeline, BTC)
    feed(pipeline, BTC, trade(2, 0.2), trade(3, 0.3))
    ((instrument, trades, state),) = pipeline.unsaved_trades()
    assert instrument == BTC
    assert [each.trade_id for each in trades] == [1, 2, 3]
    assert (state.last_id, state.covered_from_us) == (3, START_US)
    assert pipeline.unsaved_trades() == []


def test_set_timeouts_reaches_every_instrument() -> None:
    """A reload replaces the timeouts of all instruments."""
    pipeline = make_pipeline()
    pipeline.set_timeouts(Timeouts(grace_us=1, proof_wait_us=2))
    assert {each.timeouts.proof_wait_us for each in pipeline.instruments.values()} == {2}


@pytest.mark.parametrize("ids", list(Ids))
def test_a_trade_from_the_future_closes_nothing(ids: Ids) -> None:
    """An exchange stamps a trade past the end of the interval: the bar closes when its end has come, not before."""
    instrument = Instrument("venue", "BTC-USDT")
    pipeline = Pipeline(
        (instrument,),
        interval_us=HOUR_US,
        traits={"venue": traits_of(ids)},
        timeouts=TIMEOUTS,
        scoreboard=Scoreboard(interval_us=HOUR_US, levels=LEVELS),
    )
    first = trade(1, 0.1)
    pipeline.start_sequence(
        instrument, SequenceStart([first], None), from_time_us=START_US, now_us=first.time_us, wall_s=0.0
    )
    now_us = START_US + HOUR_US - 20_000_000
    pipeline.trades_received(instrument, [trade(2, 1.0)], now_us, 1.0)
    pipeline.time_advanced(now_us, 1.0)
    pipeline.time_advanced(START_US + HOUR_US - 1, 2.0)
    assert not [event for event in pipeline.events() if isinstance(event, BarClosed | RoundClosed)]
    pipeline.trades_received(instrument, [trade(3, 1.001)], START_US + HOUR_US, 3.0)
    pipeline.time_advanced(START_US + HOUR_US + TIMEOUTS.proof_wait_us, 3.0)
    closed = [event.bar for event in pipeline.events() if isinstance(event, BarClosed)]
    assert [each.close_time_us for each in closed] == [START_US + HOUR_US]
