"""One instrument from trades to bars: whatever the feed does, the bars end up right or say that they are not."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    FeedSilent,
    GapOpened,
    GapRepaired,
    RepairReason,
    RepairRequested,
    SnapshotRequested,
    SymbolState,
    SymbolStateChanged,
)
from features.market import Bar, Completeness, Trade
from tests.daemon.pipeline.simulated_venue import (
    INTERVAL_US,
    SECOND_US,
    START_US,
    TIMEOUTS,
    VenueWithIds,
)
from tests.daemon.pipeline.stream_records import stream_records


def make_trades(times_s: list[float]) -> list[Trade]:
    """A venue's history: contiguous ids in time order."""
    return [
        Trade(1000 + i, START_US + int(t * SECOND_US), 100.0 + i % 13 / 10, 0.5 + i % 5 / 100, i % 3 == 0)
        for i, t in enumerate(sorted(times_s))
    ]


def assert_equals_truth(bar: Bar, venue: VenueWithIds) -> None:
    expected = venue.true_bar(bar.open_time_us, bar.completeness)
    for field in ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"):
        assert getattr(bar, field) == getattr(expected, field), field


times = st.lists(st.floats(0.5, 239.0), min_size=1, max_size=60)
fates = st.sampled_from(["deliver", "drop", "duplicate", "late", "restart", "deliver", "deliver"])


@settings(max_examples=120, deadline=None)
@given(times, st.data(), st.integers(1, 40))
def test_any_feed_gives_the_true_bars(times_s: list[float], data: st.DataObject, page: int) -> None:
    """Dropped, doubled, late and out-of-order trades and crashes in mid-bar end in the same proven bars."""
    venue = VenueWithIds(make_trades(times_s), page=page)
    venue.tick(0.25)
    late: list[Trade] = []
    for trade in venue.trades:
        venue.tick((trade.time_us - START_US) / SECOND_US)
        fate = data.draw(fates)
        if fate == "restart":
            venue.crash_and_restart()
        if fate == "late":
            late.append(trade)
        elif fate != "drop":
            venue.deliver([trade] * (2 if fate == "duplicate" else 1))
            if late and data.draw(st.booleans()):
                venue.deliver([late.pop()])
    venue.tick(300)
    bars = venue.bars()
    assert sorted(bars) == [START_US + i * INTERVAL_US for i in range(len(bars))]
    assert len(bars) >= 4
    for bar in bars.values():
        assert bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}
        assert_equals_truth(bar, venue)


@settings(max_examples=60, deadline=None)
@given(times, st.data())
def test_without_rest_no_wrong_bar_claims_proof(times_s: list[float], data: st.DataObject) -> None:
    """While REST is down, a bar that lacks trades says gap or unproven; it is never proven and wrong."""
    venue = VenueWithIds(make_trades(times_s))
    venue.tick(0.25)
    venue.online = False
    for trade in venue.trades:
        venue.tick((trade.time_us - START_US) / SECOND_US)
        if data.draw(st.booleans()):
            venue.deliver([trade])
    venue.tick(300)
    for bar in venue.bars().values():
        if bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}:
            assert_equals_truth(bar, venue)
        else:
            assert bar.trades is not None
            assert bar.trades <= venue.true_bar(bar.open_time_us).trades
            assert (bar.missing_trades > 0) == (bar.completeness is Completeness.GAP)


def test_a_bar_closes_on_the_first_trade_past_its_end() -> None:
    """Proof by id closes the bar at once, without waiting for the grace."""
    venue = VenueWithIds(make_trades([1, 30, 60.01]))
    venue.tick(0.25)
    venue.deliver(venue.trades[:2])
    venue.tick(60.0)
    assert not venue.bars()
    venue.deliver(venue.trades[2:])
    venue.answer()
    [closed] = venue.of(BarClosed)
    assert closed.bar.completeness is Completeness.PROVEN
    assert closed.wait_us == 0


def test_a_quiet_boundary_is_proven_by_asking() -> None:
    """Without a trade past the end, an empty REST answer asked after the grace proves the bar."""
    venue = VenueWithIds(make_trades([1, 30]))
    venue.tick(0.25)
    venue.deliver(venue.trades)
    venue.tick(61.75)
    assert not venue.bars()
    venue.tick(62.5)
    [closed] = venue.of(BarClosed)
    assert closed.bar.completeness is Completeness.PROVEN


def test_an_hour_without_trades_is_an_empty_bar() -> None:
    """An interval proven to hold nothing is announced as empty, not left out and not invented."""
    venue = VenueWithIds(make_trades([1, 130]))
    venue.tick(0.25)
    venue.deliver(venue.trades[:1])
    venue.tick(129)
    venue.tick(130)
    venue.deliver(venue.trades[1:])
    venue.answer()
    bars = list(venue.bars().values())
    assert [bar.completeness for bar in bars] == [Completeness.PROVEN, Completeness.EMPTY]
    assert bars[1].open is None


def test_proof_that_comes_late_makes_a_revision() -> None:
    """REST down past the wait: the bar closes with its gap counted, and the repair revises it."""
    venue = VenueWithIds(make_trades([1, 20, 21, 22, 59, 61]))
    venue.tick(0.25)
    venue.online = False
    venue.deliver([venue.trades[0]])
    venue.tick(59)
    venue.deliver([venue.trades[4]])
    venue.tick(61)
    venue.deliver([venue.trades[5]])
    venue.tick(66)
    [closed] = [e.bar for e in venue.seen if isinstance(e, BarClosed)]
    assert (closed.completeness, closed.missing_trades, closed.revision) == (Completeness.GAP, 3, 0)
    venue.online = True
    venue.tick(110)
    [revised] = [e.bar for e in venue.seen if isinstance(e, BarRevised)]
    assert (revised.completeness, revised.missing_trades, revised.revision) == (Completeness.PROVEN, 0, 1)
    assert_equals_truth(revised, venue)
    assert len(venue.of(GapOpened)) == len(venue.of(GapRepaired)) == 1


def test_the_first_bar_is_whole_although_the_start_was_in_the_middle() -> None:
    """Started in mid-interval, the trades since its open come by REST: no live bar is ever partial."""
    venue = VenueWithIds(make_trades([1, 2, 3, 40, 61]))
    venue.now_us = START_US + 30 * SECOND_US
    venue.tick(40)
    venue.deliver([venue.trades[3]])
    venue.tick(61)
    venue.deliver([venue.trades[4]])
    venue.tick(62)
    first = min(venue.bars())
    assert first == START_US
    assert_equals_truth(venue.bars()[first], venue)
    assert not venue.of(GapOpened), "joining the stream at start is no gap"


def test_a_mute_subscription_is_found_by_a_probe() -> None:
    """The venue trades, the stream says nothing: the probe repairs the trades and asks for a new subscription."""
    venue = VenueWithIds(make_trades([1, *range(5, 55)]))
    venue.tick(1)
    venue.deliver(venue.trades[:1])
    venue.tick(45)
    mute = venue.of(FeedSilent)
    assert mute
    assert any(isinstance(e, SymbolStateChanged) and e.state is SymbolState.STALE for e in venue.seen)


def test_a_halted_market_is_no_dead_feed() -> None:
    """Hours without trades, confirmed by the venue, raise no alarm and end as halted."""
    venue = VenueWithIds(make_trades([1]))
    venue.tick(1)
    venue.deliver(venue.trades)
    venue.tick(700)
    assert not venue.of(FeedSilent)
    assert venue.pipeline.state is SymbolState.HALTED
    assert {bar.completeness for bar in venue.bars().values()} == {Completeness.PROVEN, Completeness.EMPTY}


def test_a_trade_from_next_year_is_refused() -> None:
    """One nonsense time must not close every bar to come."""
    venue = VenueWithIds(make_trades([1, 2]))
    venue.tick(1)
    venue.deliver([venue.trades[0]])
    venue.deliver([Trade(venue.trades[0].trade_id + 1, START_US + 400 * 86_400 * SECOND_US, 1.0, 1.0, True)])
    venue.tick(10)
    assert not venue.bars()
    assert venue.pipeline.malformed == 1


def test_requests_are_one_at_a_time_and_back_off() -> None:
    """With REST down requests are repeated with growing pauses, never in a burst."""
    venue = VenueWithIds(make_trades([1]))
    venue.online = False
    venue.tick(60)
    wanted = venue.of(SnapshotRequested)
    assert 5 <= len(wanted) <= 10


def reasons(venue: VenueWithIds) -> Iterator[RepairReason]:
    return (event.reason for event in venue.seen if isinstance(event, RepairRequested))


def test_a_gap_is_asked_for_before_the_boundary() -> None:
    """A skipped id is repaired while the bar is still open."""
    venue = VenueWithIds(make_trades([1, 2, 3, 4]))
    venue.tick(1)
    venue.deliver([venue.trades[0]])
    venue.tick(4)
    venue.deliver([venue.trades[3]])
    venue.tick(4.5)
    assert RepairReason.GAP in set(reasons(venue))
    assert venue.pipeline.missing_trades == 0


def test_only_the_next_trade_of_the_open_bar_is_taken_the_quick_way() -> None:
    """A repeated, a skipped and a later bar's trade are left alone, to be judged; what was taken is counted once."""
    venue = VenueWithIds(make_trades([1, 2, 3]))
    venue.tick(1)
    series, (first, second, third) = venue.pipeline, venue.trades
    assert not series.take_next(stream_records([first]))  # not live before a trade went the whole way
    series.trades_received([first], venue.now_us, venue.wall_s)
    for wrong in (first, third, msgspec.structs.replace(second, time_us=second.time_us + INTERVAL_US)):
        assert not series.take_next(stream_records([wrong]))
    assert series.take_next(stream_records([second, second])) == 1
    assert not series.take_next(stream_records([second]))
    assert (series.trades, series.last_price) == (2, second.price)
    assert series.take_unsaved() == [first, second]
    assert series.take_unsaved() == []


def test_while_trades_flow_the_venue_is_not_asked() -> None:
    """The quick way leaves the account alone until somebody asks; that a symbol is heard is noted all the same."""
    venue = VenueWithIds(make_trades([second + 0.5 for second in range(1, 59)]))
    venue.tick(1)
    venue.pipeline.trades_received(venue.trades[:1], venue.now_us, venue.wall_s)
    venue.tick(2)
    asked = list(reasons(venue))
    for second, trade in enumerate(venue.trades[1:], start=2):
        venue.tick(second)
        assert venue.pipeline.take_next(stream_records([trade])) == 1
    assert TIMEOUTS.stale_after_s < 50
    assert list(reasons(venue)) == asked
    assert venue.pipeline.trades == len(venue.trades)
    assert venue.pipeline.sequence_state().last_id == venue.trades[-1].trade_id


def test_a_restart_asks_before_it_closes() -> None:
    """Down across three bar ends, the daemon asks the venue before it closes them: no partial bar goes out."""
    venue = VenueWithIds(make_trades([1, 20, 50, 70, 100, 130, 170, 190]), page=2)
    venue.tick(1)
    venue.deliver(venue.trades[:1])
    venue.tick(20)
    venue.deliver(venue.trades[1:2])
    venue.crash_and_restart()
    venue.now_us = START_US + 185 * SECOND_US
    venue.tick(187)
    closed = [event.bar for event in venue.seen if isinstance(event, BarClosed)]
    assert [bar.completeness for bar in closed] == [Completeness.PROVEN] * 3
    for bar in closed:
        assert_equals_truth(bar, venue)
    assert not venue.of(BarRevised)


def test_a_restart_without_rest_does_not_wait_for_ever() -> None:
    """With REST down after a restart bars close as what they are, half a minute later."""
    venue = VenueWithIds(make_trades([1, 20, 50]))
    venue.tick(1)
    venue.deliver(venue.trades[:1])
    venue.crash_and_restart()
    venue.online = False
    venue.now_us = START_US + 70 * SECOND_US
    venue.tick(95)
    assert not venue.of(BarClosed)
    venue.tick(105)
    [closed] = venue.of(BarClosed)
    assert closed.bar.completeness is Completeness.UNPROVEN


def test_a_bar_told_as_a_gap_is_revised_after_a_restart() -> None:
    """REST down at the boundary, crash, REST back: the bar that went out with its gap gets its proof."""
    venue = VenueWithIds(make_trades([1, 20, 21, 59, 61, 70]))
    venue.tick(1)
    venue.deliver(venue.trades[:1])
    venue.online = False
    venue.tick(59)
    venue.deliver(venue.trades[3:4])
    venue.tick(61)
    venue.deliver(venue.trades[4:5])
    venue.tick(67)
    assert venue.bars()[START_US].completeness is Completeness.GAP
    venue.crash_and_restart()
    venue.online = True
    venue.tick(80)
    revised = venue.bars()[START_US]
    assert (revised.completeness, revised.revision) == (Completeness.PROVEN, 1)
    assert_equals_truth(revised, venue)
    assert len(venue.of(BarClosed)) == 1
