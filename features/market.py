"""Market records: instrument, trade, bar, and the completeness of a bar."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

MICROSECONDS_PER_SECOND = 1_000_000
HOUR_US = 3_600 * MICROSECONDS_PER_SECOND


class Instrument(NamedTuple):
    """One symbol on one venue, e.g. ``Instrument("binance", "BTC-USDT")``."""

    venue: str
    symbol: str

    def __str__(self) -> str:
        return f"{self.venue}:{self.symbol}"


class Completeness(StrEnum):
    """How much is known of a bar's trades.

    PROVEN: every trade id of the interval is accounted for.
    UNPROVEN: no trade is known to be missing, but completeness cannot be proven.
    GAP: ``missing_trades`` trades are known to be missing; None if their number is unknown.
    VENUE_CANDLE: the values are those of the venue's own candle.
    EMPTY: proven to hold no trade.
    """

    PROVEN = "proven"
    UNPROVEN = "unproven"
    GAP = "gap"
    VENUE_CANDLE = "venue_candle"
    EMPTY = "empty"


class Audit(StrEnum):
    """The outcome of comparing a bar with the venue's own candle."""

    EQUAL = "equal"
    DIFFERS = "differs"
    PENDING = "pending"
    UNAVAILABLE = "unavailable"


class Trade(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One record of a venue's trade stream.

    trade_id: id in the sequence that proves completeness (on Binance the aggregate id).
    time_us: event time at the venue, UTC microseconds.
    price, size: in the quote and in the base currency.
    taker_buys: True if the TAKER was the buyer.
    count: raw trades merged into this record.
    span: ids that this record covers, ``trade_id`` being the last of them; more than 1 if the venue merges
        trades that have ids of their own.
    """

    trade_id: int
    time_us: int
    price: float
    size: float
    taker_buys: bool
    count: int = 1
    span: int = 1


class MissingTrades(msgspec.Struct, frozen=True, gc=False):
    """A range of trades that were never received, between two times.

    first_id, last_id: None if the venue's ids do not show them. before_us: None while no later trade is known.
    """

    first_id: int | None
    last_id: int | None
    after_us: int
    before_us: int | None


class Bar(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One right-open interval ``[open_time_us, open_time_us + interval_us)`` of one instrument, by event time.

    Prices are None if no trade happened; any other None means that no source knows the value.
    ``volume`` and ``taker_buy_volume`` are in the base currency, ``quote_volume`` and
    ``taker_buy_quote_volume`` in the quote currency. ``known_at_us`` is the market time at which
    this revision was made. ``missing_ranges`` lists the missing trades, only the first ranges if
    there are many; the values of a venue's candle include those trades.
    """

    venue: str
    symbol: str
    interval_us: int
    open_time_us: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float
    quote_volume: float | None
    trades: int | None
    taker_buy_volume: float | None
    taker_buy_quote_volume: float | None
    completeness: Completeness
    known_at_us: int
    first_trade_id: int | None = None
    last_trade_id: int | None = None
    missing_trades: int | None = 0
    late_trades: int = 0
    revision: int = 0
    audit: Audit = Audit.PENDING
    missing_ranges: tuple[MissingTrades, ...] = ()

    def __post_init__(self) -> None:
        if self.open is None or self.high is None or self.low is None or self.close is None:
            if not self.open == self.high == self.low == self.close:
                raise ValueError(f"{self.label} holds some prices but not all")
        elif not (self.low <= self.open <= self.high and self.low <= self.close <= self.high):
            raise ValueError(f"{self.label} has an open or close outside its low and high")

    @property
    def close_time_us(self) -> int:
        return self.open_time_us + self.interval_us

    @property
    def instrument(self) -> Instrument:
        return Instrument(self.venue, self.symbol)

    @property
    def is_complete(self) -> bool:
        """Whether no trade is known to be missing; proof is not required."""
        return self.completeness != Completeness.GAP and not self.missing_trades

    @property
    def label(self) -> str:
        return f"bar {self.venue}:{self.symbol} at {self.open_time_us} us"

    @property
    def vwap(self) -> float | None:
        """Volume-weighted average price, None for an empty bar or an unknown quote volume."""
        if self.quote_volume is None or self.volume <= 0:
            return None
        return self.quote_volume / self.volume


def interval_start(time_us: int, interval_us: int) -> int:
    """The open time of the interval that holds ``time_us``; intervals are aligned to the UTC epoch."""
    return time_us - time_us % interval_us
