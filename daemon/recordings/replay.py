"""Replay: runs a recording through the live pipeline, in the recording's own time and without waiting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from daemon.exchanges.base import Ids, Traits
from daemon.forecasting.calibration import Calibration
from daemon.forecasting.engine import ForecastEngine
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.answers import CandlesUnavailable, RequestFailed, SequenceStart
from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    CandleRequested,
    Event,
    ForecastIssued,
    RepairRequested,
    RoundClosed,
)
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import timeouts_for_bars
from daemon.publishing import payloads
from daemon.recordings import RecordedEvent, RecordedTrades, RecordingRefused, StreamLost, StreamRestored
from daemon.timestamps import iso
from features.frames import bars_frame
from features.market import Bar, Instrument, Trade, interval_start
from models.specification import DEFAULT_HORIZONS, DEFAULT_LEVELS

_KIND = "har"
_MOST_SILENT_BARS = 1_000_000  # in a row: eleven days of seconds, a century of hours; a few minutes of work
_SNAPSHOT_BARS = 1_000  # bars before the receipt that a snapshot may open; a dead market's would reach back for years


@dataclass(slots=True)
class ReplayResult:
    """The last revision of each bar, and the forecasts as published, oldest first."""

    bars: dict[tuple[Instrument, int], Bar] = field(default_factory=dict)
    forecasts: list[bytes] = field(default_factory=list)
    trades: int = 0
    duplicates: int = 0


class Replay:
    """One run over one recording. ``traits``: of every venue among the instruments.

    Market time is the time of the newest trade, as recorders' clocks may be wrong. It advances in steps that stop at
    the end of each bar's wait for proof.
    """

    def __init__(self, instruments: list[Instrument], *, interval_us: int, traits: Mapping[str, Traits]) -> None:
        self.result = ReplayResult()
        self._interval_us = interval_us
        self._traits = traits
        # A recording answers no requests: bars do not wait for answers after the start.
        timeouts = timeouts_for_bars(interval_us, catch_up_s=0.0)
        self._wait_us = timeouts.proof_wait_us
        self._pipeline = Pipeline(
            instruments,
            interval_us=interval_us,
            traits=traits,
            timeouts=timeouts,
            scoreboard=Scoreboard(
                interval_us=interval_us,
                levels=DEFAULT_LEVELS,
                calibration=Calibration(interval_us=interval_us, horizons=DEFAULT_HORIZONS, levels=DEFAULT_LEVELS),
            ),
        )
        self._engine = ForecastEngine(
            instruments, interval_us=interval_us, kind=_KIND, horizons=DEFAULT_HORIZONS, levels=DEFAULT_LEVELS
        )
        self._now_us = 0
        self._due_us: float = inf

    def run(self, recording: Iterable[RecordedEvent], venue_name: str) -> ReplayResult:
        """Processes all events in order, then closes the last interval, unproven as its end is missing."""
        for each in recording:
            instrument = Instrument(venue_name, each.symbol)
            match each:
                case RecordedTrades():
                    self._trades_recorded(instrument, each)
                case StreamLost():
                    self._pipeline.stream_lost(instrument, each.complete_until_us, self._now_us)
                case StreamRestored():
                    self._pipeline.subscribed(instrument, each.at_us)
            self._handle_events()
        self._finish()
        return self.result

    @property
    def _wall_s(self) -> float:
        return self._now_us / 1e6

    def _trades_recorded(self, instrument: Instrument, recorded: RecordedTrades) -> None:
        self._advance(max(trade.time_us for trade in recorded.trades))
        if self._pipeline.instruments[instrument].warm:
            self._pipeline.trades_received(instrument, recorded.trades, self._now_us, self._wall_s)
        else:
            self._start_sequence(instrument, recorded)

    def _start_sequence(self, instrument: Instrument, recorded: RecordedTrades) -> None:
        """Starts a sequence with its first trades.

        Venues begin a subscription with trades that may be hours old. Where ids are contiguous, those of a snapshot
        that follow one another make bars. Other trades from before the interval of their receipt would open incomplete
        bars: only the last of their ids is used, so that the next trade continues the sequence.
        """
        page, from_us = recorded.trades, None
        if recorded.received_us is not None and recorded.since_us is not None:
            open_us = interval_start(recorded.received_us, self._interval_us)
            since_us: float = min(open_us, recorded.since_us)
            if self._traits[instrument.venue].ids is Ids.CONTIGUOUS:
                since_us = min(since_us, _joined_since(page, open_us - _SNAPSHOT_BARS * self._interval_us))
            page = [trade for trade in page if trade.time_us >= since_us]
            from_us = None if page else open_us
        if from_us is None:
            from_us = interval_start(min(trade.time_us for trade in page), self._interval_us)
        # The first bar may lack the beginning of its interval. Without contiguous ids no bar is proven anyway.
        complete = self._traits[instrument.venue].ids is not Ids.CONTIGUOUS
        start = SequenceStart(list(page), None if page else recorded.trades[-1], complete)
        self._pipeline.start_sequence(instrument, start, from_time_us=from_us, now_us=self._now_us, wall_s=self._wall_s)
        self._update_due()

    def _advance(self, to_us: int) -> None:
        """Advances market time, with a step at the end of each bar's wait for proof."""
        silent = (to_us - self._due_us) / self._interval_us * len(self._pipeline.instruments)
        if silent > _MOST_SILENT_BARS:
            raise RecordingRefused(
                f"no trades from {iso(self._now_us)} to {iso(to_us)}, which is {silent:,.0f} bars: correct the times, "
                "or take a longer --interval"
            )
        while self._due_us <= to_us:
            self._now_us = max(int(self._due_us), self._now_us + 1)
            self._time_advanced()
        self._now_us = max(self._now_us, to_us)

    def _time_advanced(self) -> None:
        """Advances the instruments that have a start; the others would request one, which a recording cannot answer."""
        for each in self._pipeline.instruments.values():
            if each.warm:
                each.time_advanced(self._now_us, self._wall_s)
        self._handle_events()
        self._update_due()

    def _update_due(self) -> None:
        closes = (each.next_close_us for each in self._pipeline.instruments.values() if each.warm)
        self._due_us = min(closes, default=inf) + self._wait_us

    def _finish(self) -> None:
        started = [each for each in self._pipeline.instruments.values() if each.warm]
        newest_us = max((each.last_trade_at_us or 0 for each in started), default=0)
        ends = [interval_start(newest_us, self._interval_us) + self._interval_us]
        self._advance(max(ends + [each.next_close_us for each in started]) + self._wait_us)
        self._time_advanced()
        self.result.trades = sum(each.trades for each in started)
        self.result.duplicates = sum(each.duplicates for each in started)

    def _handle_events(self) -> None:
        while self._pipeline.has_events:
            for event in self._pipeline.events():
                self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case BarClosed(bar=bar):
                self.result.bars[bar.instrument, bar.open_time_us] = bar
                self._pipeline.unsaved_trades([bar.instrument])  # taken and dropped: a replay has no store
                self._update_due()
            case BarRevised(bar=bar):
                self._revise(bar)
            case RoundClosed():
                forecasts = self._engine.close_bars(event.close_time_us, event.bars)
                self._pipeline.forecasts_made(forecasts, now_us=self._now_us)
                self._pipeline.round_done(event)
            case ForecastIssued(issued=issued):
                self.result.forecasts.append(payloads.forecast(issued))
            case RepairRequested():
                failed = RequestFailed("a recording answers no requests")
                self._pipeline.answer(event, failed, self._now_us, self._wall_s)
            case CandleRequested():
                self._pipeline.answer(event, CandlesUnavailable(), self._now_us, self._wall_s)
            case _:
                pass

    def _revise(self, bar: Bar) -> None:
        """Recomputes features only if a value changed: most revisions only change the completeness."""
        key = bar.instrument, bar.open_time_us
        previous, self.result.bars[key] = self.result.bars[key], bar
        if not bars_frame([previous]).equals(bars_frame([bar])):
            self._engine.revise(bar)


def _joined_since(trades: Sequence[Trade], earliest_us: int) -> float:
    """The time of the first of the trades at the end that follow one another by id, from ``earliest_us`` on.

    Infinite for a single one: it covers no interval.
    """
    first = len(trades) - 1
    while first > 0 and trades[first - 1].trade_id == trades[first].trade_id - trades[first].span:
        if trades[first - 1].time_us < earliest_us:
            break
        first -= 1
    return trades[first].time_us if first < len(trades) - 1 else inf
