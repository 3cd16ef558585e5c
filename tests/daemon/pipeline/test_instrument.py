"""One instrument from trades to bars: whatever the feed does, the bars end up right or say that they are not."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    Event,
    FeedSilent,
    GapOpened,
    GapRepaired,
    RepairReason,
    RepairRequested,
    SnapshotRequested,
    SymbolState,
    SymbolStateChanged,
)
from daemon.pipeline.instrument import InstrumentPipeline
from daemon.pipeline.timeouts import Timeouts
from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade
from tests.daemon.pipeline.stream_records import stream_records, traits_of

INSTRUMENT = Instrument("binance", "BTC-USDT")
SECOND_US = 1_000_000
INTERVAL_US = 60 * SECOND_US
START_US = 1_700_000_040 * SECOND_US - 1_700_000_040 * SECOND_US % INTERVAL_US
TIMEOUTS = Timeouts(grace_us=2 * SECOND_US, proof_wait_us=6 * SECOND_US)


def make_trades(times_s: list[float]) -> list[Trade]:
    """A venue's history: contiguous ids in time order."""
    return [
        Trade(1000 + i, START_US + int(t * SECOND_US), 100.0 + i % 13 / 10, 0.5 + i % 5 / 100, i % 3 == 0)
        for i, t in enumerate(sorted(times_s))
    ]


class VenueAndDaemon:
    """Drives a series against a venue whose every trade is known; ``online`` says whether REST answers."""

    def __init__(self, trades: list[Trade], page: int = 1000) -> None:
        self.trades, self.page, self.online = trades, page, True
        self.history = [Trade(999, START_US - 100 * SECOND_US, 100.0, 1.0, True), *trades]
        self.events: list[Event] = []
        self.seen: list[Event] = []
        self.stored: list[Trade] = []
        self.pipeline = self._new_pipeline()
        self.now_us = START_US

    def _new_pipeline(self) -> InstrumentPipeline:
        self.events = []
        return InstrumentPipeline(
            INSTRUMENT, interval_us=INTERVAL_US, traits=traits_of(), timeouts=TIMEOUTS, events=self.events
        )

    @property
    def wall_s(self) -> float:
        return self.now_us / SECOND_US

    def deliver(self, trades: list[Trade]) -> None:
        """As a feed does: the quick way where it will do."""
        if rest := trades[self.pipeline.take_next(stream_records(trades)) :]:
            self.pipeline.trades_received(rest, self.now_us, self.wall_s)

    def tick(self, to_s: float) -> None:
        """Lets market time pass to ``to_s`` after the start, a quarter of a second at a time."""
        end_us = START_US + int(to_s * SECOND_US)
        while self.now_us < end_us:
            self.now_us = min(self.now_us + SECOND_US // 4, end_us)
            self.pipeline.time_advanced(self.now_us, self.wall_s)
            self.answer()

    def answer(self) -> None:
        while self.events:
            event = self.events.pop(0)
            self.seen.append(event)
            if isinstance(event, SnapshotRequested | RepairRequested) and not self.online:
                self.pipeline.answers.request_failed("refused", self.now_us, self.wall_s)
            elif isinstance(event, SnapshotRequested):
                past = [t for t in self.history if t.time_us <= self.now_us]
                page = [t for t in past if t.time_us >= event.from_time_us][: self.page]
                self.pipeline.answers.snapshot_received(
                    page,
                    past[-1],
                    from_time_us=event.from_time_us,
                    now_us=self.now_us,
                    wall_s=self.wall_s,
                )
            elif isinstance(event, RepairRequested):
                past = [t for t in self.history if t.time_us <= self.now_us and t.trade_id >= event.from_id]
                page = past[: self.page]
                self.pipeline.answers.repair_received(
                    page,
                    head_reached=len(past) < self.page,
                    complete=True,
                    asked_at_us=self.now_us,
                    now_us=self.now_us,
                    wall_s=self.wall_s,
                )

    def crash_and_restart(self) -> None:
        """Keeps what a store keeps: announced bars, trades and the sequence state. Open bars and events are lost."""
        self.stored += self.pipeline.take_unsaved()
        state = self.pipeline.sequence_state()
        first_open_us = max(self.bars(), default=START_US - INTERVAL_US) + INTERVAL_US
        unsettled = [
            o for o, bar in self.bars().items() if bar.completeness in {Completeness.GAP, Completeness.UNPROVEN}
        ]
        published = [bar for _, bar in sorted(self.bars().items()) if unsettled and bar.open_time_us >= min(unsettled)]
        first_open_us = published[0].open_time_us if published else first_open_us
        self.pipeline = self._new_pipeline()
        if state is not None:
            kept = [t for t in self.stored if t.time_us >= first_open_us]
            self.pipeline.resume(state, kept, first_open_us=first_open_us, published=published)

    def bars(self) -> dict[int, Bar]:
        """The last revision of each bar."""
        return {e.bar.open_time_us: e.bar for e in self.seen if isinstance(e, BarClosed | BarRevised)}

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.seen if isinstance(event, kind)]


def truth(trades: list[Trade], open_us: int) -> OpenBar:
    bar = OpenBar(INSTRUMENT, open_time_us=open_us, interval_us=INTERVAL_US)
    for trade in trades:
        if open_us <= trade.time_us < open_us + INTERVAL_US:
            bar.add(trade)
    return bar


def assert_equal_to_truth(bar: Bar, trades: list[Trade]) -> None:
    expected = truth(trades, bar.open_time_us).bar(
        completeness=bar.completeness, known_at_us=0, missing_trades=0, revision=0, decimals=8
    )
    for field in ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"):
        assert getattr(bar, field) == getattr(expected, field), field


times = st.lists(st.floats(0.5, 239.0), min_size=1, max_size=60)
fates = st.sampled_from(["deliver", "drop", "duplicate", "late", "restart", "deliver", "deliver"])


@settings(max_examples=120, deadline=None)
@given(times, st.data(), st.integers(1, 40))
def test_any_feed_gives_the_true_bars(times_s: list[float], data: st.DataObject, page: int) -> None:
    """Dropped, doubled, late and out-of-order trades and crashes in mid-bar end in the same proven bars."""
    world = VenueAndDaemon(make_trades(times_s), page=page)
    world.tick(0.25)
    late: list[Trade] = []
    for trade in world.trades:
        world.tick((trade.time_us - START_US) / SECOND_US)
        fate = data.draw(fates)
        if fate == "restart":
            world.crash_and_restart()
        if fate == "late":
            late.append(trade)
        elif fate != "drop":
            world.deliver([trade] * (2 if fate == "duplicate" else 1))
            if late and data.draw(st.booleans()):
                world.deliver([late.pop()])
    world.tick(300)
    bars = world.bars()
    assert sorted(bars) == [START_US + i * INTERVAL_US for i in range(len(bars))]
    assert len(bars) >= 4
    for bar in bars.values():
        assert bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}
        assert_equal_to_truth(bar, world.trades)


@settings(max_examples=60, deadline=None)
@given(times, st.data())
def test_without_rest_no_wrong_bar_claims_proof(times_s: list[float], data: st.DataObject) -> None:
    """While REST is down, a bar that lacks trades says gap or unproven; it is never proven and wrong."""
    world = VenueAndDaemon(make_trades(times_s))
    world.tick(0.25)
    world.online = False
    for trade in world.trades:
        world.tick((trade.time_us - START_US) / SECOND_US)
        if data.draw(st.booleans()):
            world.deliver([trade])
    world.tick(300)
    for bar in world.bars().values():
        if bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}:
            assert_equal_to_truth(bar, world.trades)
        else:
            assert bar.trades is not None
            assert bar.trades <= truth(world.trades, bar.open_time_us).trades
            assert (bar.missing_trades > 0) == (bar.completeness is Completeness.GAP)


def test_a_bar_closes_on_the_first_trade_past_its_end() -> None:
    """Proof by id closes the bar at once, without waiting for the grace."""
    world = VenueAndDaemon(make_trades([1, 30, 60.01]))
    world.tick(0.25)
    world.deliver(world.trades[:2])
    world.tick(60.0)
    assert not world.bars()
    world.deliver(world.trades[2:])
    world.answer()
    [closed] = world.of(BarClosed)
    assert closed.bar.completeness is Completeness.PROVEN
    assert closed.wait_us == 0


def test_a_quiet_boundary_is_proven_by_asking() -> None:
    """Without a trade past the end, an empty REST answer asked after the grace proves the bar."""
    world = VenueAndDaemon(make_trades([1, 30]))
    world.tick(0.25)
    world.deliver(world.trades)
    world.tick(61.75)
    assert not world.bars()
    world.tick(62.5)
    [closed] = world.of(BarClosed)
    assert closed.bar.completeness is Completeness.PROVEN


def test_an_hour_without_trades_is_an_empty_bar() -> None:
    """An interval proven to hold nothing is announced as empty, not left out and not invented."""
    world = VenueAndDaemon(make_trades([1, 130]))
    world.tick(0.25)
    world.deliver(world.trades[:1])
    world.tick(129)
    world.tick(130)
    world.deliver(world.trades[1:])
    world.answer()
    bars = list(world.bars().values())
    assert [bar.completeness for bar in bars] == [Completeness.PROVEN, Completeness.EMPTY]
    assert bars[1].open is None


def test_proof_that_comes_late_makes_a_revision() -> None:
    """REST down past the wait: the bar closes with its gap counted, and the repair revises it."""
    world = VenueAndDaemon(make_trades([1, 20, 21, 22, 59, 61]))
    world.tick(0.25)
    world.online = False
    world.deliver([world.trades[0]])
    world.tick(59)
    world.deliver([world.trades[4]])
    world.tick(61)
    world.deliver([world.trades[5]])
    world.tick(66)
    [closed] = [e.bar for e in world.seen if isinstance(e, BarClosed)]
    assert (closed.completeness, closed.missing_trades, closed.revision) == (Completeness.GAP, 3, 0)
    world.online = True
    world.tick(110)
    [revised] = [e.bar for e in world.seen if isinstance(e, BarRevised)]
    assert (revised.completeness, revised.missing_trades, revised.revision) == (Completeness.PROVEN, 0, 1)
    assert_equal_to_truth(revised, world.trades)
    assert len(world.of(GapOpened)) == len(world.of(GapRepaired)) == 1


def test_the_first_bar_is_whole_although_the_start_was_in_the_middle() -> None:
    """Started in mid-interval, the trades since its open come by REST: no live bar is ever partial."""
    world = VenueAndDaemon(make_trades([1, 2, 3, 40, 61]))
    world.now_us = START_US + 30 * SECOND_US
    world.tick(40)
    world.deliver([world.trades[3]])
    world.tick(61)
    world.deliver([world.trades[4]])
    world.tick(62)
    first = min(world.bars())
    assert first == START_US
    assert_equal_to_truth(world.bars()[first], world.trades)
    assert not world.of(GapOpened), "joining the stream at start is no gap"


def test_a_mute_subscription_is_found_by_a_probe() -> None:
    """The venue trades, the stream says nothing: the probe repairs the trades and asks for a new subscription."""
    world = VenueAndDaemon(make_trades([1, *range(5, 55)]))
    world.tick(1)
    world.deliver(world.trades[:1])
    world.tick(45)
    mute = world.of(FeedSilent)
    assert mute
    assert any(isinstance(e, SymbolStateChanged) and e.state is SymbolState.STALE for e in world.seen)


def test_a_halted_market_is_no_dead_feed() -> None:
    """Hours without trades, confirmed by the venue, raise no alarm and end as halted."""
    world = VenueAndDaemon(make_trades([1]))
    world.tick(1)
    world.deliver(world.trades)
    world.tick(700)
    assert not world.of(FeedSilent)
    assert world.pipeline.state is SymbolState.HALTED
    assert {bar.completeness for bar in world.bars().values()} == {Completeness.PROVEN, Completeness.EMPTY}


def test_a_trade_from_next_year_is_refused() -> None:
    """One nonsense time must not close every bar to come."""
    world = VenueAndDaemon(make_trades([1, 2]))
    world.tick(1)
    world.deliver([world.trades[0]])
    world.deliver([Trade(world.trades[0].trade_id + 1, START_US + 400 * 86_400 * SECOND_US, 1.0, 1.0, True)])
    world.tick(10)
    assert not world.bars()
    assert world.pipeline.malformed == 1


def test_requests_are_one_at_a_time_and_back_off() -> None:
    """With REST down requests are repeated with growing pauses, never in a burst."""
    world = VenueAndDaemon(make_trades([1]))
    world.online = False
    world.tick(60)
    wanted = world.of(SnapshotRequested)
    assert 5 <= len(wanted) <= 10


def reasons(world: VenueAndDaemon) -> Iterator[RepairReason]:
    return (event.reason for event in world.seen if isinstance(event, RepairRequested))


def test_a_gap_is_asked_for_before_the_boundary() -> None:
    """A skipped id is repaired while the bar is still open."""
    world = VenueAndDaemon(make_trades([1, 2, 3, 4]))
    world.tick(1)
    world.deliver([world.trades[0]])
    world.tick(4)
    world.deliver([world.trades[3]])
    world.tick(4.5)
    assert RepairReason.GAP in set(reasons(world))
    assert world.pipeline.missing_trades == 0


def test_only_the_next_trade_of_the_open_bar_is_taken_the_quick_way() -> None:
    """A repeated, a skipped and a later bar's trade are left alone, to be judged; what was taken is counted once."""
    world = VenueAndDaemon(make_trades([1, 2, 3]))
    world.tick(1)
    series, (first, second, third) = world.pipeline, world.trades
    assert not series.take_next(stream_records([first]))  # not live before a trade went the whole way
    series.trades_received([first], world.now_us, world.wall_s)
    for wrong in (first, third, msgspec.structs.replace(second, time_us=second.time_us + INTERVAL_US)):
        assert not series.take_next(stream_records([wrong]))
    assert series.take_next(stream_records([second, second])) == 1
    assert not series.take_next(stream_records([second]))
    assert (series.trades, series.last_price) == (2, second.price)
    assert series.take_unsaved() == [first, second]
    assert series.take_unsaved() == []


def test_while_trades_flow_the_venue_is_not_asked() -> None:
    """The quick way leaves the account alone until somebody asks; that a symbol is heard is noted all the same."""
    world = VenueAndDaemon(make_trades([second + 0.5 for second in range(1, 59)]))
    world.tick(1)
    world.pipeline.trades_received(world.trades[:1], world.now_us, world.wall_s)
    world.tick(2)
    asked = list(reasons(world))
    for second, trade in enumerate(world.trades[1:], start=2):
        world.tick(second)
        assert world.pipeline.take_next(stream_records([trade])) == 1
    assert TIMEOUTS.stale_after_s < 50
    assert list(reasons(world)) == asked
    assert world.pipeline.trades == len(world.trades)
    assert world.pipeline.sequence_state().last_id == world.trades[-1].trade_id


def test_a_restart_asks_before_it_closes() -> None:
    """Down across three bar ends, the daemon asks the venue before it closes them: no partial bar goes out."""
    world = VenueAndDaemon(make_trades([1, 20, 50, 70, 100, 130, 170, 190]), page=2)
    world.tick(1)
    world.deliver(world.trades[:1])
    world.tick(20)
    world.deliver(world.trades[1:2])
    world.crash_and_restart()
    world.now_us = START_US + 185 * SECOND_US
    world.tick(187)
    closed = [event.bar for event in world.seen if isinstance(event, BarClosed)]
    assert [bar.completeness for bar in closed] == [Completeness.PROVEN] * 3
    for bar in closed:
        assert_equal_to_truth(bar, world.trades)
    assert not world.of(BarRevised)


def test_a_restart_without_rest_does_not_wait_for_ever() -> None:
    """With REST down after a restart bars close as what they are, half a minute later."""
    world = VenueAndDaemon(make_trades([1, 20, 50]))
    world.tick(1)
    world.deliver(world.trades[:1])
    world.crash_and_restart()
    world.online = False
    world.now_us = START_US + 70 * SECOND_US
    world.tick(95)
    assert not world.of(BarClosed)
    world.tick(105)
    [closed] = world.of(BarClosed)
    assert closed.bar.completeness is Completeness.UNPROVEN


def test_a_bar_told_as_a_gap_is_revised_after_a_restart() -> None:
    """REST down at the boundary, crash, REST back: the bar that went out with its gap gets its proof."""
    world = VenueAndDaemon(make_trades([1, 20, 21, 59, 61, 70]))
    world.tick(1)
    world.deliver(world.trades[:1])
    world.online = False
    world.tick(59)
    world.deliver(world.trades[3:4])
    world.tick(61)
    world.deliver(world.trades[4:5])
    world.tick(67)
    assert world.bars()[START_US].completeness is Completeness.GAP
    world.crash_and_restart()
    world.online = True
    world.tick(80)
    revised = world.bars()[START_US]
    assert (revised.completeness, revised.revision) == (Completeness.PROVEN, 1)
    assert_equal_to_truth(revised, world.trades)
    assert len(world.of(BarClosed)) == 1
