"""An instrument whose trade ids prove nothing: its bars are true, or say that they are not, whatever was missed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.exchanges.base import Ids
from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    CandleRequested,
    Event,
    FeedSilent,
    GapOpened,
    GapRepaired,
    RepairRequested,
    SymbolState,
)
from daemon.pipeline.instrument import InstrumentPipeline
from daemon.pipeline.timeouts import Timeouts
from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade
from tests.daemon.pipeline.stream_records import stream_records, traits_of

INSTRUMENT = Instrument("bybit", "BTC-USDT")
SECOND_US = 1_000_000
INTERVAL_US = 60 * SECOND_US
START_US = 1_700_000_040 * SECOND_US - 1_700_000_040 * SECOND_US % INTERVAL_US
TIMEOUTS = Timeouts(grace_us=2 * SECOND_US, proof_wait_us=6 * SECOND_US, clock_margin_us=SECOND_US)
COMPARED = ("open", "high", "low", "close", "volume", "trades", "taker_buy_volume")


def make_trades(times_s: list[float]) -> list[Trade]:
    """Ids with holes, in time order, a few before the start."""
    early = [Trade(3 + i, START_US - (50 - i) * SECOND_US, 99.0 + i, 1.0, True) for i in range(3)]
    return early + [
        Trade(1000 + 3 * i, START_US + int(t * SECOND_US), 100.0 + i % 13 / 10, 0.5 + i % 5 / 100, i % 3 == 0)
        for i, t in enumerate(sorted(times_s))
    ]


class World:
    """A venue whose every trade is known, with ``page`` recent trades by REST, and a series that listens to it."""

    def __init__(self, trades: list[Trade], *, page: int, ids: Ids = Ids.ORDERED, candles: bool = True) -> None:
        self.trades, self.page, self.ids, self.candles = trades, page, ids, candles
        self.seen: list[Event] = []
        self.stored: list[Trade] = []
        self.complete_until_us = START_US
        self.listening = False
        self.now_us = START_US
        self.pipeline = self._new_pipeline()

    def _new_pipeline(self) -> InstrumentPipeline:
        self.events: list[Event] = []
        traits = traits_of(self.ids)
        return InstrumentPipeline(
            INSTRUMENT, interval_us=INTERVAL_US, traits=traits, timeouts=TIMEOUTS, events=self.events
        )

    @property
    def wall_s(self) -> float:
        return self.now_us / SECOND_US

    def connect(self) -> None:
        self.listening = True
        self.pipeline.subscribed(self.now_us)

    def fall_silent(self) -> None:
        """Nothing comes any more, which nobody has noticed yet."""
        self.listening, self.complete_until_us = False, self.now_us

    def notice(self) -> None:
        self.pipeline.stream_lost(self.complete_until_us, self.now_us)

    def crash(self) -> None:
        """Keeps what a store keeps: the bars told, the trades, and the state."""
        self.stored += self.pipeline.take_unsaved()
        state = self.pipeline.sequence_state()
        published = [bar for _, bar in sorted(self.bars().items()) if bar.completeness is not Completeness.EMPTY]
        first_open_us = max(self.bars(), default=START_US - INTERVAL_US) + INTERVAL_US
        self.pipeline = self._new_pipeline()
        self.listening = False
        if state is None:
            return
        last = published[-1:] if published and published[-1].close_time_us == first_open_us else []
        first_open_us = last[0].open_time_us if last else first_open_us
        kept = [trade for trade in self.stored if trade.time_us >= first_open_us]
        self.pipeline.resume(state, kept, first_open_us=first_open_us, published=last)

    def tick(self, to_s: float) -> None:
        """Lets market time pass to ``to_s`` after the start; trades that happen are heard if somebody listens."""
        end_us = START_US + int(to_s * SECOND_US)
        while self.now_us < end_us:
            before_us, self.now_us = self.now_us, min(self.now_us + SECOND_US // 4, end_us)
            for trade in self.trades:
                if self.listening and before_us < trade.time_us <= self.now_us:
                    self.deliver(trade)
            self.pipeline.time_advanced(self.now_us, self.wall_s)
            self._answer()

    def deliver(self, trade: Trade) -> None:
        if not self.pipeline.take_next(stream_records([trade])):
            self.pipeline.trades_received([trade], self.now_us, self.wall_s)

    def _answer(self) -> None:
        while self.events:
            event = self.events.pop(0)
            self.seen.append(event)
            if isinstance(event, RepairRequested):
                self._answer_trades(event)
            elif isinstance(event, CandleRequested):
                over = event.open_us + INTERVAL_US <= self.now_us and self.candles
                candle = self.candle(event.open_us) if over else None
                self.pipeline.answers.candle_received(candle, self.now_us, self.wall_s)
            elif isinstance(event, FeedSilent):
                self.connect()

    def _answer_trades(self, wanted: RepairRequested) -> None:
        assert wanted.from_id is None
        past = [trade for trade in self.trades if trade.time_us <= self.now_us]
        page = past[-self.page :]
        self.pipeline.answers.repair_received(
            [trade for trade in page if trade.time_us >= wanted.after_us],
            head_reached=True,
            complete=len(page) < self.page or page[0].time_us < wanted.after_us,
            asked_at_us=self.now_us,
            now_us=self.now_us,
            wall_s=self.wall_s,
        )

    def candle(self, open_us: int) -> Bar:
        """What such venues publish: no sides, no count."""
        bar = self.truth(open_us)
        empty = bar.open is None
        return Bar(
            venue=INSTRUMENT.venue,
            symbol=INSTRUMENT.symbol,
            interval_us=INTERVAL_US,
            open_time_us=open_us,
            **{name: None if empty else getattr(bar, name) for name in ("open", "high", "low", "close")},
            volume=bar.volume,
            quote_volume=bar.quote_volume,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=self.now_us,
        )

    def truth(self, open_us: int) -> Bar:
        bar = OpenBar(INSTRUMENT, open_time_us=open_us, interval_us=INTERVAL_US)
        for trade in self.trades:
            if open_us <= trade.time_us < open_us + INTERVAL_US:
                bar.add(trade)
        return bar.bar(completeness=Completeness.UNPROVEN, known_at_us=0, missing_trades=0, revision=0, decimals=8)

    def bars(self) -> dict[int, Bar]:
        """The last revision of each bar."""
        return {e.bar.open_time_us: e.bar for e in self.seen if isinstance(e, BarClosed | BarRevised)}

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.seen if isinstance(event, kind)]

    def assert_honest(self, bar: Bar) -> None:
        """A bar without a gap equals the truth in everything that it says."""
        true = self.truth(bar.open_time_us)
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


def steady(count: int = 24, *, page: int = 1000, **options: object) -> World:
    """A trade every ten seconds, heard from two seconds before the start on."""
    world = World(make_trades([10.0 * i + 5 for i in range(count)]), page=page, **options)  # type: ignore[arg-type]
    world.connect()
    return world


times = st.lists(st.floats(0.5, 239.0), min_size=1, max_size=60)
fates = st.sampled_from(["pass", "pass", "pass", "cut", "stall", "crash", "double"])


@settings(max_examples=120, deadline=None)
@given(times, st.data(), st.integers(1, 40), st.sampled_from([Ids.ORDERED, Ids.IDENTITY]))
def test_whatever_is_missed_no_bar_pretends(times_s: list[float], data: st.DataObject, page: int, ids: Ids) -> None:
    """Cuts, stalls that are noticed late, crashes and doubled trades: a bar is true, a candle, or a gap."""
    world = World(make_trades(times_s), page=page, ids=ids)
    world.connect()
    for at_s in range(0, 240, 12):
        world.tick(at_s)
        fate = data.draw(fates)
        if fate == "double":
            past = [trade for trade in world.trades if START_US < trade.time_us <= world.now_us]
            if past and world.listening:
                world.pipeline.trades_received(past[-1:], world.now_us, world.wall_s)
        elif fate == "pass":
            continue
        elif fate == "crash":
            world.crash()
            world.tick(at_s + data.draw(st.sampled_from([0.5, 5.0])))
            world.connect()
        elif world.listening:
            world.fall_silent()
            if fate == "stall":
                world.tick(at_s + 8)
            world.notice()
            world.tick(at_s + data.draw(st.sampled_from([9.0, 11.0])))
            world.connect()
    world.tick(330)
    bars = world.bars()
    assert sorted(bars) == [min(bars) + i * INTERVAL_US for i in range(len(bars))]
    assert len(bars) >= 4
    for bar in bars.values():
        world.assert_honest(bar)
        assert bar.completeness is not Completeness.GAP  # the venue had a candle of every interval


def test_an_uninterrupted_bar_is_unproven_and_true() -> None:
    """Nothing proves it, and nothing was missed; it closes with the first trade past its end, or after the grace."""
    world = steady()
    world.tick(190)
    first, *others = world.bars().values()
    assert [bar.completeness for bar in others] == [Completeness.UNPROVEN] * 2
    for bar in (first, *others):
        world.assert_honest(bar)
    waits = [event.wait_us for event in world.of(BarClosed) if isinstance(event, BarClosed)]
    assert waits[1:] == [2 * SECOND_US] * 2


def test_the_started_interval_is_whole_where_the_venue_reaches_back() -> None:
    """Recent trades by REST cover what happened before the start: no bar is partial."""
    world = World(make_trades([5.0, 15.0, 25.0, 65.0]), page=100)
    world.tick(30)
    world.connect()
    world.tick(70)
    (bar,) = world.bars().values()
    assert (bar.completeness, bar.trades) == (Completeness.UNPROVEN, 3)
    world.assert_honest(bar)


def test_the_started_interval_is_the_venues_candle_where_it_does_not() -> None:
    """With only the newest trades to be had, the candle stands in, and sides and counts are unknown."""
    world = World(make_trades([float(i) for i in range(1, 59)]), page=5)
    world.tick(30)
    world.connect()
    world.tick(75)
    (bar,) = world.bars().values()
    assert bar.completeness is Completeness.VENUE_CANDLE
    assert bar.revision == 0
    world.assert_honest(bar)


def test_an_interruption_is_told_and_mended() -> None:
    """A cut in mid-bar is announced at once, mended from recent trades, and told to be mended."""
    world = steady()
    world.tick(70)
    world.fall_silent()
    world.tick(80)
    world.notice()
    world.tick(90)
    world.connect()
    world.tick(130)
    assert len(world.of(GapOpened)) == len(world.of(GapRepaired)) == 1
    for bar in world.bars().values():
        assert bar.completeness is Completeness.UNPROVEN
        world.assert_honest(bar)


def test_without_a_candle_the_gap_stays_and_says_where() -> None:
    """No trades and no candle to be had: the bar says from when to when it knows nothing."""
    world = steady(page=1, candles=False)
    world.tick(70)
    world.fall_silent()
    world.notice()
    world.tick(90)
    world.connect()
    world.tick(130)
    bar = world.bars()[START_US + INTERVAL_US]
    assert (bar.completeness, bar.missing_trades) == (Completeness.GAP, None)
    (lost,) = bar.missing_ranges
    assert lost.first_id is None
    assert lost.after_us <= START_US + 70 * SECOND_US < START_US + 90 * SECOND_US <= (lost.before_us or 0)
    assert world.bars()[START_US].completeness is not Completeness.GAP


def test_a_candle_that_says_the_same_gives_the_bar_back() -> None:
    """Nothing was lost in the interruption: the bar stays, with its sides, and is not called a gap any more."""
    world = steady(page=1)
    world.tick(66)
    world.fall_silent()
    world.notice()
    world.tick(69)
    world.connect()
    world.tick(140)
    bar = world.bars()[START_US + INTERVAL_US]
    assert (bar.completeness, bar.missing_ranges) == (Completeness.UNPROVEN, ())
    assert bar.taker_buy_volume is not None
    world.assert_honest(bar)


def test_a_stall_that_is_noticed_after_the_close_revises_the_bar() -> None:
    """The bar closed in good faith; when the silence is noticed it is put in doubt, and then put right."""
    world = steady(page=1)
    world.tick(100)
    world.fall_silent()
    world.tick(123)
    closed = world.bars()[START_US + INTERVAL_US]
    assert closed.completeness is Completeness.UNPROVEN
    world.notice()
    world.tick(140)
    revised = world.bars()[START_US + INTERVAL_US]
    assert revised.revision > closed.revision
    assert revised.completeness is Completeness.VENUE_CANDLE
    world.assert_honest(revised)


def test_an_interval_without_trades_is_proven_empty_by_the_venue() -> None:
    """The venue, asked after the close, lists no trade since: that is proof."""
    world = World(make_trades([5.0, 200.0]), page=100)
    world.connect()
    world.tick(190)
    verdicts = [bar.completeness for bar in world.bars().values()]
    assert verdicts[1:] == [Completeness.EMPTY, Completeness.EMPTY]


def test_a_mute_subscription_is_found_and_its_trades_are_had() -> None:
    """The venue traded and the stream did not say so: it is stale, subscribed anew, and nothing is lost."""
    world = steady(60)
    world.tick(60)
    world.listening = False
    world.tick(115)
    assert any(isinstance(event, FeedSilent) for event in world.seen)
    world.tick(185)
    assert world.pipeline.state is SymbolState.LIVE
    for bar in world.bars().values():
        world.assert_honest(bar)
        assert bar.completeness is Completeness.UNPROVEN


@pytest.mark.parametrize("ids", [Ids.ORDERED, Ids.IDENTITY])
def test_the_order_of_trades_of_one_millisecond(ids: Ids) -> None:
    """Ids order them where they can; elsewhere they stand as they came."""
    moment = START_US + 61 * SECOND_US
    trades = [Trade(9, moment, 1.0, 1.0, True), Trade(4, moment, 2.0, 1.0, True)]
    world = World([], page=10, ids=ids)
    world.connect()
    world.tick(61)
    world.pipeline.trades_received(trades, world.now_us, world.wall_s)
    world.tick(125)
    bar = world.bars()[START_US + INTERVAL_US]
    assert (bar.open, bar.close) == ((1.0, 2.0) if ids is Ids.IDENTITY else (2.0, 1.0))


def test_an_identity_that_comes_again_later_is_counted_once() -> None:
    """The quick way takes what is newer than all before; settled, a known identity is a duplicate and in no bar."""
    trades = [Trade(7 + number, START_US + (1 + number) * SECOND_US, 100.0, 1.0, True) for number in range(3)]
    world = World(trades, page=10, ids=Ids.IDENTITY)
    world.connect()
    world.tick(0.5)
    series = world.pipeline
    series.trades_received(trades[:1], world.now_us, world.wall_s)
    again = Trade(trades[0].trade_id, trades[1].time_us + 1, 100.0, 1.0, True)
    assert series.take_next(stream_records([trades[1], again, trades[2]])) == 3
    assert (series.trades, series.duplicates) == (3, 1)
    assert series.take_unsaved() == trades
    assert series.last_trade_at_us == trades[2].time_us
