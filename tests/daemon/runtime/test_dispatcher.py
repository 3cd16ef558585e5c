"""Handling of each event: stored before it is published, forecast in order, and only once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from daemon.pipeline.answers import RequestFailed, TradesAnswer
from features.market import HOUR_US, Bar
from models.forecast import ModelInfo, WindowReading
from tests.daemon.forecasting.forecast_builders import START_US
from tests.daemon.pipeline.builders import BTC, feed, round_forecasts, trade
from tests.daemon.publishing.harness import TOPICS, eventually
from tests.daemon.runtime.dispatching import dispatcher_setup


async def test_a_bar_is_stored_and_published_and_forecast(tmp_path: Path) -> None:
    """One closed bar leads to one stored bar, one stored forecast, and both on their topics."""
    async with dispatcher_setup(tmp_path) as at:
        at.close_hours(1)
        await at.settled(1)
        (stored,) = at.ledger.latest_forecasts()
        last = at.ledger.last_bar(BTC, HOUR_US)
        sent = at.waiting()
    assert last is not None
    assert last.close_time_us == START_US + HOUR_US
    assert sent[TOPICS.forecast(BTC, HOUR_US)] == stored.payload
    assert TOPICS.bar(BTC, HOUR_US) in sent
    assert not at.health.fatal_reason()


async def test_a_bar_is_never_stored_before_its_trades(tmp_path: Path) -> None:
    """A store killed at any instant has all trades of each of its bars, so that unproven bars can be revised."""
    async with dispatcher_setup(tmp_path) as at:
        stored: list[tuple[int | None, int]] = []
        save_bars = at.ledger.save_bars

        def noting(bars: Iterable[Bar]) -> None:
            for bar in (kept := list(bars)):
                trades = at.ledger.open_trades(BTC, bar.open_time_us)
                stored.append((bar.trades, sum(trade.time_us < bar.close_time_us for trade in trades)))
            save_bars(kept)

        at.ledger.save_bars = noting  # type: ignore[method-assign]
        feed(at.pipeline, BTC, *(trade(number, number / 10) for number in range(2, 6)), trade(6, 1.1))
        at.dispatcher.drain()
        await at.store.call(lambda: None)
    assert stored == [(5, 5)]


async def test_the_reading_is_stored_with_the_forecast(tmp_path: Path) -> None:
    """The reading goes into the store with its forecast."""
    async with dispatcher_setup(tmp_path) as at:
        at.inference.reading = WindowReading(np.arange(48) > 2, ("log_return_1", "hour_sin"), np.array([0.75, 0.25]))
        at.close_hours(1)
        await at.settled(1)
        stored = at.ledger.reading(at.forecasts[0].id)
    assert stored is not None
    assert stored.importance is not None
    assert (stored.known.sum(), stored.feature_names) == (45, ("log_return_1", "hour_sin"))
    assert stored.importance.tolist() == [0.75, 0.25]


async def test_the_first_forecast_of_a_bar_is_kept(tmp_path: Path) -> None:
    """A second forecast of the same bar is not published: the first one is published again."""
    async with dispatcher_setup(tmp_path) as at:
        at.close_hours(1)
        await at.settled(1)
        first = at.waiting()[TOPICS.forecast(BTC, HOUR_US)]
        issued = at.forecasts[0]
        at.clock.set(at.clock.now_us + 5_000_000)
        last = at.pipeline.last_bar(BTC)
        assert last is not None
        at.pipeline._forecast_starts[START_US + HOUR_US] = {BTC: (last, 55.0)}
        with capture_logs() as logs:
            at.pipeline.forecasts_made(round_forecasts(1, "BTC-USDT"), now_us=at.clock.now_us)
            at.dispatcher.drain()
            await eventually(lambda: any(entry["event"] == "forecast_stands" for entry in logs))
        assert at.forecasts == [issued]
        assert at.dispatcher.latest == {BTC: issued}
        assert at.waiting()[TOPICS.forecast(BTC, HOUR_US)] == first
        assert at.sample("forecasts_total", **BTC._asdict(), source="model") == 1
        assert at.sample("store_lost_total", record="forecasts", reason="conflict") == 1
        (pending,) = at.ledger.pending()
        assert at.pipeline.scoreboard.dump() == {issued.id: pending.record}


async def test_a_model_change_happens_between_two_rounds(tmp_path: Path) -> None:
    """A swap waits for the rounds before it and holds back those after it."""
    async with dispatcher_setup(tmp_path) as at:
        at.inference.go_on.clear()

        async def swap() -> ModelInfo | None:
            at.inference.asked.append("swap")
            return None

        at.close_hours(1)
        swapping = asyncio.create_task(at.rounds.between_bars(swap))
        await asyncio.sleep(0.01)
        at.close_hours(2)
        at.inference.go_on.set()
        assert await swapping is None
        await at.settled(2)
    assert at.inference.asked == ["round 1", "swap", "round 2"]


async def test_a_failed_change_is_raised_to_its_caller(tmp_path: Path) -> None:
    """``between_bars`` raises the error of the change, and the rounds continue."""
    async with dispatcher_setup(tmp_path) as at:

        async def fail() -> ModelInfo | None:
            raise ValueError("damaged")

        with pytest.raises(ValueError, match="damaged"):
            await at.rounds.between_bars(fail)
        at.close_hours(1)
        await at.settled(1)


async def test_a_change_whose_waiter_was_cancelled_does_not_stop_the_rounds(tmp_path: Path) -> None:
    """After the waiter is cancelled the next round is still forecast."""
    async with dispatcher_setup(tmp_path) as at:
        at.inference.go_on.clear()

        async def swap() -> ModelInfo | None:
            return None

        at.close_hours(1)
        asking = asyncio.create_task(at.rounds.between_bars(swap))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        at.inference.go_on.set()
        at.close_hours(2)
        await at.settled(2)


async def test_a_round_that_comes_too_late_is_not_published(tmp_path: Path) -> None:
    """A forecast past its valid_until is logged and not published; the next one is published."""
    async with dispatcher_setup(tmp_path) as at:
        at.inference.go_on.clear()
        at.close_hours(1, 2, 3)
        with capture_logs() as logs:
            at.inference.go_on.set()
            await at.settled(2)
    hours = [(issued.forecast.close_time_us - START_US) // HOUR_US for issued in at.forecasts]
    assert hours == [2, 3]  # a second into hour four the second is still valid
    assert [entry["event"] for entry in logs].count("round_too_old") == 1


@pytest.mark.parametrize("refused", [True, False], ids=["unreachable", "quiet"])
async def test_a_forecast_on_no_knowledge_is_withheld(tmp_path: Path, refused: bool) -> None:
    """While a venue cannot be reached its empty bars are not taken for a quiet market; proven ones are forecast."""
    async with dispatcher_setup(tmp_path) as at:
        at.close_hours(1)
        await at.settled(1)

        def minute_passes() -> None:
            """Every request is answered: refused, or that nothing was traded."""
            at.clock.set(at.clock.market_us() + 60_000_000)
            at.pipeline.time_advanced(at.clock.market_us(), at.clock.wall_s())
            at.dispatcher.drain()
            for request in [request for request in at.feed.requests if request.instrument == BTC]:
                at.feed.requests.remove(request)
                quiet = TradesAnswer([], head_reached=True, complete=True, asked_at_us=at.clock.market_us())
                answer = RequestFailed("no route") if refused else quiet
                at.pipeline.answer(request, answer, at.clock.market_us(), at.clock.wall_s())
            at.dispatcher.drain()

        with capture_logs() as logs:
            while at.inference.asked[-1] != "round 3":  # the last trade is in the second hour, the third has none
                minute_passes()
                await asyncio.sleep(0)
            await at.settled(2 if refused else 3)
    assert len(at.forecasts) == (2 if refused else 3)
    assert (at.sample("forecasts_withheld_total", venue="binance", symbol="BTC-USDT") or 0) == refused
    assert [entry["event"] for entry in logs].count("forecast_withheld") == refused


async def test_rounds_beyond_the_queue_are_dropped_with_an_error(tmp_path: Path) -> None:
    """The queue is bounded; bars are still stored."""
    async with dispatcher_setup(tmp_path) as at:
        at.inference.go_on.clear()
        with capture_logs() as logs:
            at.close_hours(*range(1, 1100))
        await at.store.call(lambda: None)
        assert at.rounds.depth <= at.rounds.capacity
        last = at.ledger.last_bar(BTC, HOUR_US)
        assert last is not None
        assert last.close_time_us == START_US + 1099 * HOUR_US
    assert any(entry["event"] == "round_dropped" for entry in logs)


async def test_a_model_that_fails_is_a_fault_until_it_answers(tmp_path: Path) -> None:
    """The status names the failure, and the next successful round clears it."""
    async with dispatcher_setup(tmp_path) as at:
        at.inference.failure = "the network answered NaN"
        at.close_hours(1)
        await at.settled(1)
        assert "answered NaN" in at.health.condition.reason
        at.inference.failure = None
        at.close_hours(2)
        await at.settled(2)
        assert "answered NaN" not in at.health.condition.reason


async def test_revisions_that_wait_are_taken_together(tmp_path: Path) -> None:
    """Hundreds of revisions at one time cost one computation of features, and rounds keep their place among them."""
    async with dispatcher_setup(tmp_path) as at:
        at.inference.go_on.clear()
        at.close_hours(1)
        await asyncio.sleep(0.01)
        bar = at.pipeline.last_bar(BTC)
        assert bar is not None
        for _ in range(3):
            at.rounds.submit(bar)
        at.close_hours(2)
        at.inference.go_on.set()
        await at.settled(2)
    assert at.inference.asked == ["round 1", "revision of 1, 1, 1", "round 2"]
