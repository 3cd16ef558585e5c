"""What the pipeline announces. The core never acts on the world: it says what happened and what it wants."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from daemon.forecasting.records import IssuedForecast, Score
from daemon.pipeline.sequence import Interruption, MissingIds
from features.market import Bar, Instrument
from models.forecast import Forecast


class BarClosed(msgspec.Struct, frozen=True):
    """An interval ended and its bar is fixed as revision 0. ``wait_us`` is market time since the boundary."""

    bar: Bar
    wait_us: int


class BarRevised(msgspec.Struct, frozen=True):
    """A closed bar became better known."""

    bar: Bar


class RoundClosed(msgspec.Struct, frozen=True):
    """The bars of every warm instrument for one close time are there: a forecast can be made."""

    close_time_us: int
    bars: tuple[Bar, ...]


class GapOpened(msgspec.Struct, frozen=True):
    """Trades may be lost: ids were skipped, or the venue was not heard since ``Interruption.after_us``."""

    instrument: Instrument
    missing: MissingIds | Interruption
    at_us: int


class GapRepaired(msgspec.Struct, frozen=True):
    """Nothing is missing any more; ``trades`` were fetched since the first gap opened."""

    instrument: Instrument
    trades: int
    at_us: int


class RepairReason(StrEnum):
    """Why trades are asked for by REST.

    GAP: some are known to be missing. PROOF: to see whether any lie beyond those known, at a close. PROBE: the same
    because the stream is silent.
    """

    GAP = "gap"
    PROOF = "proof"
    PROBE = "probe"


class RepairRequested(msgspec.Struct, frozen=True):
    """Trades from ``from_id`` on are wanted: up to ``until_id``, or to the newest where that is None.

    after_us: event time of the last trade before them. from_id: None where only that time is known.
    """

    instrument: Instrument
    from_id: int | None
    until_id: int | None
    after_us: int
    reason: RepairReason


class CandleRequested(msgspec.Struct, frozen=True):
    """Trades of the interval that opens at ``open_us`` are lost for good: the venue's own candle must stand in."""

    instrument: Instrument
    open_us: int


class SnapshotRequested(msgspec.Struct, frozen=True):
    """The sequence has no start yet: the trades at or after ``from_time_us`` are wanted."""

    instrument: Instrument
    from_time_us: int


class FeedSilent(msgspec.Struct, frozen=True):
    """The venue traded and the subscription did not say so: it must be made anew."""

    instrument: Instrument
    undelivered_trades: int


class BarReconciled(msgspec.Struct, frozen=True):
    """A closed bar was compared with the venue's own candle; ``bar`` carries the outcome.

    differences: field to the bar's and the candle's value, empty where they agree. verdict: who is right.
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
    """An instrument's state changed."""

    instrument: Instrument
    state: SymbolState
    since_us: int
    last_trade_at_us: int | None
    reason: str


class ForecastIssued(msgspec.Struct, frozen=True):
    """A forecast left the house; ``shadows`` are the baselines' forecasts of the same moment, for the scoreboard."""

    issued: IssuedForecast
    shadows: tuple[Forecast, ...]


class ForecastsScored(msgspec.Struct, frozen=True):
    """Forecasts met their truth."""

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
    | FeedSilent
    | SymbolStateChanged
    | ForecastIssued
    | ForecastsScored
)
