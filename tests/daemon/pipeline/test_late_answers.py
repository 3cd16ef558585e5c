"""Answers that come late, twice or to another request: only the answer to the request in flight proves anything."""

from __future__ import annotations

import pytest

from daemon.exchanges.base import Ids
from daemon.pipeline.answers import CandleAnswer, RequestFailed, SequenceStart, TradesAnswer
from daemon.pipeline.events import (
    CandleRequested,
    Event,
    RepairReason,
    RepairRequested,
    RequestGivenUp,
    SnapshotRequested,
)
from features.market import Completeness
from tests.daemon.pipeline.simulated_venue import (
    START_US,
    VenueWithIds,
    VenueWithoutIds,
    trades_with_holes,
    trades_with_ids,
)


class SlowVenueWithIds(VenueWithIds):
    """Keeps its requests instead of answering them, while ``slow``."""

    slow = False

    def answer_event(self, event: Event) -> None:
        if not self.slow:
            super().answer_event(event)


class SlowVenueWithoutIds(VenueWithoutIds):
    """Answers only the requests for which ``answers`` is true; ``refused`` ones fail."""

    refused: frozenset[RepairReason] = frozenset()
    slow: frozenset[RepairReason] = frozenset()

    def answer_event(self, event: Event) -> None:
        if isinstance(event, RepairRequested) and event.reason in self.refused:
            self.reply(event, RequestFailed("HTTP 503"))
        elif isinstance(event, CandleRequested):
            self.reply(event, CandleAnswer(None))
        elif not (isinstance(event, RepairRequested) and event.reason in self.slow):
            super().answer_event(event)


def test_a_late_answer_ends_no_gap() -> None:
    """The venue's trades of an interruption were never fetched: an older request's answer does not make up for them."""
    venue = SlowVenueWithoutIds(trades_with_holes([10, 20, 42, 45, 58]), page=100, ids=Ids.IDENTITY)
    venue.tick(0.25)
    venue.subscribe()
    venue.tick(40)
    venue.fall_silent()
    venue.report_loss()
    venue.refused = frozenset({RepairReason.GAP})
    venue.slow = frozenset({RepairReason.PROOF, RepairReason.PROBE})
    venue.tick(50)
    venue.subscribe()
    while not any(each.reason in venue.slow for each in venue.of(RepairRequested)):
        venue.tick((venue.now_us - START_US) / 1e6 + 1)
    slow = next(each for each in venue.of(RepairRequested) if each.reason in venue.slow)
    while not venue.of(RequestGivenUp):
        venue.tick((venue.now_us - START_US) / 1e6 + 1)
    assert venue.of(RequestGivenUp)[0].request == slow
    venue.refused, venue.slow = frozenset(), frozenset(RepairReason)
    while venue.of(RepairRequested)[-1].reason is not RepairReason.GAP or venue.of(RepairRequested)[-1] == slow:
        venue.tick((venue.now_us - START_US) / 1e6 + 1)
    gap_request = venue.of(RepairRequested)[-1]
    venue.reply(slow, TradesAnswer([], head_reached=True, complete=True, asked_at_us=venue.now_us))
    assert venue.bars()[START_US].completeness is not Completeness.UNPROVEN
    venue.reply(gap_request, RequestFailed("HTTP 503"))
    venue.tick((venue.now_us - START_US) / 1e6 + 8)
    assert venue.bars()[START_US].completeness is Completeness.GAP


@pytest.mark.parametrize("answered_first", [True, False])
def test_a_start_that_was_asked_twice_is_taken_once(answered_first: bool) -> None:
    """Both answers arrive, in either order: the bar has every trade once."""
    venue = SlowVenueWithIds(trades_with_ids([1, 5, 20, 61]))
    venue.slow = True
    venue.tick(0.25)
    [first] = venue.of(SnapshotRequested)
    venue.tick(59)
    venue.reply(first, RequestFailed("three times HTTP 429"))
    venue.tick(59.75)
    second = venue.of(SnapshotRequested)[-1]
    assert second != first
    start = SequenceStart(venue.trades[:3], None)
    for request in (second, first) if answered_first else (first, second):
        venue.reply(request, start)
    venue.slow = False
    venue.tick(61)
    venue.deliver(venue.trades[3:])
    venue.tick(62)
    bar = venue.bars()[START_US]
    assert (bar.completeness, bar.trades) == (Completeness.PROVEN, 3)
    assert bar.volume == venue.true_bar(START_US).volume


def test_the_second_copy_of_an_answer_proves_nothing() -> None:
    """An empty answer, given again after trades have happened, is no proof of their absence."""
    venue = SlowVenueWithIds(trades_with_ids([1, 65, 70]))
    venue.tick(0.25)
    venue.deliver(venue.trades[:1])
    venue.slow = True
    venue.tick(62.5)
    proof = venue.of(RepairRequested)[-1]
    answer = TradesAnswer([], head_reached=True, complete=True, asked_at_us=venue.now_us)
    venue.reply(proof, answer)
    venue.tick(62.75)
    assert venue.bars()[START_US].completeness is Completeness.PROVEN
    venue.tick(121)
    later = TradesAnswer([], head_reached=True, complete=True, asked_at_us=START_US + 125_000_000)
    venue.reply(proof, later)
    venue.tick(126.25)
    assert venue.bars()[START_US + 60_000_000].completeness is Completeness.UNPROVEN


def test_a_late_answer_contributes_its_trades() -> None:
    """Trades are true whenever they come: missing ones fill their gap."""
    venue = SlowVenueWithIds(trades_with_ids([1, 2, 3, 4]))
    venue.tick(1)
    venue.slow = True
    venue.deliver(venue.trades[:1])
    venue.deliver(venue.trades[3:])
    venue.tick(2)
    request = venue.of(RepairRequested)[-1]
    venue.tick(64)
    assert venue.of(RequestGivenUp)[-1].request == request
    assert venue.pipeline.missing_trades == 2
    venue.reply(request, TradesAnswer(venue.trades[1:3], head_reached=False, complete=True, asked_at_us=START_US))
    assert venue.pipeline.missing_trades == 0


def test_an_answer_of_another_kind_is_an_error() -> None:
    """A candle is no answer to a request for trades."""
    venue = SlowVenueWithIds(trades_with_ids([1]))
    venue.slow = True
    venue.tick(0.25)
    with pytest.raises(TypeError, match="no answer to SnapshotRequested"):
        venue.reply(venue.of(SnapshotRequested)[0], CandleAnswer(None))
