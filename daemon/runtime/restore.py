"""Restores a daemon after a stop or a crash: sequences, open trades, bars, forecasts and scores from the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog

from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.sequence import SequenceState, is_plausible
from daemon.pipeline.timeouts import Timeouts
from daemon.publishing.message_builder import MessageBuilder
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import Ledger
from features.market import Audit, Bar, Completeness, Instrument, Trade, interval_start

log = structlog.get_logger(__name__)

_MIN_REACH_US = 600_000_000
_REACH_BARS = 2
_EXPIRY_BARS = 2
_REVISABLE_BARS = 48
_UNSETTLED = (Completeness.GAP, Completeness.UNPROVEN)


def discard_future(ledger: Ledger, timeouts: Timeouts, now_us: int) -> None:
    """Deletes stored state that lies ahead of market time ``now_us``, which must be confirmed by a venue.

    It was made with a wrong clock, and would keep its instruments silent until that time.
    """
    discarded = ledger.discard_future(
        now_us + 2 * timeouts.clock_margin_us, trades_until_us=now_us + timeouts.max_ahead_us
    )
    if discarded.anything:
        log.warning("future_state_discarded", **msgspec.structs.asdict(discarded))


def restore_pipeline(pipeline: Pipeline, ledger: Ledger, instruments: Sequence[Instrument], now_us: int) -> None:
    """Continues the sequence of each instrument whose watermark is recent enough.

    A sequence with an impossible number of missing trades, which earlier versions stored after one wrong id, and one
    that stopped longer ago than two bars (at least ten minutes), start again; the bars between are the
    venue's candles.
    """
    found = [_stored_sequence(pipeline.interval_us, ledger, each, now_us) for each in instruments]
    # The store repeats a call in which the disk fails: only once everything is read, trades are added.
    for last, sequence in found:
        if last is not None:
            pipeline.set_last_bar(last)
        if sequence is not None:
            _resume(pipeline, sequence)


class _StoredSequence(NamedTuple):
    """What continues the sequence of one instrument; see ``Pipeline.resume``."""

    instrument: Instrument
    state: SequenceState
    trades: Sequence[Trade]
    first_open_us: int
    published: Sequence[Bar]


def _stored_sequence(
    interval_us: int, ledger: Ledger, instrument: Instrument, now_us: int
) -> tuple[Bar | None, _StoredSequence | None]:
    """The last bar and the sequence, where it is recent and plausible. Only reads."""
    reach_us = max(_REACH_BARS * interval_us, _MIN_REACH_US)
    last = ledger.last_bar(instrument, interval_us)
    state = ledger.sequence_state(instrument)
    if state is None or now_us - state.last_time_us > reach_us or state.last_time_us > now_us + reach_us:
        return last, None
    if not is_plausible(state):
        log.warning("series_discarded", instrument=str(instrument), last_id=state.last_id)
        return last, None
    first_open_us = interval_start(state.covered_from_us, interval_us)
    if last is not None and not is_history(last):
        first_open_us = max(first_open_us, last.close_time_us)
    published = revisable(ledger, instrument, interval_us, first_open_us)
    first_open_us = published[0].open_time_us if published else first_open_us
    trades = ledger.open_trades(instrument, first_open_us)
    return last, _StoredSequence(instrument, state, trades, first_open_us, published)


def _resume(pipeline: Pipeline, stored: _StoredSequence) -> None:
    pipeline.resume(
        stored.instrument,
        stored.state,
        stored.trades,
        first_open_us=stored.first_open_us,
        published=stored.published,
    )
    instrument = str(stored.instrument)
    log.info("series_resumed", instrument=instrument, trades=len(stored.trades), last_id=stored.state.last_id)


def revisable(ledger: Ledger, instrument: Instrument, interval_us: int, until_us: int) -> list[Bar]:
    """The last closed bars, from the first that is not settled and whose trades are all stored."""
    recent = ledger.bars(instrument, interval_us, until_us - _REVISABLE_BARS * interval_us, until_us)
    if not recent:
        return []
    stored: Counter[int] = Counter()
    for trade in ledger.open_trades(instrument, recent[0].open_time_us):
        stored[interval_start(trade.time_us, interval_us)] += trade.count
    for index, bar in enumerate(recent):
        rest = recent[index:]
        gapless = rest[-1].close_time_us == until_us and len(rest) * interval_us == until_us - bar.open_time_us
        complete = all(_is_stored(each, stored[each.open_time_us]) for each in rest)
        if bar.completeness in _UNSETTLED and gapless and complete:
            return rest
    return []


def _is_stored(bar: Bar, stored: int) -> bool:
    """Whether the store has every trade of the bar.

    For a bar that is not settled it may have more: a repair that a kill has kept from being published.
    """
    if bar.completeness in _UNSETTLED:
        return bar.trades is not None and stored >= bar.trades
    return bar.trades == stored


class ScoreboardRestoration:
    """Loads pending forecasts, past scores and calibration states, each once, however often the disk fails.

    ``run`` is called again after it raised the ledger's Retryable, before anything else is written.
    """

    def __init__(self, scoreboard: Scoreboard, ledger: Ledger, since_us: int) -> None:
        self._scoreboard = scoreboard
        self._ledger = ledger
        self._since_us = since_us
        self._pending: list[str] | None = None
        self._batches = 0  # replayed

    def run(self) -> None:
        """Continues where the last call has ended."""
        scoreboard, ledger = self._scoreboard, self._ledger
        if self._pending is None:
            self._load()
        for number, batch in enumerate(ledger.score_batches(self._since_us)):
            if number >= self._batches:
                scoreboard.replay(batch)
                self._batches += 1
        waiting = scoreboard.dump()
        ledger.save_scores([], settled=[each for each in self._pending or () if each not in waiting])

    def _load(self) -> None:
        scoreboard, ledger = self._scoreboard, self._ledger
        pending = ledger.pending()
        calibrations = ledger.calibrations(scoreboard.interval_us)
        if scoreboard.calibration is not None:
            scoreboard.calibration.load(calibrations)
        scoreboard.load([each.record for each in pending], [])
        self._pending = [each.id for each in pending]


class PublishedState(NamedTuple):
    """The last bars and forecasts that were published before the stop."""

    bars: list[Bar]
    forecasts: list[StoredForecast]


def published_state(ledger: Ledger, instruments: Sequence[Instrument], interval_us: int) -> PublishedState:
    """The last bar and forecast of each instrument."""
    bars = [ledger.last_bar(each, interval_us) for each in instruments]
    forecasts = [ledger.latest_forecast(each, interval_us) for each in instruments]
    return PublishedState(
        [bar for bar in bars if bar is not None and not is_history(bar)],
        [forecast for forecast in forecasts if forecast is not None],
    )


def republish(messages: MessageBuilder, published: PublishedState) -> None:
    """Publishes bars and forecasts again, unchanged: the broker may have lost them."""
    for bar in published.bars:
        messages.bar(bar)
    for forecast in published.forecasts:
        messages.stored_forecast(forecast, expires_at_us=forecast.close_time_us + _EXPIRY_BARS * forecast.interval_us)


def unreconciled_bars(ledger: Ledger, instruments: Sequence[Instrument], interval_us: int, now_us: int) -> list[Bar]:
    """The last bars that were not compared with the venue's candle before the stop."""
    since_us = now_us - _REVISABLE_BARS * interval_us
    recent = (bar for each in instruments for bar in ledger.bars(each, interval_us, since_us, now_us))
    return [bar for bar in recent if bar.audit is Audit.PENDING and not is_history(bar)]


def is_history(bar: Bar) -> bool:
    """Whether the bar is a candle from before the start, not one that replaces trades of this daemon."""
    return bar.completeness is Completeness.VENUE_CANDLE and bar.revision == 0 and not bar.missing_ranges
