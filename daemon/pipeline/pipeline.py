"""Sans-I/O pipeline of all instruments: trades, REST answers, forecasts and time go in, events come out.

Its inputs (``trades_received``, ``answer``, ``forecasts_made``, ``time_advanced`` and the others) may be called in any
order. After each, ``events()`` returns what happened, oldest first, once. Demo, replay and live run differ only in
their sources and their clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from daemon.exchanges.base import Traits
from daemon.forecasting.records import DataQuality, IssuedForecast, Latency
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.answers import Answer, SequenceStart
from daemon.pipeline.events import (
    BarClosed,
    BarRevised,
    Event,
    ForecastIssued,
    ForecastsScored,
    Request,
    RoundClosed,
)
from daemon.pipeline.instrument import InstrumentPipeline
from daemon.pipeline.instrument_state import InstrumentState
from daemon.pipeline.round_collector import RoundCollector
from daemon.pipeline.sequence import SequenceState
from daemon.pipeline.timeouts import Timeouts
from features.market import Bar, Instrument, Trade

if TYPE_CHECKING:
    from daemon.forecasting.rounds import InstrumentForecast, RoundForecasts

_MAX_STARTS = 2048  # closes whose forecast is not made yet: twice the rounds that can wait for the device


class Pipeline:
    """All instruments of one daemon, their rounds, and the forecasts that are issued for them."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        *,
        interval_us: int,
        traits: Mapping[str, Traits],
        timeouts: Timeouts,
        scoreboard: Scoreboard,
        wait_for_leaders: bool = False,
    ) -> None:
        """``traits``: by venue, for every venue of ``instruments``. ``wait_for_leaders``: see ``RoundCollector``."""
        self.interval_us = interval_us
        self.scoreboard = scoreboard
        self._events: list[Event] = []
        self._collected = 0
        self._tick_due_us: int | None = None
        self._tick_slack_us = 0
        self._instruments: dict[Instrument, InstrumentPipeline] = {
            instrument: InstrumentPipeline(
                InstrumentState(
                    instrument,
                    interval_us=interval_us,
                    traits=traits[instrument.venue],
                    timeouts=timeouts,
                    events=self._events,
                )
            )
            for instrument in instruments
        }
        self._rounds = RoundCollector(self._instruments, wait_for_leaders=wait_for_leaders)
        self._now_us = 0
        self._unscored: list[Bar] = []
        self._last_bars: dict[Instrument, Bar] = {}
        self._reference_prices: dict[Instrument, float] = {}
        self._forecast_starts: dict[int, dict[Instrument, tuple[Bar, float | None]]] = {}
        self.clock_skew_ms: dict[str, int] = {}  # by venue

    # ---------------------------------------------------------------- state

    @property
    def instruments(self) -> Mapping[Instrument, InstrumentPipeline]:
        return self._instruments

    @property
    def has_events(self) -> bool:
        """Whether ``events`` would return something, or bars are still to be scored."""
        return bool(self._events or self._unscored) or self._rounds.is_due(self._now_us)

    @property
    def forecasts_waiting(self) -> int:
        """Bars whose forecast may still be made."""
        return sum(map(len, self._forecast_starts.values()))

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Replaces the timeouts of every instrument."""
        for each in self._instruments.values():
            each.timeouts = timeouts

    def last_bar(self, instrument: Instrument) -> Bar | None:
        return self._last_bars.get(instrument)

    def reference_price(self, instrument: Instrument) -> float | None:
        """The close of the last bar with a trade."""
        return self._reference_prices.get(instrument)

    # ---------------------------------------------------------------- inputs

    def set_last_bar(self, bar: Bar) -> None:
        """Sets an instrument's last bar; at a start, so that an empty first bar has a reference price."""
        self._last_bars[bar.instrument] = bar
        if bar.close is not None:
            self._reference_prices[bar.instrument] = bar.close

    def set_earlier_close(self, instrument: Instrument, close: float) -> None:
        """Sets the last close before the live bars: what these refer to until the first live trade."""
        self._reference_prices.setdefault(instrument, close)
        for starts in self._forecast_starts.values():
            bar, price = starts.get(instrument, (None, None))
            if bar is not None and price is None:
                starts[instrument] = (bar, close)

    def resume(
        self,
        instrument: Instrument,
        stored: SequenceState,
        trades: Sequence[Trade],
        *,
        first_open_us: int,
        published: Sequence[Bar] = (),
    ) -> None:
        """Resumes an instrument from the store; see ``InstrumentPipeline.resume``."""
        self._instruments[instrument].resume(stored, trades, first_open_us=first_open_us, published=published)

    def trades_received(self, instrument: Instrument, trades: Sequence[Trade], now_us: int, wall_s: float) -> None:
        """Trades of one instrument from the stream, in the venue's order; see ``InstrumentPipeline.take_next``."""
        self._set_time(now_us)
        self._instruments[instrument].trades_received(trades, now_us, wall_s)

    def subscribed(self, instrument: Instrument, now_us: int) -> None:
        """The stream delivers the instrument's trades from now on."""
        self._instruments[instrument].subscribed(now_us)

    def stream_lost(self, instrument: Instrument, complete_until_us: int, now_us: int) -> None:
        """The instrument's stream was lost; its trades are complete only up to ``complete_until_us``."""
        self._instruments[instrument].stream_lost(complete_until_us, now_us)

    def start_sequence(
        self, instrument: Instrument, start: SequenceStart, *, from_time_us: int, now_us: int, wall_s: float
    ) -> None:
        """Starts a sequence without a request; see ``RestAnswers.start_sequence``."""
        self._instruments[instrument].answers.start_sequence(
            start, from_time_us=from_time_us, now_us=now_us, wall_s=wall_s
        )

    def answer(self, request: Request, answer: Answer, now_us: int, wall_s: float) -> None:
        """What REST returned for ``request``; see ``RestAnswers.answer``."""
        self._set_time(now_us)
        self._instruments[request.instrument].answers.answer(request, answer, now_us, wall_s)

    def request_pending(self, request: Request, wall_s: float) -> None:
        """The edge still works on ``request``, so that it is not given up; to be called every few seconds."""
        self._instruments[request.instrument].answers.request_pending(request, wall_s)

    def rebuild(self, bar: Bar, trades: Sequence[Trade]) -> None:
        """Rebuilds a closed bar from the venue's trades, which differ from the received ones."""
        self._instruments[bar.instrument].rebuild(bar.open_time_us, trades)

    def replace_with_candle(self, candle: Bar) -> None:
        """Replaces a closed bar whose trades are not proven by the venue's final candle, which differs."""
        self._instruments[candle.instrument].replace_with_candle(candle)

    def symbol_listed(self, instrument: Instrument, now_us: int, *, unlisted: str | None) -> None:
        """The venue lists the instrument, or does not for the reason ``unlisted``."""
        self._instruments[instrument].listed(now_us, unlisted=unlisted)

    def expect_tick(self, due_us: int, *, slack_us: int) -> None:
        """The next ``time_advanced`` is due at ``due_us``, give or take ``slack_us``; without a call none is expected.

        Where any input comes later than that, the daemon did not run meanwhile (a suspended machine, a stalled
        process): it has neither read what the venue sent nor asked for anything. Bars that ended have what was left of
        their wait for proof from then on.
        """
        self._tick_due_us, self._tick_slack_us = due_us, slack_us

    def time_advanced(self, now_us: int, wall_s: float) -> None:
        """Closes, revises and requests what is due; to be called several times per grace period."""
        self._set_time(now_us)
        for each in self._instruments.values():
            each.time_advanced(now_us, wall_s)

    def forecasts_made(self, made: RoundForecasts, *, now_us: int) -> list[Instrument]:
        """Issues the forecasts of one round, each once and for good, calibrated by all bars closed so far.

        Each refers to the bar of its own close: the next one may have closed before the forecast is made. Returns the
        instruments whose forecast is not issued, because no price of theirs is known.
        """
        self._score()
        unpriced: list[Instrument] = []
        starts = self._forecast_starts.get(made.close_time_us, {})
        for forecast in made.forecasts:
            instrument = Instrument(forecast.issued.venue, forecast.issued.symbol)
            if instrument in starts:
                bar, price = starts.pop(instrument)
                if price is None:
                    unpriced.append(instrument)
                    continue
                issued = self._issued(forecast, made, bar, price, now_us)
                self.scoreboard.register(issued, forecast.baselines)
                self._events.append(ForecastIssued(issued, tuple(forecast.baselines)))
        return unpriced

    def round_done(self, closed: RoundClosed) -> None:
        """No more forecasts are made of this round."""
        starts = self._forecast_starts.get(closed.close_time_us, {})
        for bar in closed.bars:
            starts.pop(bar.instrument, None)
        if not starts:
            self._forecast_starts.pop(closed.close_time_us, None)

    def _issued(
        self, forecast: InstrumentForecast, made: RoundForecasts, bar: Bar, price: float, now_us: int
    ) -> IssuedForecast:
        calibration, raw = self.scoreboard.calibration, forecast.issued
        return IssuedForecast(
            forecast=raw if calibration is None else calibration.calibrated(raw),
            raw=None if calibration is None else raw,
            source=forecast.source,
            reference_price=price,
            issued_at_us=now_us,
            quality=DataQuality(
                completeness=bar.completeness,
                missing_trades=bar.missing_trades,
                window_bars_missing=forecast.window_bars_missing,
                clock_skew_ms=self.clock_skew_ms.get(bar.venue),
                missing_ranges=bar.missing_ranges,
            ),
            skill=self.scoreboard.skill(*bar.instrument, kind=raw.model.kind),
            latency=Latency(
                bar_close_to_publish=(now_us - made.close_time_us) // 1000,
                features=made.features_ms,
                inference=made.inference_ms,
            ),
        )

    # ---------------------------------------------------------------- outputs

    def events(self) -> list[Event]:
        """The events since the last call, oldest first.

        The scores of a closed bar follow in the next call, or with the next forecasts, so that no round waits for them.
        """
        self._score()
        self._collect_rounds()
        events, self._events[:] = list(self._events), []
        self._collected = 0
        return events

    def unsaved_trades(
        self, instruments: Iterable[Instrument] | None = None
    ) -> list[tuple[Instrument, list[Trade], SequenceState]]:
        """Trades since the last call with the state that covers them; each pair is stored in one transaction.

        instruments: None means all.
        """
        batches = []
        for instrument in self._instruments if instruments is None else instruments:
            each = self._instruments[instrument]
            state, trades = each.sequence_state(), each.take_unsaved()
            if state is not None and trades:
                batches.append((instrument, trades, state))
        return batches

    # ---------------------------------------------------------------- inside

    def _set_time(self, now_us: int) -> None:
        self._now_us = now_us
        due_us = self._tick_due_us
        if due_us is not None and now_us - due_us > self._tick_slack_us:
            self._tick_due_us = now_us
            for each in self._instruments.values():
                each.time_lost(now_us - due_us, now_us)

    def _collect_rounds(self) -> None:
        """Announces the rounds that go out now."""
        for event in self._events[self._collected :]:
            if isinstance(event, BarClosed):
                self._bar_closed(event)
            elif isinstance(event, BarRevised) and self._is_last(event.bar):
                self.set_last_bar(event.bar)
        self._events += self._rounds.take(self._now_us)
        self._collected = len(self._events)

    def _bar_closed(self, event: BarClosed) -> None:
        bar = event.bar
        self.set_last_bar(bar)
        self._rounds.bar_closed(event)
        price = self._reference_prices.get(bar.instrument)
        self._forecast_starts.setdefault(bar.close_time_us, {})[bar.instrument] = (bar, price)
        while len(self._forecast_starts) > _MAX_STARTS:
            del self._forecast_starts[min(self._forecast_starts)]
        self._unscored.append(bar)

    def _score(self) -> None:
        bars, self._unscored = self._unscored, []
        for bar in bars:
            if scores := self.scoreboard.bar_closed(bar):
                self._events.append(ForecastsScored(tuple(scores)))
        for instrument in {bar.instrument for bar in bars}:
            self.scoreboard.skill(*instrument)  # computed now and cached, so that the next forecasts need not wait

    def _is_last(self, bar: Bar) -> bool:
        last = self._last_bars.get(bar.instrument)
        return last is not None and last.open_time_us == bar.open_time_us
