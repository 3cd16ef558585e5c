"""An instrument whose trade ids prove nothing: its bars are true, or say that they are not, whatever was missed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
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
)
from tests.daemon.pipeline.stream_records import stream_records

COMPARED = ("open", "high", "low", "close", "volume", "trades", "taker_buy_volume")


def make_trades(times_s: list[float]) -> list[Trade]:
    """Ids with holes, in time order, a few before the start."""
    early = [Trade(3 + i, START_US - (50 - i) * SECOND_US, 99.0 + i, 1.0, True) for i in range(3)]
    return early + [
        Trade(1000 + 3 * i, START_US + int(t * SECOND_US), 100.0 + i % 13 / 10, 0.5 + i % 5 / 100, i % 3 == 0)
        for i, t in enumerate(sorted(times_s))
    ]


def assert_honest(bar: Bar, venue: VenueWithoutIds) -> None:
    """A bar without a gap equals the truth in everything that it says."""
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
    """A trade every ten seconds, heard from two seconds before the start on."""
    venue = VenueWithoutIds(make_trades([10.0 * i + 5 for i in range(count)]), page=page, **options)  # type: ignore[arg-type]
    venue.subscribe()
    return venue


times = st.lists(st.floats(0.5, 239.0), min_size=1, max_size=60)
fates = st.sampled_from(["pass", "pass", "pass", "cut", "stall", "crash", "double"])


@settings(max_examples=120, deadline=None)
@given(times, st.data(), st.integers(1, 40), st.sampled_from([Ids.ORDERED, Ids.IDENTITY]))
def test_whatever_is_missed_no_bar_pretends(times_s: list[float], data: st.DataObject, page: int, ids: Ids) -> None:
    """Cuts, stalls that are noticed late, crashes and doubled trades: a bar is true, a candle, or a gap."""
    venue = VenueWithoutIds(make_trades(times_s), page=page, ids=ids)
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
        assert_honest(bar, venue)
        assert bar.completeness is not Completeness.GAP  # the venue had a candle of every interval


def test_an_uninterrupted_bar_is_unproven_and_true() -> None:
    """Nothing proves it, and nothing was missed; it closes with the first trade past its end, or after the grace."""
    venue = steady()
    venue.tick(190)
    first, *others = venue.bars().values()
    assert [bar.completeness for bar in others] == [Completeness.UNPROVEN] * 2
    for bar in (first, *others):
        assert_honest(bar, venue)
    waits = [event.wait_us for event in venue.of(BarClosed) if isinstance(event, BarClosed)]
    assert waits[1:] == [2 * SECOND_US] * 2


def test_the_started_interval_is_whole_where_the_venue_reaches_back() -> None:
    """Recent trades by REST cover what happened before the start: no bar is partial."""
    venue = VenueWithoutIds(make_trades([5.0, 15.0, 25.0, 65.0]), page=100)
    venue.tick(30)
    venue.subscribe()
    venue.tick(70)
    (bar,) = venue.bars().values()
    assert (bar.completeness, bar.trades) == (Completeness.UNPROVEN, 3)
    assert_honest(bar, venue)


def test_the_started_interval_is_the_venues_candle_where_it_does_not() -> None:
    """With only the newest trades to be had, the candle stands in, and sides and counts are unknown."""
    venue = VenueWithoutIds(make_trades([float(i) for i in range(1, 59)]), page=5)
    venue.tick(30)
    venue.subscribe()
    venue.tick(75)
    (bar,) = venue.bars().values()
    assert bar.completeness is Completeness.VENUE_CANDLE
    assert bar.revision == 0
    assert_honest(bar, venue)


def test_an_interruption_is_told_and_mended() -> None:
    """A cut in mid-bar is announced at once, mended from recent trades, and told to be mended."""
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
        assert_honest(bar, venue)


def test_without_a_candle_the_gap_stays_and_says_where() -> None:
    """No trades and no candle to be had: the bar says from when to when it knows nothing."""
    venue = steady(page=1, candles=False)
    venue.tick(70)
    venue.fall_silent()
    venue.report_loss()
    venue.tick(90)
    venue.subscribe()
    venue.tick(130)
    bar = venue.bars()[START_US + INTERVAL_US]
    assert (bar.completeness, bar.missing_trades) == (Completeness.GAP, None)
    (lost,) = bar.missing_ranges
    assert lost.first_id is None
    assert lost.after_us <= START_US + 70 * SECOND_US < START_US + 90 * SECOND_US <= (lost.before_us or 0)
    assert venue.bars()[START_US].completeness is not Completeness.GAP


def test_a_candle_that_says_the_same_gives_the_bar_back() -> None:
    """Nothing was lost in the interruption: the bar stays, with its sides, and is not called a gap any more."""
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
    assert_honest(bar, venue)


def test_a_stall_that_is_noticed_after_the_close_revises_the_bar() -> None:
    """The bar closed in good faith; when the silence is noticed it is put in doubt, and then put right."""
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
    assert_honest(revised, venue)


def test_an_interval_without_trades_is_proven_empty_by_the_venue() -> None:
    """The venue, asked after the close, lists no trade since: that is proof."""
    venue = VenueWithoutIds(make_trades([5.0, 200.0]), page=100)
    venue.subscribe()
    venue.tick(190)
    verdicts = [bar.completeness for bar in venue.bars().values()]
    assert verdicts[1:] == [Completeness.EMPTY, Completeness.EMPTY]


def test_a_mute_subscription_is_found_and_its_trades_are_had() -> None:
    """The venue traded and the stream did not say so: it is stale, subscribed anew, and nothing is lost."""
    venue = steady(60)
    venue.tick(60)
    venue.subscribed = False
    venue.tick(115)
    assert any(isinstance(event, FeedSilent) for event in venue.seen)
    venue.tick(185)
    assert venue.pipeline.state is SymbolState.LIVE
    for bar in venue.bars().values():
        assert_honest(bar, venue)
        assert bar.completeness is Completeness.UNPROVEN


@pytest.mark.parametrize("ids", [Ids.ORDERED, Ids.IDENTITY])
def test_the_order_of_trades_of_one_millisecond(ids: Ids) -> None:
    """Ids order them where they can; elsewhere they stand as they came."""
    moment = START_US + 61 * SECOND_US
    trades = [Trade(9, moment, 1.0, 1.0, True), Trade(4, moment, 2.0, 1.0, True)]
    venue = VenueWithoutIds([], page=10, ids=ids)
    venue.subscribe()
    venue.tick(61)
    venue.pipeline.trades_received(trades, venue.now_us, venue.wall_s)
    venue.tick(125)
    bar = venue.bars()[START_US + INTERVAL_US]
    assert (bar.open, bar.close) == ((1.0, 2.0) if ids is Ids.IDENTITY else (2.0, 1.0))


def test_an_identity_that_comes_again_later_is_counted_once() -> None:
    """The quick way takes what is newer than all before; settled, a known identity is a duplicate and in no bar."""
    trades = [Trade(7 + number, START_US + (1 + number) * SECOND_US, 100.0, 1.0, True) for number in range(3)]
    venue = VenueWithoutIds(trades, page=10, ids=Ids.IDENTITY)
    venue.subscribe()
    venue.tick(0.5)
    series = venue.pipeline
    series.trades_received(trades[:1], venue.now_us, venue.wall_s)
    again = Trade(trades[0].trade_id, trades[1].time_us + 1, 100.0, 1.0, True)
    assert series.take_next(stream_records([trades[1], again, trades[2]])) == 3
    assert (series.trades, series.duplicates) == (3, 1)
    assert series.take_unsaved() == trades
    assert series.last_trade_at_us == trades[2].time_us
