"""RecordedTrades trades through the pipeline that runs live: no network, no waiting, the recording's own time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from daemon.exchanges.base import Ids, Traits
from daemon.forecasting.calibration import Calibration
from daemon.forecasting.engine import ForecastEngine
from daemon.forecasting.scoreboard import Scoreboard
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
from daemon.recordings import RecordedEvent, RecordedTrades, StreamLost, StreamRestored
from features.frames import bars_frame
from features.market import Bar, Instrument, interval_start
from models.specification import DEFAULT_HORIZONS, DEFAULT_LEVELS

_KIND = "har"


@dataclass(slots=True)
class ReplayResult:
    """What came out: the last revision of each bar, and the forecasts as published, oldest first."""

    bars: dict[tuple[Instrument, int], Bar] = field(default_factory=dict)
    forecasts: list[bytes] = field(default_factory=list)
    trades: int = 0
    duplicates: int = 0


class Replay:
    """One run over one recording. ``traits``: of every venue among the instruments.

    Time is that of the newest trade: recorders' clocks may be wrong. It passes from the end of one bar's wait for
    proof to the next.
    """

    def __init__(self, instruments: list[Instrument], *, interval_us: int, traits: Mapping[str, Traits]) -> None:
        self.result = ReplayResult()
        self._interval_us = interval_us
        self._traits = traits
        # A recording answers no requests: no bar waits for answers after the start.
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
        """Feeds all that happened in its order, then closes the last interval, unproven as its end was not seen."""
        for each in recording:
            instrument = Instrument(venue_name, each.symbol)
            match each:
                case RecordedTrades():
                    self._take(instrument, each)
                case StreamLost():
                    self._pipeline.stream_lost(instrument, each.complete_until_us, self._now_us)
                case StreamRestored():
                    self._pipeline.subscribed(instrument, each.at_us)
            self._act()
        self._end()
        return self.result

    @property
    def _wall_s(self) -> float:
        return self._now_us / 1e6

    def _take(self, instrument: Instrument, recorded: RecordedTrades) -> None:
        self._advance(max(trade.time_us for trade in recorded.trades))
        if self._pipeline.instruments[instrument].warm:
            self._pipeline.trades_received(instrument, recorded.trades, self._now_us, self._wall_s)
        else:
            self._seed(instrument, recorded)

    def _seed(self, instrument: Instrument, recorded: RecordedTrades) -> None:
        """Starts a sequence with its first trades.

        Venues begin a subscription with trades that are hours old. Trades from before the interval of their receipt
        would open incomplete bars: of them only the last id counts, where the next trade joins.
        """
        page, from_us = recorded.trades, None
        if recorded.received_us is not None and recorded.since_us is not None:
            open_us = interval_start(recorded.received_us, self._interval_us)
            page = [trade for trade in page if trade.time_us >= min(open_us, recorded.since_us)]
            from_us = None if page else open_us
        if from_us is None:
            from_us = interval_start(min(trade.time_us for trade in page), self._interval_us)
        self._pipeline.snapshot_received(
            instrument,
            page,
            None if page else recorded.trades[-1],
            from_time_us=from_us,
            now_us=self._now_us,
            wall_s=self._wall_s,
            # What the first bar holds of its interval is not known. Without ids no bar is ever proven anyway.
            complete=self._traits[instrument.venue].ids is not Ids.CONTIGUOUS,
        )
        self._note_due()

    def _advance(self, to_us: int) -> None:
        """Lets time pass, stopping where a bar's wait for proof ends."""
        while self._due_us <= to_us:
            self._now_us = max(int(self._due_us), self._now_us + 1)
            self._pass_time()
        self._now_us = max(self._now_us, to_us)

    def _pass_time(self) -> None:
        """Past the series without a start: they would ask for one, and a recording cannot be asked."""
        for series in self._pipeline.instruments.values():
            if series.warm:
                series.time_advanced(self._now_us, self._wall_s)
        self._act()
        self._note_due()

    def _note_due(self) -> None:
        closes = (series.next_close_us for series in self._pipeline.instruments.values() if series.warm)
        self._due_us = min(closes, default=inf) + self._wait_us

    def _end(self) -> None:
        started = [series for series in self._pipeline.instruments.values() if series.warm]
        newest_us = max((series.last_trade_at_us or 0 for series in started), default=0)
        ends = [interval_start(newest_us, self._interval_us) + self._interval_us]
        self._advance(max(ends + [series.next_close_us for series in started]) + self._wait_us)
        self._pass_time()
        self.result.trades = sum(series.trades for series in started)
        self.result.duplicates = sum(series.duplicates for series in started)

    def _act(self) -> None:
        while self._pipeline.has_events:
            for event in self._pipeline.events():
                self._heed(event)

    def _heed(self, event: Event) -> None:
        match event:
            case BarClosed(bar=bar):
                self.result.bars[bar.instrument, bar.open_time_us] = bar
                self._note_due()
            case BarRevised(bar=bar):
                self._revise(bar)
            case RoundClosed():
                made = self._engine.close_bars(event.close_time_us, event.bars)
                self._pipeline.forecasts_made(made, now_us=self._now_us)
            case ForecastIssued(issued=issued):
                self.result.forecasts.append(payloads.forecast(issued))
            case RepairRequested():
                reason = "a recording cannot be asked"
                self._pipeline.request_failed(event.instrument, reason, self._now_us, self._wall_s)
            case CandleRequested():
                self._pipeline.candles_unavailable(event.instrument, self._wall_s)
            case _:
                pass

    def _revise(self, bar: Bar) -> None:
        """Most revisions only prove the bar: no feature changes, and computing them again is what costs."""
        key = bar.instrument, bar.open_time_us
        told, self.result.bars[key] = self.result.bars[key], bar
        if not bars_frame([told]).equals(bars_frame([bar])):
            self._engine.revise(bar)
