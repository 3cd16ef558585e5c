"""One simulated world: instruments, venues, store, process and time, all decided by one seed."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from daemon.exchanges.base import Ids
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    CandleRequested,
    FeedSilent,
    RepairRequested,
    SnapshotRequested,
)
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import Timeouts
from daemon.runtime.restore import discard_future, restore_pipeline
from features.market import Completeness, Instrument, Trade
from tests.daemon.pipeline.stream_records import traits_of
from tests.simulation.faults import Faults, draw_faults
from tests.simulation.invariants import BarChecker, InvariantBroken
from tests.simulation.market import Market
from tests.simulation.store import SimulatedStore
from tests.simulation.timekeeping import SimulatedTime
from tests.simulation.venue import SimulatedVenue

_START_US = 1_700_000_000_000_000 // 60_000_000 * 60_000_000
_SECOND_US = 1_000_000
_TICK_US = 500_000
_FLUSH_US = 1_000_000
_KEPT_BARS = 80
_CLOCK_ERROR_US = 200_000
_TIME_SAMPLES_US = 2_000_000
_LIE_S = (10.0, 180.0)
_MOST_AHEAD_US = 600_000  # of market time: half of the longest round trip, and half a second of whole-second answers
_MOST_CORRECTING_S = 3600
_BEFORE_US = 3_600_000_000  # of history at the start
_CALM_S = 240
_TRACED = 60
_STEPS_AT_ONCE = 32
_SETTLED = {Completeness.PROVEN, Completeness.EMPTY}


class VenueKind(NamedTuple):
    """ids: what they prove. merges: whether the stream merges fills. newest_first: which part of a cut answer comes."""

    ids: Ids
    merges: bool = False
    newest_first: bool = False


VENUES = {
    "contiguous": VenueKind(Ids.CONTIGUOUS),
    "contiguous_newest_first": VenueKind(Ids.CONTIGUOUS, newest_first=True),
    "merged": VenueKind(Ids.CONTIGUOUS, merges=True),
    "ordered": VenueKind(Ids.ORDERED, newest_first=True),
    "identity": VenueKind(Ids.IDENTITY, newest_first=True),
}


class World:
    """``run`` plays it; a broken promise is an InvariantBroken, and ``trace`` holds what happened last."""

    def __init__(self, seed: int, *, without: frozenset[str] = frozenset()) -> None:
        self.seed = seed
        self.now_us = _START_US
        self.trace: deque[str] = deque(maxlen=_TRACED)
        rng = random.Random(seed)
        self.faults: Faults = draw_faults(rng, without=without)
        self._rng = rng
        self._rng_time = random.Random(f"clock {seed}")
        self._interval_us = rng.choice([10, 10, 10, 60]) * _SECOND_US
        clock_error_us = rng.randrange(-_CLOCK_ERROR_US, _CLOCK_ERROR_US)
        self._heap: list[tuple[int, int, int, str, Callable[[], None]]] = []
        self._count = 0
        self._process = 0  # which life of the daemon; what an earlier one waited for died with it
        self._store = SimulatedStore()
        self._venues: dict[Instrument, SimulatedVenue] = {}
        self._checkers: dict[Instrument, BarChecker] = {}
        for number, name in enumerate(rng.sample(list(VENUES), rng.randrange(1, 3))):
            self._add_instrument(Instrument(name, f"S{number}-USD"), VENUES[name])
        self._at_random(lambda: self.faults.kills_per_minute, "kill", self._kill)
        self._at_random(lambda: self.faults.store_stalls_per_minute, "store stalls", self._stall_store)
        venues = [each.venue for each in self._venues]
        self._time = SimulatedTime(random.Random(f"time {seed}"), venues, error_us=clock_error_us)
        self._start_process()
        self._every(_TIME_SAMPLES_US, "time samples", self._sample_times)
        self._at_random(lambda: self.faults.time_lies_per_minute, "time lie", self._lie)
        self._at_random(lambda: self.faults.pauses_per_minute, "pause", self._time.pause_machine)
        self._every(_TICK_US, "tick", self._tick)
        self._every(_FLUSH_US, "flush", self._flush)
        self._every(self._interval_us * _KEPT_BARS // 4, "forget", self._forget)

    @property
    def bars(self) -> int:
        return sum(checker.bars for checker in self._checkers.values())

    @property
    def proven(self) -> int:
        return sum(checker.proven for checker in self._checkers.values())

    def run(self, bars: int) -> None:
        """Plays until so many bars have closed, then lets the world behave and asks that everything recovers."""
        while self.bars < bars:
            for _ in range(_STEPS_AT_ONCE):
                self._step()
        for venue in self._venues.values():
            venue.behave()
        self.faults = Faults()
        self._time.tell_the_truth()
        self._until_time_is_right()
        until_us = self.now_us + _CALM_S * _SECOND_US
        while self.now_us < until_us:
            self._step()
        self._demand_recovery()

    # ---------------------------------------------------------------- set-up

    def _add_instrument(self, instrument: Instrument, kind: VenueKind) -> None:
        ids = kind.ids
        market = Market(
            random.Random(self._rng.random()),
            ids,
            interval_us=self._interval_us,
            start_us=_START_US - _BEFORE_US,
            merges=kind.merges,
        )
        self._checkers[instrument] = BarChecker(market, ids, loses_silently=self.faults.loses_silently)
        venue = self._venues[instrument] = SimulatedVenue(
            instrument,
            market,
            ids,
            self.faults,
            random.Random(self._rng.random()),
            interval_us=self._interval_us,
            merges=kind.merges,
            newest_first=kind.newest_first,
            schedule=self._schedule_in_process,
            now_us=lambda: self.now_us,
            clock=self._clock,
        )
        venue.on_delivery = lambda trade: self._time.trade_received(instrument.venue, trade.time_us, self.now_us)
        while (trade := market.next_trade()).time_us < _START_US or market.fills_left:
            pass
        self._schedule(trade.time_us - _START_US, "trade happens", lambda: self._trade_happens(venue, trade))
        self._at_random(lambda: self.faults.disconnects_per_minute, "disconnect", venue.disconnect)
        self._at_random(lambda: self.faults.silences_per_minute, "silence", venue.fall_silent)
        self._at_random(lambda: self.faults.huge_ids_per_minute, "huge id", venue.send_huge_id)

    def _start_process(self) -> None:
        self._process += 1
        self._pipeline = Pipeline(
            tuple(self._venues),
            interval_us=self._interval_us,
            traits={
                each.venue: traits_of(VENUES[each.venue].ids, merges=VENUES[each.venue].merges) for each in self._venues
            },
            timeouts=Timeouts(grace_us=self._interval_us // 20, proof_wait_us=self._interval_us // 10),
            scoreboard=Scoreboard(interval_us=self._interval_us, levels=(0.025, 0.1, 0.5, 0.9, 0.975)),
        )
        self._begin_time()
        discard_future(self._store, self._pipeline.instruments[next(iter(self._venues))].timeouts, self._clock()[0])  # type: ignore[arg-type]
        restore_pipeline(self._pipeline, self._store, tuple(self._venues), self._clock()[0])  # type: ignore[arg-type]
        for venue in self._venues.values():
            venue.start(self._pipeline)

    # ---------------------------------------------------------------- time

    def _clock(self) -> tuple[int, float]:
        """Market time as the daemon has it, and wall time."""
        return self._time.market_us(self.now_us), (self.now_us - _START_US) / _SECOND_US

    def _schedule(self, after_us: int, name: str, call: Callable[[], None], process: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_us + after_us, self._count, process, name, call))

    def _schedule_in_process(self, after_us: int, name: str, call: Callable[[], None]) -> None:
        self._schedule(after_us, name, call, self._process)

    def _every(self, period_us: int, name: str, call: Callable[[], None]) -> None:
        def repeat() -> None:
            call()
            self._schedule(period_us, name, repeat)

        self._schedule(period_us, name, repeat)

    def _at_random(self, per_minute: Callable[[], float], name: str, call: Callable[[], None]) -> None:
        def happen() -> None:
            if per_minute():
                self.trace.append(f"{self._at()} {name}")
                call()
                wait()

        def wait() -> None:
            if per_minute():
                after_us = int(self._rng.expovariate(per_minute() / 60) * _SECOND_US)
                self._schedule(after_us, name, happen)

        wait()

    def _step(self) -> None:
        at_us, _, process, name, call = heapq.heappop(self._heap)
        self.now_us = max(self.now_us, at_us)
        if process not in {0, self._process}:
            return
        if process and name != "trade":
            self.trace.append(f"{self._at()} {name}")
        call()
        if self._pipeline.has_events:
            self._handle_events()

    def _at(self) -> str:
        return f"{(self.now_us - _START_US) / _SECOND_US:10.3f}"

    # ---------------------------------------------------------------- what happens

    def _trade_happens(self, venue: SimulatedVenue, trade: Trade) -> None:
        """The stream has the trade, and the next one is drawn: the market holds one trade of the future."""
        venue.traded(trade)
        following = venue.market.next_trade()
        self._schedule(
            max(following.time_us - self.now_us, 0),
            "trade happens",
            lambda: self._trade_happens(venue, following),
        )

    def _tick(self) -> None:
        self._pipeline.time_advanced(*self._clock())

    def _begin_time(self) -> None:
        wrong = not self._time.lying and self._rng_time.random() < self.faults.wrong_start_share
        newest = {each.venue: venue.market.between(0, self.now_us)[-1].time_us for each, venue in self._venues.items()}
        self._time.begin(self.now_us, newest, wrong=wrong)

    def _sample_times(self) -> None:
        if self._time.sample_times(self.now_us).restart:
            self._kill()

    def _lie(self) -> None:
        self._time.lie()
        self._schedule(int(self._rng_time.uniform(*_LIE_S) * _SECOND_US), "time truth", self._time.tell_the_truth)

    def _until_time_is_right(self) -> None:
        """In a quiet market it takes some trades until a wrong clock is corrected."""
        until_us = self.now_us + _MOST_CORRECTING_S * _SECOND_US
        while abs(self._time.market_us(self.now_us) - self.now_us) > _MOST_AHEAD_US:
            if self.now_us > until_us:
                raise InvariantBroken(f"market time is {self._time.market_us(self.now_us) - self.now_us} us off")
            self._step()

    def _flush(self) -> None:
        for instrument, trades, state in self._pipeline.unsaved_trades():
            self._store.save_trades(instrument, trades, state)

    def _forget(self) -> None:
        for venue in self._venues.values():
            venue.market.forget_before(self.now_us - _KEPT_BARS * self._interval_us)
        self._store.forget_before(self.now_us - _KEPT_BARS * self._interval_us)

    def _kill(self) -> None:
        if self._rng.random() < self.faults.power_cut_share:
            self._store.cut_power(self._rng)
        self._store.lose_waiting()
        for checker in self._checkers.values():
            checker.restarted()
        self._start_process()

    def _stall_store(self) -> None:
        self._store.stall()
        self._schedule_in_process(int(self._rng.uniform(0, 40) * _SECOND_US), "store goes on", self._store.go_on)

    def _handle_events(self) -> None:
        events = self._pipeline.events()
        closed = dict.fromkeys(event.bar.instrument for event in events if isinstance(event, BarClosed | BarRevised))
        for instrument, trades, state in self._pipeline.unsaved_trades(closed):
            self._store.save_trades(instrument, trades, state)
        for event in events:
            if self._rng.random() < self.faults.killed_between_events_chance:
                self.trace.append(f"{self._at()} killed between events")
                self._kill()
                return
            self._note(event)
            match event:
                case BarClosed(bar=bar) | BarRevised(bar=bar):
                    self._store.save_bar(bar)
                    checker = self._checkers[bar.instrument]
                    latest_us = self.now_us + _MOST_AHEAD_US
                    (checker.closed if isinstance(event, BarClosed) else checker.revised)(bar, latest_us)
                case SnapshotRequested() | RepairRequested() | CandleRequested():
                    self._venues[event.instrument].request(event)
                case FeedSilent():
                    self._venues[event.instrument].resubscribe()
                case _:
                    pass

    def _note(self, event: Any) -> None:
        match event:
            case BarClosed(bar=bar) | BarRevised(bar=bar):
                what = f"{bar.label} {bar.completeness} {bar.trades} trades, {bar.missing_trades} missing"
            case _:
                what = str(event)[:160]
        self.trace.append(f"{self._at()} {type(event).__name__} {what}")

    def _demand_recovery(self) -> None:
        """After some minutes without faults every instrument closes its bars in time, and proven where ids allow."""
        for instrument, checker in self._checkers.items():
            checker.settled()
            pipeline = self._pipeline.instruments[instrument]
            if pipeline.next_close_us < self.now_us - self._interval_us:
                raise InvariantBroken(f"{instrument} stands still: its next bar should have closed long ago")
            last = self._pipeline.last_bar(instrument)
            if VENUES[instrument.venue].ids is Ids.CONTIGUOUS:
                if pipeline.missing_trades:
                    raise InvariantBroken(f"{instrument} still reports {pipeline.missing_trades} missing trades")
                if last is None or last.completeness not in _SETTLED:
                    raise InvariantBroken(f"{instrument} closes bars {last and last.completeness} without any fault")
