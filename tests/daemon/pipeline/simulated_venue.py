"""Simulated venues whose every trade is known; each drives one InstrumentPipeline in simulated time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from daemon.exchanges.base import Ids, Traits
from daemon.pipeline.answers import Answer, CandleAnswer, RequestFailed, SequenceStart, TradesAnswer
from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    CandleRequested,
    Event,
    FeedSilent,
    RepairReason,
    RepairRequested,
    Request,
    SnapshotRequested,
)
from daemon.pipeline.instrument import InstrumentPipeline
from daemon.pipeline.instrument_state import InstrumentState
from daemon.pipeline.timeouts import Timeouts
from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade
from tests.daemon.pipeline.stream_records import stream_records, traits_of

SECOND_US = 1_000_000
INTERVAL_US = 60 * SECOND_US
START_US = 1_700_000_040 * SECOND_US - 1_700_000_040 * SECOND_US % INTERVAL_US
TIMEOUTS = Timeouts(grace_us=2 * SECOND_US, proof_wait_us=6 * SECOND_US, clock_margin_us=SECOND_US)

E = TypeVar("E", bound=Event)


def trades_with_ids(times_s: list[float]) -> list[Trade]:
    """Trades with contiguous ids at these seconds after the start."""
    return [
        Trade(1000 + i, START_US + int(t * SECOND_US), 100.0 + i % 13 / 10, 0.5 + i % 5 / 100, i % 3 == 0)
        for i, t in enumerate(sorted(times_s))
    ]


def trades_with_holes(times_s: list[float]) -> list[Trade]:
    """Trades with ascending ids with holes, a few of them before the start."""
    early = [Trade(3 + i, START_US - (50 - i) * SECOND_US, 99.0 + i, 1.0, True) for i in range(3)]
    return early + [
        Trade(1000 + 3 * i, START_US + int(t * SECOND_US), 100.0 + i % 13 / 10, 0.5 + i % 5 / 100, i % 3 == 0)
        for i, t in enumerate(sorted(times_s))
    ]


class SimulatedVenue(ABC):
    """What both venues share. ``trades``: the trades after the start; ``seen``: the pipeline's events so far."""

    def __init__(self, trades: list[Trade], instrument: Instrument, traits: Traits) -> None:
        self.trades = trades
        self.seen: list[Event] = []
        self.stored: list[Trade] = []
        self.now_us = START_US
        self._instrument = instrument
        self._traits = traits
        self.start_daemon()

    def start_daemon(self) -> None:
        """A new pipeline, as after a start of the daemon."""
        self.events: list[Event] = []
        self.pipeline = InstrumentPipeline(
            InstrumentState(
                self._instrument, interval_us=INTERVAL_US, traits=self._traits, timeouts=TIMEOUTS, events=self.events
            )
        )

    @property
    def wall_s(self) -> float:
        return self.now_us / SECOND_US

    def deliver(self, trades: list[Trade]) -> None:
        """Delivers trades by the stream, as a feed does: what the fast path leaves goes to ``trades_received``."""
        if rest := trades[self.pipeline.take_next(stream_records(trades)) :]:
            self.pipeline.trades_received(rest, self.now_us, self.wall_s)

    def tick(self, to_s: float) -> None:
        """Advances market time to ``to_s`` after the start, a quarter of a second at a time."""
        end_us = START_US + int(to_s * SECOND_US)
        while self.now_us < end_us:
            before_us, self.now_us = self.now_us, min(self.now_us + SECOND_US // 4, end_us)
            self.stream(before_us)
            self.pipeline.time_advanced(self.now_us, self.wall_s)
            self.answer()

    @abstractmethod
    def stream(self, before_us: int) -> None:
        """Delivers the trades that the stream brings by itself after ``before_us``."""

    def answer(self) -> None:
        """Answers every request by REST."""
        while self.events:
            event = self.events.pop(0)
            self.seen.append(event)
            self.answer_event(event)

    @abstractmethod
    def answer_event(self, event: Event) -> None: ...

    def reply(self, request: Request, answer: Answer) -> None:
        """Answers a request at the current time."""
        self.pipeline.answers.answer(request, answer, self.now_us, self.wall_s)

    def bars(self) -> dict[int, Bar]:
        """The last revision of each bar by its open time."""
        return {e.bar.open_time_us: e.bar for e in self.seen if isinstance(e, BarClosed | BarRevised)}

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.seen if isinstance(event, kind)]

    def true_bar(self, open_us: int, completeness: Completeness = Completeness.UNPROVEN) -> Bar:
        """The bar of all trades of the interval."""
        bar = OpenBar(self._instrument, open_time_us=open_us, interval_us=INTERVAL_US)
        for trade in self.trades:
            if open_us <= trade.time_us < open_us + INTERVAL_US:
                bar.add(trade)
        return bar.bar(completeness=completeness, known_at_us=0, missing_trades=0, revision=0, decimals=8)


class VenueWithIds(SimulatedVenue):
    """A venue with contiguous ids. ``page``: trades in one REST answer. ``online``: whether REST answers."""

    def __init__(self, trades: list[Trade], page: int = 1000) -> None:
        super().__init__(trades, Instrument("binance", "BTC-USDT"), traits_of())
        self.page, self.online = page, True
        self.history = [Trade(999, START_US - 100 * SECOND_US, 100.0, 1.0, True), *trades]

    def stream(self, before_us: int) -> None:
        """Nothing: tests call ``deliver``."""

    def answer_event(self, event: Event) -> None:
        if isinstance(event, SnapshotRequested | RepairRequested) and not self.online:
            self.reply(event, RequestFailed("refused"))
        elif isinstance(event, SnapshotRequested):
            past = [t for t in self.history if t.time_us <= self.now_us]
            page = [t for t in past if t.time_us >= event.from_time_us][: self.page]
            self.reply(event, SequenceStart(page, past[-1]))
        elif isinstance(event, RepairRequested):
            assert event.from_id is not None
            past = [t for t in self.history if t.time_us <= self.now_us and t.trade_id >= event.from_id]
            head_reached = len(past) < self.page
            self.reply(event, TradesAnswer(past[: self.page], head_reached, complete=True, asked_at_us=self.now_us))

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
        self.start_daemon()
        if state is not None:
            kept = [t for t in self.stored if t.time_us >= first_open_us]
            self.pipeline.resume(state, kept, first_open_us=first_open_us, published=published)


class VenueWithoutIds(SimulatedVenue):
    """A venue whose ids are not contiguous: REST returns only the ``page`` newest trades.

    candles: whether it has candles. subscribed: whether the stream delivers trades as they happen.
    """

    def __init__(self, trades: list[Trade], *, page: int, ids: Ids = Ids.ORDERED, candles: bool = True) -> None:
        super().__init__(trades, Instrument("bybit", "BTC-USDT"), traits_of(ids))
        self.page, self.candles = page, candles
        self.complete_until_us = START_US
        self.subscribed = False

    def subscribe(self) -> None:
        self.subscribed = True
        self.pipeline.subscribed(self.now_us)

    def fall_silent(self) -> None:
        """The stream stops; the daemon does not know it yet."""
        self.subscribed, self.complete_until_us = False, self.now_us

    def report_loss(self) -> None:
        """The daemon learns that the stream stopped."""
        self.pipeline.stream_lost(self.complete_until_us, self.now_us)

    def crash(self) -> None:
        """Keeps what a store keeps (published bars, trades, state); the new daemon is not subscribed yet."""
        self.stored += self.pipeline.take_unsaved()
        state = self.pipeline.sequence_state()
        published = [bar for _, bar in sorted(self.bars().items()) if bar.completeness is not Completeness.EMPTY]
        first_open_us = max(self.bars(), default=START_US - INTERVAL_US) + INTERVAL_US
        self.start_daemon()
        self.subscribed = False
        if state is None:
            return
        last = published[-1:] if published and published[-1].close_time_us == first_open_us else []
        first_open_us = last[0].open_time_us if last else first_open_us
        kept = [trade for trade in self.stored if trade.time_us >= first_open_us]
        self.pipeline.resume(state, kept, first_open_us=first_open_us, published=last)

    def stream(self, before_us: int) -> None:
        for trade in self.trades:
            if self.subscribed and before_us < trade.time_us <= self.now_us:
                self.deliver([trade])

    def answer_event(self, event: Event) -> None:
        if isinstance(event, RepairRequested):
            self._answer_repair(event)
        elif isinstance(event, CandleRequested):
            closed = event.open_us + INTERVAL_US <= self.now_us and self.candles
            candle = self.candle(event.open_us) if closed else None
            self.reply(event, CandleAnswer(candle))
        elif isinstance(event, FeedSilent):
            self.subscribe()

    def _answer_repair(self, request: RepairRequested) -> None:
        assert request.from_id is None
        past = [trade for trade in self.trades if trade.time_us <= self.now_us]
        page = past[-self.page :]
        found = [trade for trade in page if trade.time_us >= request.after_us]
        complete = len(page) < self.page or page[0].time_us < request.after_us
        self.reply(request, TradesAnswer(found, head_reached=True, complete=complete, asked_at_us=self.now_us))

    def candle(self, open_us: int) -> Bar:
        """The venue's candle: neither trade count nor taker volumes."""
        bar = self.true_bar(open_us)
        return Bar(
            venue=bar.venue,
            symbol=bar.symbol,
            interval_us=INTERVAL_US,
            open_time_us=open_us,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            quote_volume=bar.quote_volume,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=self.now_us,
        )


def assert_true_bar(bar: Bar, venue: VenueWithIds) -> None:
    """The bar equals the one made of all trades of its interval."""
    expected = venue.true_bar(bar.open_time_us, bar.completeness)
    for field in ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"):
        assert getattr(bar, field) == getattr(expected, field), field


def repair_reasons(venue: SimulatedVenue) -> list[RepairReason]:
    return [event.reason for event in venue.of(RepairRequested)]
