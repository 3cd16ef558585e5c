"""InstrumentPipeline without contiguous ids: whatever trades are missed, every bar is true or states its gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.exchanges.base import Ids
from daemon.pipeline.events import (
    BarClosed,
    FeedSilent,
    GapOpened,
    GapRepaired,
    SymbolState,
)
from features.market import Bar, Completeness, Trade
from tests.daemon.pipeline.simulated_venue import (
    INTERVAL_US,
    SECOND_US,
    START_US,
    VenueWithoutIds,
    trades_with_holes,
)
from tests.daemon.pipeline.stream_records import stream_records
from tests.properties import examples

COMPARED = ("open", "high", "low", "close", "volume", "trades", "taker_buy_volume")


def assert_true_or_gap(bar: Bar, venue: VenueWithoutIds) -> None:
    """A bar without a gap has the true value in every field that is known."""
    true = venue.true_bar(bar.open_time_us)
    if bar.completeness is Completeness.GAP:
        assert bar.missing_trades is None
        assert bar.missing_ranges
        return
    compared = COMPARED if bar.completeness is not Completeness.VENUE_CANDLE else COMPARED[:5]
    for name in compared:
        assert getattr(bar, name) == getattr(true, name), (name, bar)
    if bar.completeness is Completeness.VENUE_CANDLE:
        assert (bar.trades, bar.taker_buy_volume, bar.first_trade_id) == (None, None, None)
    else:
        assert bar.first_trade_id is None
    if bar.completeness is Completeness.EMPTY:
        assert true.trades == 0


def steady(count: int = 24, *, page: int = 1000, **options: object) -> VenueWithoutIds:
    """A venue with a trade every ten seconds, subscribed from the start on."""
    venue = VenueWithoutIds(trades_with_holes([10.0 * i + 5 for i in range(count)]), page=page, **options)  # type: ignore[arg-type]
    venue.subscribe()
    return venue


times = st.lists(st.floats(0.5, 239.0), min_size=1, max_size=60)
fates = st.sampled_from(["pass", "pass", "pass", "cut", "stall", "crash", "double"])


@examples(120)
@given(times, st.data(), st.integers(1, 40), st.sampled_from([Ids.ORDERED, Ids.IDENTITY]))
def test_every_bar_is_true_a_candle_or_a_gap(times_s: list[float], data: st.DataObject, page: int, ids: Ids) -> None:
    """Losses reported at once or late, crashes and repeated trades: no bar claims more than it holds."""
    venue = VenueWithoutIds(trades_with_holes(times_s), page=page, ids=ids)
    venue.subscribe()
    for at_s in range(0, 240, 12):
        venue.tick(at_s)
        fate = data.draw(fates)
        if fate == "double":
            past = [trade for trade in venue.trades if START_US < trade.time_us <= venue.now_us]
            if past and venue.subscribed:
                venue.pipeline.trades_received(past[-1:], venue.now_us, venue.wall_s)
        elif fate == "pass":
            continue
        elif fate == "crash":
            venue.crash()
            venue.tick(at_s + data.draw(st.sampled_from([0.5, 5.0])))
            venue.subscribe()
        elif venue.subscribed:
            venue.fall_silent()
            if fate == "stall":
                venue.tick(at_s + 8)
            venue.report_loss()
            venue.tick(at_s + data.draw(st.sampled_from([9.0, 11.0])))
            venue.subscribe()
    venue.tick(330)
    bars = venue.bars()
    assert sorted(bars) == [min(bars) + i * INTERVAL_US for i in range(len(bars))]
    assert len(bars) >= 4
    for bar in bars.values():
        assert_true_or_gap(bar, venue)
        assert bar.completeness is not Completeness.GAP  # the venue had a candle of every interval


def test_an_uninterrupted_bar_is_unproven_and_true() -> None:
    """It closes with the first trade past its end, or after the grace."""
    venue = steady()
    venue.tick(190)
    first, *others = venue.bars().values()
    assert [bar.completeness for bar in others] == [Completeness.UNPROVEN] * 2
    for bar in (first, *others):
        assert_true_or_gap(bar, venue)
    waits = [event.wait_us for event in venue.of(BarClosed)]
    assert waits[1:] == [2 * SECOND_US] * 2


def test_the_first_bar_is_complete_where_rest_reaches_back() -> None:
    """Recent trades by REST cover the interval before the start: no bar is partial."""
    venue = VenueWithoutIds(trades_with_holes([5.0, 15.0, 25.0, 65.0]), page=100)
    venue.tick(30)
    venue.subscribe()
    venue.tick(70)
    (bar,) = venue.bars().values()
    assert (bar.completeness, bar.trades) == (Completeness.UNPROVEN, 3)
    assert_true_or_gap(bar, venue)


def test_the_first_bar_is_the_candle_where_rest_does_not_reach_back() -> None:
    """REST returns only the newest trades: the candle replaces the bar, with taker volumes and count unknown."""
    venue = VenueWithoutIds(trades_with_holes([float(i) for i in range(1, 59)]), page=5)
    venue.tick(30)
    venue.subscribe()
    venue.tick(75)
    (bar,) = venue.bars().values()
    assert bar.completeness is Completeness.VENUE_CANDLE
    assert bar.revision == 0
    assert_true_or_gap(bar, venue)


def test_an_interruption_is_announced_and_repaired() -> None:
    """A loss in mid-bar opens a gap at once; recent trades repair it, and that is announced too."""
    venue = steady()
    venue.tick(70)
    venue.fall_silent()
    venue.tick(80)
    venue.report_loss()
    venue.tick(90)
    venue.subscribe()
    venue.tick(130)
    assert len(venue.of(GapOpened)) == len(venue.of(GapRepaired)) == 1
    for bar in venue.bars().values():
        assert bar.completeness is Completeness.UNPROVEN
        assert_true_or_gap(bar, venue)


def test_without_a_candle_the_gap_remains_with_its_range() -> None:
    """Neither trades nor a candle can be fetched: the bar states from when to when trades may be missing."""
    venue = steady(page=1, candles=False)
    venue.tick(70)
    venue.fall_silent()
    venue.report_loss()
    venue.tick(90)
    venue.subscribe()
    venue.tick(130)
    bar = venue.bars()[START_US + INTERVAL_US]
    assert (bar.completeness, bar.missing_trades) == (Completeness.GAP, None)
    (missing,) = bar.missing_ranges
    assert missing.first_id is None
    assert missing.after_us <= START_US + 70 * SECOND_US < START_US + 90 * SECOND_US <= (missing.before_us or 0)
    assert venue.bars()[START_US].completeness is not Completeness.GAP


def test_a_candle_that_agrees_restores_the_bar() -> None:
    """No trade was lost in the interruption: the bar keeps its taker volumes and is no gap any more."""
    venue = steady(page=1)
    venue.tick(66)
    venue.fall_silent()
    venue.report_loss()
    venue.tick(69)
    venue.subscribe()
    venue.tick(140)
    bar = venue.bars()[START_US + INTERVAL_US]
    assert (bar.completeness, bar.missing_ranges) == (Completeness.UNPROVEN, ())
    assert bar.taker_buy_volume is not None
    assert_true_or_gap(bar, venue)


def test_a_loss_reported_after_the_close_revises_the_bar() -> None:
    """The bar closed as unproven; the reported loss makes it a gap, which the candle replaces."""
    venue = steady(page=1)
    venue.tick(100)
    venue.fall_silent()
    venue.tick(123)
    closed = venue.bars()[START_US + INTERVAL_US]
    assert closed.completeness is Completeness.UNPROVEN
    venue.report_loss()
    venue.tick(140)
    revised = venue.bars()[START_US + INTERVAL_US]
    assert revised.revision > closed.revision
    assert revised.completeness is Completeness.VENUE_CANDLE
    assert_true_or_gap(revised, venue)


def test_rest_proves_an_interval_without_trades_empty() -> None:
    """REST, asked after the close, returns no trade since the open."""
    venue = VenueWithoutIds(trades_with_holes([5.0, 200.0]), page=100)
    venue.subscribe()
    venue.tick(190)
    completeness = [bar.completeness for bar in venue.bars().values()]
    assert completeness[1:] == [Completeness.EMPTY, Completeness.EMPTY]


def test_a_silent_stream_is_found_and_its_trades_are_fetched() -> None:
    """The stream delivers nothing while the venue trades: it is subscribed again, and no trade is lost."""
    venue = steady(60)
    venue.tick(60)
    venue.subscribed = False
    venue.tick(115)
    assert venue.of(FeedSilent)
    venue.tick(185)
    assert venue.pipeline.state is SymbolState.LIVE
    for bar in venue.bars().values():
        assert_true_or_gap(bar, venue)
        assert bar.completeness is Completeness.UNPROVEN


@pytest.mark.parametrize("ids", [Ids.ORDERED, Ids.IDENTITY])
def test_the_order_of_trades_of_one_millisecond(ids: Ids) -> None:
    """Ids order them where they ascend with time; elsewhere the order of arrival does."""
    moment = START_US + 61 * SECOND_US
    trades = [Trade(9, moment, 1.0, 1.0, True), Trade(4, moment, 2.0, 1.0, True)]
    venue = VenueWithoutIds([], page=10, ids=ids)
    venue.subscribe()
    venue.tick(61)
    venue.pipeline.trades_received(trades, venue.now_us, venue.wall_s)
    venue.tick(125)
    bar = venue.bars()[START_US + INTERVAL_US]
    assert (bar.open, bar.close) == ((1.0, 2.0) if ids is Ids.IDENTITY else (2.0, 1.0))


def test_an_id_that_is_repeated_later_is_counted_once() -> None:
    """The fast path takes what is newer than all before; the flush finds the repeated id and leaves it out."""
    trades = [Trade(7 + number, START_US + (1 + number) * SECOND_US, 100.0, 1.0, True) for number in range(3)]
    venue = VenueWithoutIds(trades, page=10, ids=Ids.IDENTITY)
    venue.subscribe()
    venue.tick(0.5)
    pipeline = venue.pipeline
    pipeline.trades_received(trades[:1], venue.now_us, venue.wall_s)
    again = Trade(trades[0].trade_id, trades[1].time_us + 1, 100.0, 1.0, True)
    assert pipeline.take_next(stream_records([trades[1], again, trades[2]])) == 3
    assert (pipeline.trades, pipeline.duplicates) == (3, 1)
    assert pipeline.take_unsaved() == trades
    assert pipeline.last_trade_at_us == trades[2].time_us


def test_a_trade_of_the_far_future_hides_no_interruption() -> None:
    """Its time is malformed: it does not show that the stream was complete until then."""
    venue = VenueWithoutIds(trades_with_holes([10, 45, 50, 58]), page=1)
    venue.tick(0.25)
    venue.subscribe()
    venue.tick(40)
    venue.deliver([Trade(1, START_US + 86_400 * SECOND_US, 100.0, 1.0, True)])
    venue.fall_silent()
    venue.tick(52)
    venue.report_loss()
    venue.subscribe()
    venue.candles = False
    venue.tick(70)
    assert venue.bars()[START_US].completeness is Completeness.GAP
