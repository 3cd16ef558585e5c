"""One simulated venue for one instrument: a stream that fails, and REST answers that come late, twice, cut or never."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable

import msgspec

from daemon.exchanges.base import Ids
from daemon.pipeline.answers import Answer, CandleAnswer, RequestFailed, SequenceStart, TradesAnswer
from daemon.pipeline.events import CandleRequested, RepairRequested, Request, SnapshotRequested
from daemon.pipeline.pipeline import Pipeline
from features.market import Bar, Completeness, Instrument, Trade
from tests.daemon.pipeline.stream_records import stream_records
from tests.simulation.faults import Faults
from tests.simulation.market import Market

_SECOND_US = 1_000_000
_DELAY_US = (20_000, 400_000)
_RECENT_TRADES = 60
HUGE_ID = 9_000_000_000_000_000_000
_JUMPS = (20_000, 10**6, 10**7, 10**9, 2**53)  # from the newest id to one that cannot be
_BEHIND_US = 250_000  # less than a grace, which answers that are behind must not exceed
_LATE_US = 4_000_000
_DAY_US = 86_400_000_000

Schedule = Callable[[int, str, Callable[[], None]], None]


class SimulatedVenue:
    """``schedule`` runs a call after so many microseconds, unless the process dies before."""

    def __init__(
        self,
        instrument: Instrument,
        market: Market,
        ids: Ids,
        faults: Faults,
        rng: random.Random,
        *,
        interval_us: int,
        merges: bool,
        newest_first: bool,
        schedule: Schedule,
        now_us: Callable[[], int],
        clock: Callable[[], tuple[int, float]],
    ) -> None:
        self.instrument = instrument
        self.market = market
        self.faults = faults
        self._ids = ids
        self._rng = rng
        self._interval_us = interval_us
        self._merges = merges
        self._newest_first = newest_first
        self._fills: list[Trade] = []
        self._schedule = schedule
        self._now_us = now_us
        self._clock = clock
        self.on_delivery: Callable[[Trade], None] = lambda _trade: None
        self._pipeline: Pipeline
        self._connection = 0
        self._subscribed = False
        self._silent = False
        self._last_delivery_us = 0
        self._last_receipt_us = 0

    def start(self, pipeline: Pipeline) -> None:
        """A process has started: its connection is new."""
        self._pipeline = pipeline
        self._subscribed = False
        self._connection += 1
        self._reconnect_later()

    # ---------------------------------------------------------------- stream

    def traded(self, trade: Trade) -> None:
        """A trade happened: the stream delivers it, or does not; fills of one order are one record."""
        rng, faults = self._rng, self.faults
        if self._merges:
            self._fills.append(trade)
            if self.market.fills_left:
                return
            trade, self._fills = _merged(self._fills), []
        if not self._subscribed or self._silent or rng.random() < faults.drop_chance:
            return
        delay_us = rng.randrange(*_DELAY_US)
        if rng.random() >= faults.reorder_chance:
            self._last_delivery_us = max(self._last_delivery_us, self._now_us() + delay_us)
            delay_us = self._last_delivery_us - self._now_us()
        elif self._ids is Ids.CONTIGUOUS:
            delay_us += rng.randrange(_LATE_US)  # REST may have it, or half of its fills, before
        if rng.random() < faults.wrong_time_chance:
            wrong_us = trade.time_us + rng.choice([-2, -1, 1]) * 2 * _DAY_US
            trade = msgspec.structs.replace(trade, time_us=wrong_us)
        copies = 2 if rng.random() < faults.duplicate_chance else 1
        for copy in range(copies):
            self._schedule(delay_us + copy * 50_000, "trade", self._delivery(trade, self._connection))

    def disconnect(self) -> None:
        """The connection stalls now; the daemon notices seconds later and connects again."""
        if not self._subscribed:
            return
        self._subscribed = False
        self._connection += 1
        # Frames without trades, one a second, show that everything sent before them has come.
        self._last_receipt_us = max(self._last_receipt_us, self._clock()[0] - self._rng.randrange(_SECOND_US))
        stalled_s = self._rng.choice([0.0, self._rng.uniform(0, 20)])
        self._schedule(int(stalled_s * _SECOND_US), "stream lost", self._lost)

    def fall_silent(self) -> None:
        """The connection lives, and trades of this instrument do not come any more."""
        self._silent = self._subscribed

    def resubscribe(self) -> None:
        """The daemon distrusts the subscription and makes a new one."""
        if self._subscribed:
            self._subscribed = False
            self._connection += 1
            self._lost()

    def send_huge_id(self) -> None:
        """One valid frame whose id no venue can have reached."""
        if self._subscribed and self._ids is Ids.CONTIGUOUS and self.market.trades:
            last = self.market.trades[-1]
            wrong_id = self._rng.choice([HUGE_ID, *(last.trade_id + jump for jump in _JUMPS)])
            wrong = Trade(wrong_id, self._now_us(), last.price, last.size, last.taker_buys)
            self._delivery(wrong, self._connection)()

    def _delivery(self, trade: Trade, connection: int) -> Callable[[], None]:
        def deliver() -> None:
            if connection != self._connection:
                return
            self.on_delivery(trade)
            now_us, wall_s = self._clock()
            self._last_receipt_us = now_us
            records = stream_records([trade])
            if not self._pipeline.instruments[self.instrument].take_next(records):
                self._pipeline.trades_received(self.instrument, [trade], now_us, wall_s)

        return deliver

    def _lost(self) -> None:
        self._pipeline.stream_lost(self.instrument, self._last_receipt_us, self._clock()[0])
        self._reconnect_later()

    def _reconnect_later(self) -> None:
        wait_us = int(self._rng.choice([0.1, 0.5, self._rng.uniform(0, 15)]) * _SECOND_US)
        self._schedule(wait_us, "subscribe", self._subscribe)

    def _subscribe(self) -> None:
        self._connection += 1
        self._subscribed, self._silent = True, False
        self._last_receipt_us = self._clock()[0]
        self._pipeline.subscribed(self.instrument, self._clock()[0])

    # ---------------------------------------------------------------- REST

    def request(self, request: Request) -> None:
        """Answers in its own time: soon, late, twice, with an error, or never."""
        rng, faults = self._rng, self.faults
        asked_at_us = self._clock()[0]
        if rng.random() < faults.rest_never_chance:
            return
        latency_s = rng.uniform(0.03, 0.5)
        if rng.random() < faults.rest_slow_chance:
            latency_s += rng.expovariate(1 / 60)
        latency_us = int(latency_s * _SECOND_US)
        if rng.random() < faults.rest_refused_chance:
            self._schedule(latency_us, "refusal", lambda: self._arrive(request, RequestFailed("HTTP 503")))
            return
        served_us = int(latency_us * rng.random())
        again_us = int(rng.uniform(0.1, 30) * _SECOND_US) if rng.random() < faults.rest_twice_chance else None
        self._schedule(served_us, "served", lambda: self._serve(request, asked_at_us, latency_us - served_us, again_us))

    def _serve(self, request: Request, asked_at_us: int, back_us: int, again_us: int | None) -> None:
        """The venue looks at its books now; the answer arrives ``back_us`` later, and perhaps once more."""
        match request:
            case SnapshotRequested():
                answer: Answer = self._snapshot(request)
            case RepairRequested():
                answer = self._repair(request, asked_at_us)
            case CandleRequested():
                answer = self._candle(request)
        name = type(request).__name__
        self._schedule(back_us, f"answer to {name}", lambda: self._arrive(request, answer))
        if again_us is not None:
            self._schedule(back_us + again_us, f"second answer to {name}", lambda: self._arrive(request, answer))

    def _arrive(self, request: Request, answer: Answer) -> None:
        self._pipeline.answer(request, answer, *self._clock())

    def _snapshot(self, request: SnapshotRequested) -> SequenceStart:
        books = self._books()
        page = [trade for trade in books if trade.time_us >= request.from_time_us]
        latest = None if page else books[-1:]
        return SequenceStart(page, latest[0] if latest else None)

    def _repair(self, request: RepairRequested, asked_at_us: int) -> TradesAnswer:
        trades, complete = self._found(request)
        if trades and self._rng.random() < self.faults.rest_truncated_chance:
            complete = False
            keep = self._rng.randrange(len(trades))
            trades = trades[keep:] if self._newest_first else trades[:keep]
        head_reached = request.until_id is None and (complete or self._newest_first)
        return TradesAnswer(trades, head_reached, complete, asked_at_us)

    def _books(self) -> list[Trade]:
        """The trades that an answer knows of: some are a moment behind the stream, in the middle of an order even."""
        now_us = self._now_us()
        behind = self._rng.random() < self.faults.rest_behind_chance
        recent = len(self.market.between(now_us - _BEHIND_US, now_us)) if behind else 0
        books = self.market.between(0, now_us)
        return books[: len(books) - self._rng.randrange(recent + 1)]

    def _found(self, request: RepairRequested) -> tuple[list[Trade], bool]:
        """The trades that the venue gives, and whether they are all that were asked for."""
        books = self._books()
        if request.from_id is not None:
            first = bisect_left(books, request.from_id, key=lambda trade: trade.trade_id)
            last_id = HUGE_ID * 10 if request.until_id is None else request.until_id
            last = bisect_left(books, last_id + 1, key=lambda trade: trade.trade_id)
            return books[first:last], True
        recent = books[-_RECENT_TRADES:]
        complete = len(recent) < _RECENT_TRADES or recent[0].time_us < request.after_us
        return [trade for trade in recent if trade.time_us >= request.after_us], complete

    def _candle(self, request: CandleRequested) -> CandleAnswer:
        candle = None
        if self._now_us() > request.open_us + self._interval_us + _SECOND_US:
            candle = self._candle_bar(request.open_us)
        return CandleAnswer(candle)

    def _candle_bar(self, open_us: int) -> Bar:
        trades = self.market.between(open_us, open_us + self._interval_us - 1)
        prices = [trade.price for trade in trades]
        return Bar(
            venue=self.instrument.venue,
            symbol=self.instrument.symbol,
            interval_us=self._interval_us,
            open_time_us=open_us,
            open=prices[0] if prices else None,
            high=max(prices, default=None),
            low=min(prices, default=None),
            close=prices[-1] if prices else None,
            volume=sum(trade.size for trade in trades),
            quote_volume=None,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=self._clock()[0],
        )

    def behave(self) -> None:
        """From now on nothing goes wrong any more."""
        self.faults = Faults()


def _merged(fills: list[Trade]) -> Trade:
    """One record of the stream for the fills of one order; its id is the last of theirs."""
    if len(fills) == 1:
        return fills[0]
    last = fills[-1]
    size = round(sum(fill.size for fill in fills), 3)
    return Trade(last.trade_id, last.time_us, last.price, size, last.taker_buys, len(fills), len(fills))
