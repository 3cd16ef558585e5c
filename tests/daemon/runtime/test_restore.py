"""Restoring from a ledger: sequences, republished messages, pending forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from daemon.clock import ManualClock
from daemon.forecasting.calibration import Calibration
from daemon.forecasting.records import IssuedForecast, Score
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.events import BarClosed, BarRevised
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.sequence import MissingIds, SequenceState
from daemon.pipeline.timeouts import Timeouts
from daemon.publishing import payloads
from daemon.publishing.message_builder import MessageBuilder
from daemon.publishing.settings import MqttSettings
from daemon.publishing.topics import Topics
from daemon.runtime.restore import (
    ScoreboardRestoration,
    discard_future,
    published_state,
    republish,
    restore_pipeline,
    revisable,
    unreconciled_bars,
)
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import Ledger
from features.market import HOUR_US, Audit, Bar, Completeness, Instrument, MissingTrades, Trade
from models.forecast import Forecast
from tests.daemon.forecasting.forecast_builders import LEVELS, START_US, bar, forecast, issue
from tests.daemon.pipeline.stream_records import traits_of
from tests.daemon.publishing.harness import Callbacks, make_publisher

BTC, ETH = Instrument("binance", "BTC-USDT"), Instrument("binance", "ETH-USDT")
TOPICS = Topics("forecastd/v1", "test")
MINUTE_US = 60_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def make_pipeline() -> Pipeline:
    return Pipeline(
        (BTC, ETH),
        interval_us=HOUR_US,
        traits={"binance": traits_of()},
        timeouts=Timeouts(grace_us=1, proof_wait_us=1),
        scoreboard=Scoreboard(interval_us=HOUR_US, levels=LEVELS),
    )


def save_trades(ledger: Ledger, *minutes: int) -> None:
    """Trades of BTC at these minutes after START_US with ids from 1 on; the sequence began at START_US."""
    trades = [
        Trade(number, START_US + minute * MINUTE_US, 100.0 + number, 1.0, True)
        for number, minute in enumerate(minutes, 1)
    ]
    state = SequenceState(last_id=len(trades), last_time_us=trades[-1].time_us, covered_from_us=START_US)
    ledger.save_trades(BTC, trades, state)


def live(hour: int, close: float = 101.0) -> Bar:
    """The bar that closes at START_US plus ``hour`` hours, made from trades."""
    return msgspec.structs.replace(bar(hour, close), quote_volume=1.0, trades=1)


def test_state_from_the_future_does_not_silence_an_instrument(ledger: Ledger) -> None:
    """After a wrong clock closed ten hours of the future, the open hour continues with its trades."""
    save_trades(ledger, 5, 65, 130)
    ledger.save_bars([live(1), live(2)])
    ahead = [msgspec.structs.replace(live(hour), completeness=Completeness.EMPTY, trades=0) for hour in range(3, 13)]
    ledger.save_bars(ahead)
    now_us = START_US + 2 * HOUR_US + 30 * MINUTE_US
    with capture_logs() as logs:
        discard_future(ledger, make_pipeline().instruments[BTC].timeouts, now_us)
    assert [(entry["event"], entry["bars"]) for entry in logs] == [("future_state_discarded", 10)]
    pipeline = make_pipeline()
    restore_pipeline(pipeline, ledger, (BTC, ETH), now_us)
    assert pipeline.instruments[BTC].next_close_us == START_US + 3 * HOUR_US
    last = pipeline.last_bar(BTC)
    assert last is not None
    assert last.close_time_us == START_US + 2 * HOUR_US


def test_a_sequence_continues_within_a_bar(ledger: Ledger) -> None:
    """The open bar's trades are read from the store: the bar is the same as without a restart."""
    save_trades(ledger, 5, 10, 20)
    pipeline = make_pipeline()
    restore_pipeline(pipeline, ledger, (BTC, ETH), START_US + 30 * MINUTE_US)
    assert pipeline.instruments[BTC].warm
    assert not pipeline.instruments[ETH].warm
    pipeline.trades_received(
        BTC, [Trade(4, START_US + 61 * MINUTE_US, 99.0, 1.0, False)], START_US + 61 * MINUTE_US, 0.0
    )
    made = [event.bar for event in pipeline.events() if hasattr(event, "bar")]
    assert [(each.open, each.close, each.volume, each.trades) for each in made] == [(101.0, 103.0, 3.0, 3)]
    assert made[0].completeness is Completeness.PROVEN


def test_a_bar_that_was_closed_is_not_closed_again(ledger: Ledger) -> None:
    """The sequence continues after the last stored live bar, whose close is the reference price."""
    save_trades(ledger, 5, 70)
    ledger.save_bars([live(1, 101.0)])
    pipeline = make_pipeline()
    restore_pipeline(pipeline, ledger, (BTC,), START_US + 75 * MINUTE_US)
    assert pipeline.instruments[BTC].first_open_us == START_US + HOUR_US
    assert pipeline.reference_price(BTC) == 101.0


def test_history_candles_do_not_hide_the_open_bar(ledger: Ledger) -> None:
    """History that was fetched up to now does not hide the trades of the bar in which the daemon stopped."""
    save_trades(ledger, 5, 70)
    candle = msgspec.structs.replace(live(1), completeness=Completeness.VENUE_CANDLE)
    ledger.save_bars([candle])
    pipeline = make_pipeline()
    restore_pipeline(pipeline, ledger, (BTC,), START_US + 75 * MINUTE_US)
    assert pipeline.instruments[BTC].first_open_us == START_US


@pytest.mark.parametrize("changes", [{"revision": 1}, {"missing_ranges": (MissingTrades(None, None, 1, 2),)}])
def test_a_candle_that_replaced_lost_trades_is_not_history(ledger: Ledger, changes: dict[str, object]) -> None:
    """A bar that closed as the venue's candle is not closed again after a restart, with another content."""
    save_trades(ledger, 5, 70)
    ledger.save_bars([msgspec.structs.replace(live(1), completeness=Completeness.VENUE_CANDLE, **changes)])
    pipeline = make_pipeline()
    restore_pipeline(pipeline, ledger, (BTC,), START_US + 75 * MINUTE_US)
    assert pipeline.instruments[BTC].first_open_us == START_US + HOUR_US


def test_bars_not_reconciled_before_the_stop_are_reconciled(ledger: Ledger) -> None:
    """Bars of ours without an outcome are compared after the start; the venue's own candles are not."""
    waiting = live(1)
    settled = msgspec.structs.replace(live(2), audit=Audit.EQUAL)
    candle = msgspec.structs.replace(live(3), completeness=Completeness.VENUE_CANDLE)
    ledger.save_bars([waiting, settled, candle])
    assert unreconciled_bars(ledger, (BTC,), HOUR_US, START_US + 4 * HOUR_US) == [waiting]


@pytest.mark.parametrize("minutes", [3 * 60, -3 * 60], ids=["long ago", "in the future"])
def test_a_sequence_too_far_away_is_not_resumed(ledger: Ledger, minutes: int) -> None:
    """Two bars after the last trade, or before it where the clock was wrong, the venue's candles fill in."""
    save_trades(ledger, 5)
    pipeline = make_pipeline()
    restore_pipeline(pipeline, ledger, (BTC,), START_US + minutes * MINUTE_US)
    assert not pipeline.instruments[BTC].warm


def save_forecast(ledger: Ledger, made: Forecast, scoreboard: Scoreboard) -> bytes:
    return save_issued(ledger, issue(made), scoreboard)


def save_issued(
    ledger: Ledger, issued: IssuedForecast, scoreboard: Scoreboard, baselines: Sequence[Forecast] = ()
) -> bytes:
    """Stores a forecast as the daemon does; returns its payload."""
    made = issued.forecast
    scoreboard.register(issued, baselines)
    payload = payloads.forecast(issued)
    ledger.save_forecast(
        StoredForecast(
            id=issued.id,
            venue=BTC.venue,
            symbol=BTC.symbol,
            interval_us=HOUR_US,
            close_time_us=made.close_time_us,
            valid_until_us=payloads.valid_until_us(made),
            topic=TOPICS.forecast(BTC, HOUR_US),
            payload=payload,
        ),
        pending_record=scoreboard.pending_record(issued.id, BTC),
    )
    return payload


def save_first_score(ledger: Ledger) -> None:
    """Stores a forecast and its score of the first horizon."""
    before = Scoreboard(interval_us=HOUR_US, levels=LEVELS)
    save_forecast(ledger, forecast("har", 1), before)
    scores = before.bar_closed(live(2))
    changes = before.take_changes()
    ledger.save_scores(scores, settled=changes.settled, still_pending=changes.still_pending)


def test_pending_forecasts_are_scored_after_a_restart(ledger: Ledger) -> None:
    """Forecasts of before the stop are scored after it; earlier scores still count."""
    save_first_score(ledger)
    after = Scoreboard(interval_us=HOUR_US, levels=LEVELS)
    ScoreboardRestoration(after, ledger, 0).run()
    assert after.skill("binance", "BTC-USDT", horizon_bars=1).scored == 1
    assert [score.horizon_bars for score in after.bar_closed(live(3))] == [2]


def calibrating() -> Scoreboard:
    calibration = Calibration(interval_us=HOUR_US, horizons=(1, 2), levels=LEVELS)
    return Scoreboard(interval_us=HOUR_US, levels=LEVELS, calibration=calibration)


def live_on(ledger: Ledger, board: Scoreboard, hours: range) -> dict[int, list[float]]:
    """The hours of a daemon whose network predicts half the width and whose market crashes now and then.

    Returns what was published of each hour, at both horizons.
    """
    published = {}
    for hour in hours:
        save_scores(ledger, board, board.bar_closed(live(hour, 100.0 + 9.0 * (hour % 7 == 0))))
        assert board.calibration is not None
        raw = forecast("tft", hour)
        issued = msgspec.structs.replace(issue(board.calibration.calibrated(raw)), raw=raw)
        save_issued(ledger, issued, board, [forecast("har", hour)])
        published[hour] = issued.forecast.quantiles.ravel().tolist()
    return published


def save_scores(ledger: Ledger, board: Scoreboard, scores: list[Score]) -> None:
    if scores:
        changes = board.take_changes()
        ledger.save_scores(
            scores,
            settled=changes.settled,
            still_pending=changes.still_pending,
            calibrations=changes.calibrations,
        )


def test_calibration_is_the_same_after_a_restart(ledger: Ledger, tmp_path: Path) -> None:
    """Killed after any hour, the store alone leads to the same forecasts and the same states to the last bit."""
    through = calibrating()
    expected = live_on(ledger, through, range(1, 40))
    assert expected[39] != expected[1]
    for stop in (2, 3, 17):
        with Ledger(tmp_path / f"stopped-{stop}.sqlite") as other:
            published = live_on(other, calibrating(), range(1, stop))
            resumed = calibrating()
            ScoreboardRestoration(resumed, other, 0).run()
            published |= live_on(other, resumed, range(stop, 40))
            assert published == expected
            assert other.calibrations(HOUR_US) == ledger.calibrations(HOUR_US)
            assert resumed.skill("binance", "BTC-USDT") == through.skill("binance", "BTC-USDT")
    assert {each.kind for each in ledger.calibrations(HOUR_US)} == {"tft", "har"}


def test_the_last_bar_and_forecast_are_published_again_as_they_were(ledger: Ledger) -> None:
    """Byte for byte, the newest of each, for configured instruments only."""
    scoreboard = Scoreboard(interval_us=HOUR_US, levels=LEVELS)
    save_forecast(ledger, forecast("har", 1), scoreboard)
    newest = save_forecast(ledger, forecast("har", 2), scoreboard)
    ledger.save_bars([live(1), live(2)])
    sent = republished(ledger, START_US + 2 * HOUR_US)
    assert sent == {TOPICS.bar(BTC, HOUR_US): payloads.bar(live(2)), TOPICS.forecast(BTC, HOUR_US): newest}


def test_history_candles_are_not_published(ledger: Ledger) -> None:
    """Live bars are published; history is not."""
    ledger.save_bars([msgspec.structs.replace(live(1), completeness=Completeness.VENUE_CANDLE)])
    assert republished(ledger, START_US + HOUR_US) == {}


def republished(ledger: Ledger, now_us: int) -> dict[str, bytes]:
    """What waits for the broker after a start, by topic, but for the status."""
    waiting = make_publisher(MqttSettings(url="mqtt://127.0.0.1:9"), Callbacks(), clock=ManualClock(now_us))
    messages_of = MessageBuilder(waiting, TOPICS, ManualClock(now_us))
    republish(messages_of, published_state(ledger, (BTC, ETH), HOUR_US))
    messages = {}
    while (message := waiting._outbox.take(now_us)) is not None:
        messages[message.topic] = message.payload
    messages.pop(TOPICS.status, None)
    return messages


@pytest.mark.parametrize(
    ("counts", "verdicts", "expected"),
    [
        ((1, 1), ("gap", "proven"), [1, 2]),  # the first is to be proven, the second follows it
        ((1, 1), ("proven", "unproven"), [2]),
        ((1, 1), ("proven", "proven"), []),
        ((7, 1), ("gap", "unproven"), [2]),  # six trades of the first are gone: a revision could only lose trades
        ((7, 1), ("gap", "proven"), []),
        ((0, 1), ("gap", "proven"), [1, 2]),  # its repair was stored and not published: it is published now
        ((1, 0), ("gap", "unproven"), [1, 2]),
        ((1, 0), ("gap", "proven"), []),  # the stored trades of a proven bar are exactly its trades
    ],
)
def test_bars_are_revised_only_from_all_their_trades(
    ledger: Ledger, counts: tuple[int, int], verdicts: tuple[str, str], expected: list[int]
) -> None:
    """Unproven bars wait for their proof across a restart, if every trade that made them is still stored."""
    save_trades(ledger, 5, 65)
    ledger.save_bars(
        msgspec.structs.replace(live(hour), trades=count, completeness=Completeness(verdict))
        for hour, count, verdict in zip((1, 2), counts, verdicts, strict=True)
    )
    bars = revisable(ledger, BTC, HOUR_US, START_US + 2 * HOUR_US)
    assert [(each.close_time_us - START_US) // HOUR_US for each in bars] == expected


def test_a_repair_that_was_stored_and_not_published_is_published_after_the_restart(ledger: Ledger) -> None:
    """Killed between the two, the bar is revised with the trades that came last; they are late ones."""
    save_trades(ledger, 5, 10, 65)
    bar = msgspec.structs.replace(live(1), completeness=Completeness.GAP, trades=1, missing_trades=1, late_trades=2)
    ledger.save_bars([bar])
    pipeline = make_pipeline()
    restore_pipeline(pipeline, ledger, (BTC,), START_US + 70 * MINUTE_US)
    pipeline.time_advanced(START_US + 70 * MINUTE_US, 1.0)
    (revised,) = [event.bar for event in pipeline.events() if isinstance(event, BarRevised)]
    assert (revised.completeness, revised.trades, revised.revision) == (Completeness.PROVEN, 2, 1)
    assert revised.late_trades == 3


def test_a_restart_forgets_no_late_trade(ledger: Ledger) -> None:
    """A bar without new information is not published again after a restart."""
    save_trades(ledger, 5, 65)
    state = SequenceState(
        last_id=2,
        last_time_us=START_US + 65 * MINUTE_US,
        covered_from_us=START_US,
        missing=(MissingIds(7, 7, START_US + 5 * MINUTE_US, START_US + 6 * MINUTE_US),),
    )
    ledger.save_trades(BTC, [], state)
    lost = MissingTrades(7, 7, START_US + 5 * MINUTE_US, START_US + 6 * MINUTE_US)
    restored = make_pipeline()
    restore_pipeline(restored, ledger, (BTC,), START_US + 70 * MINUTE_US)
    for wall_s in (1.0, 100.0):  # past its timeout after a start
        restored.time_advanced(START_US + 70 * MINUTE_US, wall_s)
    (closed,) = [event.bar for event in restored.events() if isinstance(event, BarClosed)]
    assert closed.missing_ranges == (lost,)
    ledger.save_bars([msgspec.structs.replace(closed, late_trades=1)])
    pipeline = make_pipeline()
    restore_pipeline(pipeline, ledger, (BTC,), START_US + 70 * MINUTE_US)
    pipeline.time_advanced(START_US + 70 * MINUTE_US, 1.0)
    assert [event for event in pipeline.events() if isinstance(event, BarRevised)] == []
