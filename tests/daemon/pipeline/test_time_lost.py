"""Waits for proof while the daemon itself stands still: its own pause is not the venue's silence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daemon.pipeline.answers import TradesAnswer
from daemon.pipeline.events import BarClosed, RepairReason, RepairRequested
from daemon.pipeline.pipeline import Pipeline
from features.market import HOUR_US, Completeness
from tests.daemon.forecasting import forecast_builders
from tests.daemon.pipeline import builders
from tests.daemon.pipeline.builders import BTC
from tests.daemon.pipeline.simulated_venue import SECOND_US, START_US, TIMEOUTS, VenueWithIds, trades_with_ids

CLOSE_US = forecast_builders.START_US + HOUR_US
AFTER_PAUSE_US = CLOSE_US + 100 * SECOND_US

WAIT_S = TIMEOUTS.proof_wait_us / SECOND_US


def venue_before_a_close() -> VenueWithIds:
    """A venue with one trade in the first minute, which is nearly over."""
    venue = VenueWithIds(trades_with_ids([1]))
    venue.tick(0.25)
    venue.deliver(venue.trades)
    venue.tick(59)
    return venue


def stand_still(venue: VenueWithIds, to_s: float) -> None:
    """Nothing runs until ``to_s`` after the start; then the daemon notes the time that it lost."""
    before_us, venue.now_us = venue.now_us, START_US + int(to_s * SECOND_US)
    venue.pipeline.time_lost(venue.now_us - before_us, venue.now_us)


def test_a_pause_over_the_wait_still_leaves_time_to_ask() -> None:
    """The venue is asked after the pause, and its answer proves the bar."""
    venue = venue_before_a_close()
    stand_still(venue, 60 + 100 * WAIT_S)
    venue.pipeline.time_advanced(venue.now_us, venue.wall_s)
    assert [event for event in venue.events if isinstance(event, BarClosed)] == []
    assert [event for event in venue.events if isinstance(event, RepairRequested)] != []
    venue.answer()
    closed = venue.of(BarClosed)
    assert closed != []
    assert {event.bar.completeness for event in closed} <= {Completeness.PROVEN, Completeness.EMPTY}


def test_a_silent_venue_gets_what_was_left_of_the_wait() -> None:
    """A pause within the wait moves its end by the length of the pause, no further."""
    venue = venue_before_a_close()
    venue.online = False
    venue.tick(60 + WAIT_S / 2)
    stand_still(venue, 60 + 2 * WAIT_S)
    venue.tick(60 + 2.5 * WAIT_S - 0.25)
    assert venue.of(BarClosed) == []
    venue.tick(60 + 2.5 * WAIT_S)
    [closed] = venue.of(BarClosed)
    assert closed.bar.completeness is Completeness.UNPROVEN


def test_bars_that_ended_during_the_pause_wait_once() -> None:
    """After a pause over several bars all of them close together, one wait later."""
    venue = venue_before_a_close()
    venue.online = False
    stand_still(venue, 60 + 200)
    venue.tick(60 + 200 + WAIT_S - 0.25)
    assert venue.of(BarClosed) == []
    venue.tick(60 + 200 + WAIT_S)
    assert len(venue.of(BarClosed)) == 4


def test_a_pause_before_the_end_of_the_bar_changes_nothing() -> None:
    """The wait begins at the end of the bar."""
    venue = venue_before_a_close()
    venue.online = False
    stand_still(venue, 59.75)
    venue.tick(60 + WAIT_S - 0.25)
    assert venue.of(BarClosed) == []
    venue.tick(60 + WAIT_S)
    assert len(venue.of(BarClosed)) == 1


def advance(pipeline: Pipeline, now_us: int) -> None:
    pipeline.time_advanced(now_us, now_us / SECOND_US)


def old_answer(pipeline: Pipeline, now_us: int) -> None:
    """The answer to a request that was sent before the end of the bar."""
    request = RepairRequested(BTC, 2, None, CLOSE_US - SECOND_US, RepairReason.PROBE, 1)
    answer = TradesAnswer([], head_reached=True, complete=True, asked_at_us=CLOSE_US - SECOND_US)
    pipeline.answer(request, answer, now_us, now_us / SECOND_US)


def trades_with_a_hole(pipeline: Pipeline, now_us: int) -> None:
    """Trades past the end of the bar, from the stream, with one id missing."""
    pipeline.trades_received(BTC, [builders.trade(3, 1.001)], now_us, now_us / SECOND_US)


def tick_until(pipeline: Pipeline, first_us: int, last_us: int) -> None:
    """Ticks once a second, from the first moment to the last."""
    for now_us in [*range(first_us, last_us, SECOND_US), last_us]:
        advance(pipeline, now_us)
        pipeline.expect_tick(now_us + SECOND_US, slack_us=SECOND_US)


@pytest.mark.parametrize("first_input", [advance, old_answer, trades_with_a_hole])
def test_a_pause_is_noted_at_the_first_input_after_it(first_input: Callable[[Pipeline, int], None]) -> None:
    """Nothing that comes after a pause closes a bar whose wait ended in it, unless it is the proof."""
    pipeline, wait_us = builders.make_pipeline(), builders.TIMEOUTS.proof_wait_us
    builders.start_sequences(pipeline, BTC)
    tick_until(pipeline, CLOSE_US - 60 * SECOND_US, CLOSE_US - 10 * SECOND_US)
    first_input(pipeline, AFTER_PAUSE_US)
    tick_until(pipeline, AFTER_PAUSE_US, AFTER_PAUSE_US + wait_us - 1)
    assert not any(isinstance(event, BarClosed) for event in pipeline.events())
    tick_until(pipeline, AFTER_PAUSE_US + wait_us, AFTER_PAUSE_US + wait_us)
    assert any(isinstance(event, BarClosed) for event in pipeline.events())


def test_no_tick_is_expected_before_the_first() -> None:
    """Without a ticker, as in replay, time may make any step: it is no pause."""
    pipeline = builders.make_pipeline()
    builders.start_sequences(pipeline, BTC)
    advance(pipeline, CLOSE_US - 40 * SECOND_US)
    advance(pipeline, AFTER_PAUSE_US)
    assert any(isinstance(event, BarClosed) for event in pipeline.events())
