"""Events of the pipeline: what happened, and the REST requests that it wants made. The core performs no I/O itself.

Requests of one instrument have different ``request_id``s, by which ``Pipeline.answer`` matches their answers.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from daemon.forecasting.records import IssuedForecast, Score
from daemon.pipeline.sequence import Interruption, MissingIds
from features.market import Bar, Instrument
from models.forecast import Forecast


class BarClosed(msgspec.Struct, frozen=True):
    """An interval ended and its bar is final as revision 0. ``wait_us`` is the market time since the interval's end."""

    bar: Bar
    wait_us: int


class BarRevised(msgspec.Struct, frozen=True):
    """A closed bar changed: late trades, a repair, a better completeness or the venue's candle."""

    bar: Bar


class RoundClosed(msgspec.Struct, frozen=True):
    """Forecasts can be made from these bars of one close. Instruments that close later have further rounds of it."""

    close_time_us: int
    bars: tuple[Bar, ...]


class GapOpened(msgspec.Struct, frozen=True):
    """Trades may be missing: ids were skipped, or there is no subscription since ``Interruption.after_us``."""

    instrument: Instrument
    missing: MissingIds | Interruption
    at_us: int


class GapRepaired(msgspec.Struct, frozen=True):
    """Nothing is missing any more; ``trades`` is how many were fetched since the first gap opened."""

    instrument: Instrument
    trades: int
    at_us: int


class RepairReason(StrEnum):
    """Why trades are requested by REST.

    GAP: some are known to be missing. PROOF: to check, at a close, that there are none after the last known trade.
    PROBE: the same check because the stream is silent.
    """

    GAP = "gap"
    PROOF = "proof"
    PROBE = "probe"


class RepairRequested(msgspec.Struct, frozen=True):
    """Trades from ``from_id`` on are requested: up to ``until_id``, or up to the newest where that is None.

    after_us: event time of the last trade before them. from_id: None where only that time is known.
    """

    instrument: Instrument
    from_id: int | None
    until_id: int | None
    after_us: int
    reason: RepairReason
    request_id: int


class CandleRequested(msgspec.Struct, frozen=True):
    """The venue's candle of the interval that opens at ``open_us`` is requested: its trades cannot be recovered."""

    instrument: Instrument
    open_us: int
    request_id: int


class SnapshotRequested(msgspec.Struct, frozen=True):
    """The sequence has not started: the trades at or after ``from_time_us`` are requested."""

    instrument: Instrument
    from_time_us: int
    request_id: int


Request = SnapshotRequested | RepairRequested | CandleRequested


class RequestGivenUp(msgspec.Struct, frozen=True):
    """A request got no answer in time: it is to be cancelled, and a late answer proves nothing."""

    request: Request


class FeedSilent(msgspec.Struct, frozen=True):
    """REST returned trades that the stream did not deliver: the subscription must be renewed."""

    instrument: Instrument
    undelivered_trades: int


class BarReconciled(msgspec.Struct, frozen=True):
    """A closed bar was compared with the venue's candle; ``bar`` carries the outcome in its field ``audit``.

    differences: field to the bar's and the candle's value, empty where they agree.
    verdict: which of the two is right, in words.
    """

    bar: Bar
    differences: dict[str, tuple[float | None, float | None]]
    verdict: str
    at_us: int


class SymbolState(StrEnum):
    """What subscribers may expect of an instrument."""

    WARMING_UP = "warming_up"
    LIVE = "live"
    STALE = "stale"
    HALTED = "halted"


class SymbolStateChanged(msgspec.Struct, frozen=True):
    """An instrument's state, or the reason for it, changed."""

    instrument: Instrument
    state: SymbolState
    since_us: int
    last_trade_at_us: int | None
    reason: str


class ForecastIssued(msgspec.Struct, frozen=True):
    """A forecast was issued; ``baselines`` are the baselines' forecasts of the same close, for the scoreboard."""

    issued: IssuedForecast
    baselines: tuple[Forecast, ...]


class ForecastsScored(msgspec.Struct, frozen=True):
    """Forecasts were scored against a bar that closed."""

    scores: tuple[Score, ...]


Event = (
    BarClosed
    | BarRevised
    | BarReconciled
    | RoundClosed
    | GapOpened
    | GapRepaired
    | RepairRequested
    | CandleRequested
    | SnapshotRequested
    | RequestGivenUp
    | FeedSilent
    | SymbolStateChanged
    | ForecastIssued
    | ForecastsScored
)
