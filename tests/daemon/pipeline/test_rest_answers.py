"""REST answers of an instrument: proof, repair, probes and failed requests."""

from __future__ import annotations

from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    FeedSilent,
    GapOpened,
    GapRepaired,
    RepairReason,
    SnapshotRequested,
    SymbolState,
    SymbolStateChanged,
)
from features.market import Completeness
from tests.daemon.pipeline.simulated_venue import VenueWithIds, assert_true_bar, repair_reasons, trades_with_ids


def test_an_empty_rest_answer_proves_a_bar() -> None:
    """Without a trade past the end, an empty REST answer requested after the grace proves the bar."""
    venue = VenueWithIds(trades_with_ids([1, 30]))
    venue.tick(0.25)
    venue.deliver(venue.trades)
    venue.tick(61.75)
    assert not venue.bars()
    venue.tick(62.5)
    [closed] = venue.of(BarClosed)
    assert closed.bar.completeness is Completeness.PROVEN


def test_late_proof_revises_the_bar() -> None:
    """With REST down past the wait the bar closes with its gap counted, and the repair revises it."""
    venue = VenueWithIds(trades_with_ids([1, 20, 21, 22, 59, 61]))
    venue.tick(0.25)
    venue.online = False
    venue.deliver([venue.trades[0]])
    venue.tick(59)
    venue.deliver([venue.trades[4]])
    venue.tick(61)
    venue.deliver([venue.trades[5]])
    venue.tick(66)
    [closed] = [event.bar for event in venue.of(BarClosed)]
    assert (closed.completeness, closed.missing_trades, closed.revision) == (Completeness.GAP, 3, 0)
    venue.online = True
    venue.tick(110)
    [revised] = [event.bar for event in venue.of(BarRevised)]
    assert (revised.completeness, revised.missing_trades, revised.revision) == (Completeness.PROVEN, 0, 1)
    assert_true_bar(revised, venue)
    assert len(venue.of(GapOpened)) == len(venue.of(GapRepaired)) == 1


def test_a_probe_finds_a_silent_stream() -> None:
    """The venue has trades that the stream does not deliver: the probe repairs them and asks for a new subscription."""
    venue = VenueWithIds(trades_with_ids([1, *range(5, 55)]))
    venue.tick(1)
    venue.deliver(venue.trades[:1])
    venue.tick(45)
    assert venue.of(FeedSilent)
    assert any(event.state is SymbolState.STALE for event in venue.of(SymbolStateChanged))


def test_a_halted_market_is_not_a_silent_stream() -> None:
    """Minutes without trades, confirmed by REST, raise no alarm and end as halted."""
    venue = VenueWithIds(trades_with_ids([1]))
    venue.tick(1)
    venue.deliver(venue.trades)
    venue.tick(700)
    assert not venue.of(FeedSilent)
    assert venue.pipeline.state is SymbolState.HALTED
    assert {bar.completeness for bar in venue.bars().values()} == {Completeness.PROVEN, Completeness.EMPTY}


def test_requests_are_one_at_a_time_and_back_off() -> None:
    """With REST down requests are repeated with growing pauses, never in a burst."""
    venue = VenueWithIds(trades_with_ids([1]))
    venue.online = False
    venue.tick(60)
    assert 5 <= len(venue.of(SnapshotRequested)) <= 10


def test_a_gap_is_repaired_before_the_close() -> None:
    """A skipped id is repaired while the bar is still open."""
    venue = VenueWithIds(trades_with_ids([1, 2, 3, 4]))
    venue.tick(1)
    venue.deliver([venue.trades[0]])
    venue.tick(4)
    venue.deliver([venue.trades[3]])
    venue.tick(4.5)
    assert RepairReason.GAP in repair_reasons(venue)
    assert venue.pipeline.missing_trades == 0
