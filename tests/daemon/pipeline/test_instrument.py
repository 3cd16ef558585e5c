"""InstrumentPipeline with contiguous ids: whatever the feed does, every bar is true or states its gap."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    GapOpened,
)
from features.market import Completeness, Trade
from tests.daemon.pipeline.simulated_venue import (
    INTERVAL_US,
    SECOND_US,
    START_US,
    TIMEOUTS,
    VenueWithIds,
    assert_true_bar,
    repair_reasons,
    trades_with_ids,
)
from tests.daemon.pipeline.stream_records import stream_records
from tests.properties import examples

times = st.lists(st.floats(0.5, 239.0), min_size=1, max_size=60)
fates = st.sampled_from(["deliver", "drop", "duplicate", "late", "restart", "deliver", "deliver"])


@examples(120)
@given(times, st.data(), st.integers(1, 40))
def test_any_feed_gives_the_true_bars(times_s: list[float], data: st.DataObject, page: int) -> None:
    """Dropped, repeated, late and out-of-order trades and crashes in mid-bar end in the same proven bars."""
    venue = VenueWithIds(trades_with_ids(times_s), page=page)
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
            if len(late) > 0 and data.draw(st.booleans()):
                venue.deliver([late.pop()])
    venue.tick(300)
    bars = venue.bars()
    assert sorted(bars) == [START_US + i * INTERVAL_US for i in range(len(bars))]
    assert len(bars) >= 4
    for bar in bars.values():
        assert bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}
        assert_true_bar(bar, venue)


@examples(60)
@given(times, st.data())
def test_without_rest_no_wrong_bar_claims_proof(times_s: list[float], data: st.DataObject) -> None:
    """While REST is down, a bar that lacks trades is a gap or unproven, never proven."""
    venue = VenueWithIds(trades_with_ids(times_s))
    venue.tick(0.25)
    venue.online = False
    for trade in venue.trades:
        venue.tick((trade.time_us - START_US) / SECOND_US)
        if data.draw(st.booleans()):
            venue.deliver([trade])
    venue.tick(300)
    for bar in venue.bars().values():
        if bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}:
            assert_true_bar(bar, venue)
        else:
            true = venue.true_bar(bar.open_time_us)
            assert bar.trades is not None
            assert true.trades is not None
            assert bar.missing_trades is not None
            assert bar.trades <= true.trades
            assert (bar.missing_trades > 0) == (bar.completeness is Completeness.GAP)


def test_a_bar_closes_on_the_first_trade_past_its_end() -> None:
    """Proof by id closes the bar at once, without waiting for the grace."""
    venue = VenueWithIds(trades_with_ids([1, 30, 60.01]))
    venue.tick(0.25)
    venue.deliver(venue.trades[:2])
    venue.tick(60.0)
    assert not venue.bars()
    venue.deliver(venue.trades[2:])
    venue.answer()
    [closed] = venue.of(BarClosed)
    assert closed.bar.completeness is Completeness.PROVEN
    assert closed.wait_us == 0


def test_an_interval_without_trades_is_an_empty_bar() -> None:
    """An interval that is proven to hold no trade closes as an empty bar."""
    venue = VenueWithIds(trades_with_ids([1, 130]))
    venue.tick(0.25)
    venue.deliver(venue.trades[:1])
    venue.tick(129)
    venue.tick(130)
    venue.deliver(venue.trades[1:])
    venue.answer()
    bars = list(venue.bars().values())
    assert [bar.completeness for bar in bars] == [Completeness.PROVEN, Completeness.EMPTY]
    assert bars[1].open is None


def test_the_first_bar_is_complete_after_a_start_in_mid_interval() -> None:
    """The snapshot returns the trades since the open of the interval: no live bar is ever partial."""
    venue = VenueWithIds(trades_with_ids([1, 2, 3, 40, 61]))
    venue.now_us = START_US + 30 * SECOND_US
    venue.tick(40)
    venue.deliver([venue.trades[3]])
    venue.tick(61)
    venue.deliver([venue.trades[4]])
    venue.tick(62)
    first = min(venue.bars())
    assert first == START_US
    assert_true_bar(venue.bars()[first], venue)
    assert not venue.of(GapOpened), "the trades between snapshot and stream are no gap"


def test_a_trade_from_next_year_is_malformed() -> None:
    """One impossible time must not close every bar up to it."""
    venue = VenueWithIds(trades_with_ids([1, 2]))
    venue.tick(1)
    venue.deliver([venue.trades[0]])
    venue.deliver([Trade(venue.trades[0].trade_id + 1, START_US + 400 * 86_400 * SECOND_US, 1.0, 1.0, True)])
    venue.tick(10)
    assert not venue.bars()
    assert venue.pipeline.malformed == 1


def test_the_fast_path_takes_only_the_next_trade_of_the_open_bar() -> None:
    """It leaves a repeated trade, a skipped one and one of a later bar; what it takes is counted once."""
    venue = VenueWithIds(trades_with_ids([1, 2, 3]))
    venue.tick(1)
    pipeline, (first, second, third) = venue.pipeline, venue.trades
    assert not pipeline.take_next(stream_records([first]))  # off until trades_received has made the instrument live
    pipeline.trades_received([first], venue.now_us, venue.wall_s)
    for wrong in (first, third, msgspec.structs.replace(second, time_us=second.time_us + INTERVAL_US)):
        assert not pipeline.take_next(stream_records([wrong]))
    assert pipeline.take_next(stream_records([second, second])) == 1
    assert not pipeline.take_next(stream_records([second]))
    assert (pipeline.trades, pipeline.last_price) == (2, second.price)
    assert pipeline.take_unsaved() == [first, second]
    assert pipeline.take_unsaved() == []


def test_the_fast_path_resets_staleness() -> None:
    """Trades that wait in the buffer count as received: nothing is requested while they arrive."""
    venue = VenueWithIds(trades_with_ids([second + 0.5 for second in range(1, 59)]))
    venue.tick(1)
    venue.pipeline.trades_received(venue.trades[:1], venue.now_us, venue.wall_s)
    venue.tick(2)
    before = repair_reasons(venue)
    for second, trade in enumerate(venue.trades[1:], start=2):
        venue.tick(second)
        assert venue.pipeline.take_next(stream_records([trade])) == 1
    assert TIMEOUTS.stale_after_s < 50
    assert repair_reasons(venue) == before
    assert venue.pipeline.trades == len(venue.trades)
    state = venue.pipeline.sequence_state()
    assert state is not None
    assert state.last_id == venue.trades[-1].trade_id


def test_a_restart_repairs_before_it_closes() -> None:
    """After a stop across three bar ends the venue is asked before the bars close: none is partial."""
    venue = VenueWithIds(trades_with_ids([1, 20, 50, 70, 100, 130, 170, 190]), page=2)
    venue.tick(1)
    venue.deliver(venue.trades[:1])
    venue.tick(20)
    venue.deliver(venue.trades[1:2])
    venue.crash_and_restart()
    venue.now_us = START_US + 185 * SECOND_US
    venue.tick(187)
    closed = [event.bar for event in venue.of(BarClosed)]
    assert [bar.completeness for bar in closed] == [Completeness.PROVEN] * 3
    for bar in closed:
        assert_true_bar(bar, venue)
    assert not venue.of(BarRevised)


def test_a_restart_without_rest_does_not_wait_for_ever() -> None:
    """With REST down after a restart, bars close unproven half a minute later."""
    venue = VenueWithIds(trades_with_ids([1, 20, 50]))
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


def test_a_bar_published_with_a_gap_is_revised_after_a_restart() -> None:
    """REST is down at the close and back after a crash: the bar that was published with a gap is proven."""
    venue = VenueWithIds(trades_with_ids([1, 20, 21, 59, 61, 70]))
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
    assert_true_bar(revised, venue)
    assert len(venue.of(BarClosed)) == 1
