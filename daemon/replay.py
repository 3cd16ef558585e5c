"""Recorded trades through the pipeline that runs live: no network, no waiting, the recording's own time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from daemon.events import BarClosed, BarRevised, ForecastIssued, RepairWanted, RoundClosed, SeedWanted
from daemon.forecasting.engine import ForecastEngine
from daemon.forecasting.scoreboard import Scoreboard
from daemon.liveness import Patience
from daemon.pipeline import Pipeline
from daemon.publishing import payloads
from daemon.recordings import Recorded
from features.market import Bar, Instrument, Trade, interval_start
from models.specification import DEFAULT_HORIZONS, DEFAULT_LEVELS

_DECIMALS = 8
_KIND = "har"


@dataclass(slots=True)
class Replayed:
    """What came out: the last revision of each bar, and the forecasts as published, oldest first."""

    bars: dict[tuple[Instrument, int], Bar] = field(default_factory=dict)
    forecasts: list[bytes] = field(default_factory=list)
    trades: int = 0
    duplicates: int = 0


class Replay:
    """One run over one recording."""

    def __init__(self, instruments: list[Instrument], *, interval_us: int) -> None:
        self.result = Replayed()
        self._interval_us = interval_us
        self._wait_us = min(30_000_000, interval_us // 10)
        self._pipeline = Pipeline(
            instruments,
            interval_us=interval_us,
            decimals=_DECIMALS,
            patience=Patience(grace_us=self._wait_us // 2, proof_wait_us=self._wait_us),
            scoreboard=Scoreboard(interval_us=interval_us, levels=DEFAULT_LEVELS),
        )
        self._engine = ForecastEngine(
            instruments, interval_us=interval_us, kind=_KIND, horizons=DEFAULT_HORIZONS, levels=DEFAULT_LEVELS
        )
        self._now_us = 0

    def run(self, recording: Iterable[Recorded], venue_name: str) -> Replayed:
        """Feeds every trade in its order, then closes the last interval, unproven as its end was not seen."""
        for symbol, trades in recording:
            instrument = Instrument(venue_name, symbol)
            self._advance(trades[-1].time_us)
            if self._pipeline.series[instrument].warm:
                self._pipeline.trades_received(instrument, trades, self._now_us, self._wall_s)
            else:
                self._seed(instrument, trades)
            self._act()
        last_close_us = max(series.next_close_us for series in self._pipeline.series.values())
        self._advance(last_close_us + self._wait_us)
        for series in self._pipeline.series.values():
            self.result.trades += series.trades
            self.result.duplicates += series.duplicates
        return self.result

    @property
    def _wall_s(self) -> float:
        return self._now_us / 1e6

    def _seed(self, instrument: Instrument, trades: list[Trade]) -> None:
        self._pipeline.seeded(
            instrument,
            trades,
            None,
            from_time_us=interval_start(trades[0].time_us, self._interval_us),
            now_us=self._now_us,
            wall_s=self._wall_s,
            whole=False,
        )

    def _advance(self, to_us: int) -> None:
        """Lets time pass, stopping where a bar's wait for proof ends."""
        while self._now_us < to_us:
            due_us = min(
                (s.next_close_us + self._wait_us for s in self._pipeline.series.values() if s.warm), default=to_us
            )
            self._now_us = min(to_us, max(due_us, self._now_us + 1))
            self._pipeline.time_advanced(self._now_us, self._wall_s)
            self._act()

    def _act(self) -> None:
        while events := self._pipeline.events():
            for event in events:
                match event:
                    case BarClosed(bar=bar) | BarRevised(bar=bar):
                        self.result.bars[bar.instrument, bar.open_time_us] = bar
                        if isinstance(event, BarRevised):
                            self._engine.revise(bar)
                    case RoundClosed():
                        made = self._engine.close_bars(event.close_time_us, event.bars)
                        self._pipeline.forecast_made(made, now_us=self._now_us)
                    case ForecastIssued(issued=issued):
                        self.result.forecasts.append(payloads.forecast(issued))
                    case SeedWanted() | RepairWanted():
                        self._pipeline.request_failed(
                            event.instrument, "a recording cannot be asked", self._now_us, self._wall_s
                        )
                    case _:
                        pass
