"""Trade ids that no venue can have reached: they are left out, and REST says what really happened."""

from __future__ import annotations

import pytest

from daemon.exchanges.base import Ids
from daemon.pipeline.events import Event, GapOpened, RepairReason, RepairRequested
from daemon.pipeline.fast_path import MergedFastPath
from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.sequence import MissingIds, SequenceState, is_plausible
from features.bars import OpenBar
from features.market import Completeness, Instrument, Trade
from tests.daemon.pipeline.simulated_venue import (
    INTERVAL_US,
    SECOND_US,
    START_US,
    VenueWithIds,
    assert_true_bar,
    trades_with_ids,
)
from tests.daemon.pipeline.stream_records import stream_records, traits_of

IMPOSSIBLE = [9_000_000_000_000_000_000, 2**63 - 1, 2**53, 10**12, 10_000_000, 20_000]


class CountingVenue(VenueWithIds):
    """``answered``: whether REST answers, and how many requests it has had."""

    requests = 0

    def answer_event(self, event: Event) -> None:
        self.requests += isinstance(event, RepairRequested)
        super().answer_event(event)


def wrong(trade_id: int, time_s: float) -> Trade:
    return Trade(trade_id, START_US + int(time_s * SECOND_US), 100.0, 1.0, True)


@pytest.mark.parametrize("trade_id", IMPOSSIBLE)
@pytest.mark.parametrize("online", [True, False])
def test_one_wrong_id_changes_nothing(trade_id: int, online: bool) -> None:
    """The trade is left out and counted, the bars around it are proven, and the stored state is sound."""
    venue = CountingVenue(trades_with_ids([1, 10, 20, 61, 70, 121, 125]))
    venue.tick(0.25)
    venue.online = online
    for time_s, trades in ((10, venue.trades[:2]), (20, venue.trades[2:3]), (70, venue.trades[3:5])):
        venue.tick(time_s)
        venue.deliver(trades)
        venue.deliver([wrong(trade_id, time_s)])
    venue.tick(121)
    venue.deliver(venue.trades[5:])
    venue.tick(130)
    assert [bar.completeness for bar in venue.bars().values()] == [Completeness.PROVEN] * 2
    for bar in venue.bars().values():
        assert_true_bar(bar, venue)
    state = venue.pipeline.sequence_state()
    assert state is not None
    assert (state.last_id, state.missing) == (venue.trades[-1].trade_id, ())
    assert venue.pipeline.missing_trades == 0
    assert venue.pipeline.malformed == (3 if online else 2)  # without REST the last one still waits
    assert venue.of(GapOpened) == []


def test_a_wrong_id_is_checked_by_rest() -> None:
    """The venue is asked for the trades after the last known one, once for each wrong id, and not in a burst."""
    venue = CountingVenue(trades_with_ids([1, 2, 3]))
    venue.tick(3)
    venue.deliver(venue.trades[:1])
    before = venue.requests
    venue.deliver([wrong(IMPOSSIBLE[0], 3)])
    venue.tick(5)
    assert venue.requests == before + 1
    assert venue.of(RepairRequested)[-1].reason is RepairReason.PROOF
    assert venue.pipeline.trades == 3


def test_a_wrong_id_of_rest_is_asked_for_with_growing_pauses() -> None:
    """A page that ends with one impossible id: the others are used, and the venue is not asked in a burst."""
    venue = CountingVenue(trades_with_ids([1, 2, 3]))
    venue.history.append(wrong(IMPOSSIBLE[0], 3))
    venue.tick(3)
    venue.deliver([venue.trades[0], wrong(IMPOSSIBLE[0], 3)])
    venue.tick(30)
    assert venue.pipeline.trades == 3
    assert venue.pipeline.missing_trades == 0
    assert venue.requests < 10


def test_a_venue_that_counts_from_elsewhere_is_followed() -> None:
    """Several trades that REST has in a row are evidence: the sequence continues with them, after one unproven bar."""
    venue = CountingVenue(trades_with_ids([1, 30]))
    jump = 10**12
    venue.trades += [wrong(jump + number, 62 + 10 * number) for number in range(20)]
    venue.history = [*venue.history[:1], *venue.trades]
    venue.tick(0.25)
    for trade in venue.trades:
        venue.tick((trade.time_us - START_US) / SECOND_US)
        venue.deliver([trade])
    venue.tick(260)
    verdicts = [bar.completeness for bar in venue.bars().values()]
    assert verdicts == [Completeness.PROVEN, Completeness.UNPROVEN, Completeness.PROVEN, Completeness.PROVEN]
    assert venue.pipeline.missing_trades == 0
    for open_us in (START_US, START_US + 2 * INTERVAL_US, START_US + 3 * INTERVAL_US):
        assert_true_bar(venue.bars()[open_us], venue)


class RenumberingVenue(CountingVenue):
    """Begins its ids again with 5 at ``renumbered_s``; REST then knows the new ids only."""

    def __init__(self, old_s: list[float], new_s: list[float]) -> None:
        super().__init__(trades_with_ids(old_s))
        self.renumbered = [wrong(5 + number, time_s) for number, time_s in enumerate(new_s)]
        self.old = self.history
        self.trades += self.renumbered

    def play(self, until_s: float, *, lost: frozenset[int] = frozenset()) -> None:
        """Delivers every trade at its time, but those whose ids are ``lost``."""
        for trade in self.trades:
            self.tick((trade.time_us - START_US) / SECOND_US)
            self.history = self.renumbered if trade in self.renumbered else self.old
            if trade.trade_id not in lost:
                self.deliver([trade])
        self.tick(until_s)


def test_a_venue_that_begins_its_ids_again_is_followed() -> None:
    """Its trades are no duplicates: one bar is unproven, with every trade in it, and the next ones are proven."""
    venue = RenumberingVenue([1, 30], [65, 70, 80, 115, 121, 150, 170, 181, 190])
    venue.play(250)
    verdicts = [bar.completeness for bar in venue.bars().values()]
    assert verdicts == [Completeness.PROVEN, Completeness.UNPROVEN, Completeness.PROVEN, Completeness.PROVEN]
    for bar in venue.bars().values():
        assert_true_bar(bar, venue)
    assert venue.pipeline.missing_trades == 0


def test_a_gap_from_before_the_new_numbering_stays_one() -> None:
    """The venue serves the lost trade no more; the new ids do not pass for it."""
    venue = RenumberingVenue([1, 20, 30], [40, 50, 65, 70, 121])
    venue.old = venue.history[:1]
    venue.play(130, lost=frozenset({1001}))
    first, second = venue.bars().values()
    assert (first.completeness, first.missing_trades, first.trades) == (Completeness.GAP, 1, 4)
    assert second.completeness is Completeness.PROVEN


def test_one_trade_of_a_new_numbering_leaves_its_bar_unproven() -> None:
    """REST has nothing after the old ids: that does not prove that nothing was traded."""
    venue = RenumberingVenue([1, 30], [65])
    venue.play(130)
    assert [bar.completeness for bar in venue.bars().values()] == [Completeness.PROVEN, Completeness.UNPROVEN]


def test_one_low_id_in_a_frame_changes_nothing() -> None:
    """A trade whose id is wrong by being low is left out and counted; the bars around it are proven."""
    venue = CountingVenue(trades_with_ids([1, 10, 20, 61, 70, 121, 125]))
    for time_s, trades in ((25, venue.trades[:3]), (70, venue.trades[3:5]), (126, venue.trades[5:])):
        venue.tick(time_s)
        venue.deliver([wrong(7, time_s), *trades])
    venue.tick(130)
    assert venue.pipeline.malformed == 3
    assert [bar.completeness for bar in venue.bars().values()] == [Completeness.PROVEN] * 2
    for bar in venue.bars().values():
        assert_true_bar(bar, venue)


def test_a_long_gap_is_believed_when_a_second_trade_follows() -> None:
    """REST is down after an outage at a busy venue: the gap is counted exactly, and the stream's trades are used."""
    venue = CountingVenue(trades_with_ids([1, *(2 + number / 1000 for number in range(40_000)), 50, 51, 52]))
    venue.tick(1)
    venue.deliver(venue.trades[:1])
    venue.online = False
    venue.tick(50)
    for trade in venue.trades[-3:]:
        venue.deliver([trade])
    assert (venue.pipeline.missing_trades, venue.pipeline.trades) == (40_000, 4)
    assert len(venue.of(GapOpened)) == 0  # the events are read by the next tick
    venue.tick(50.5)
    assert len(venue.of(GapOpened)) == 1


def test_a_long_outage_is_no_impossible_jump() -> None:
    """An hour without the stream at the busiest venue: the jump is believed and the gap is counted."""
    continuity = IdContinuity(SequenceState(last_id=1, last_time_us=START_US, covered_from_us=START_US))
    assert continuity.is_plausible(wrong(3_600_000, 3600))
    assert not continuity.is_plausible(wrong(3_600_000, 1))


def test_an_impossible_count_does_not_take_the_fast_path() -> None:
    """A record that would cover millions of ids goes through the checks."""
    traits = traits_of(Ids.CONTIGUOUS, merges=True)
    path = MergedFastPath(traits)
    path.continuity = IdContinuity(SequenceState(last_id=5, last_time_us=START_US, covered_from_us=START_US))
    path.bar = OpenBar(Instrument("okx", "BTC-USDT"), open_time_us=START_US, interval_us=INTERVAL_US)
    merged = Trade(5 + 9_000_000, START_US + SECOND_US, 100.0, 1.0, True, 9_000_000, 9_000_000)
    assert path.take_next(stream_records([merged])) == 0


def test_a_stored_gap_of_9e18_trades_is_not_resumed() -> None:
    """Such a state was stored by earlier versions."""
    gap = MissingIds(2, 9 * 10**18, START_US, START_US + 1)
    state = SequenceState(last_id=9 * 10**18, last_time_us=START_US, covered_from_us=0, missing=(gap,))
    assert not is_plausible(state)
    assert is_plausible(SequenceState(last_id=9, last_time_us=START_US, covered_from_us=0))
