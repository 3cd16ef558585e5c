"""Conversion of candles to bars, row by row: an impossible row is rejected alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TypeVar

import msgspec

from daemon.errors import DataFault
from daemon.exchanges.decoding import MALFORMED
from features.market import Bar, Completeness

R = TypeVar("R")
C = TypeVar("C")

Reject = Callable[[DataFault], None]

_SAMPLE_LENGTH = 120  # of a row, in an error


def refuse(fault: DataFault) -> None:
    """Raises the fault of a row, so that its whole page is refused."""
    raise fault


def accepted_rows(
    rows: Iterable[msgspec.Raw], kind: type[R], make: Callable[[R], C], *, venue: str, reject: Reject
) -> list[C]:
    """What ``make`` returns for each row, decoded as ``kind``; the fault of an impossible row goes to ``reject``."""
    accepted = []
    for row in rows:
        try:
            accepted.append(make(msgspec.json.decode(row, type=kind, strict=False)))
        except (*MALFORMED, ValueError, DataFault) as error:
            reject(DataFault(f"{venue} candle {bytes(row)[:_SAMPLE_LENGTH]!r}: {error}"))
    return accepted


class VenueCandle(msgspec.Struct, gc=False):
    """One candle of a venue. quote_volume, trades: None where the venue does not publish them."""

    open_time_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None = None
    trades: int | None = None


def finished_bars(
    candles: Iterable[VenueCandle],
    *,
    venue: str,
    symbol: str,
    interval_us: int,
    known_at_us: int,
    reject: Reject = refuse,
) -> list[Bar]:
    """The candles that had ended at ``known_at_us`` as bars, oldest first; those off the interval grid are skipped.

    A candle without volume repeats an earlier price: its bar has no prices. The fault of inconsistent prices goes to
    ``reject``.
    """
    bars = []
    for candle in candles:
        if candle.open_time_us % interval_us == 0 and candle.open_time_us + interval_us <= known_at_us:
            try:
                bars.append(_bar(candle, venue=venue, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us))
            except DataFault as error:
                reject(error)
    return sorted(bars, key=attrgetter("open_time_us"))


def _bar(candle: VenueCandle, *, venue: str, symbol: str, interval_us: int, known_at_us: int) -> Bar:
    traded = candle.volume > 0
    if traded and candle.low <= 0:
        raise DataFault(f"{venue} candle of {symbol} at {candle.open_time_us} us has no price")
    try:
        return Bar(
            venue=venue,
            symbol=symbol,
            interval_us=interval_us,
            open_time_us=candle.open_time_us,
            open=candle.open if traded else None,
            high=candle.high if traded else None,
            low=candle.low if traded else None,
            close=candle.close if traded else None,
            volume=candle.volume,
            quote_volume=candle.quote_volume,
            trades=candle.trades,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=known_at_us,
        )
    except ValueError as error:  # Bar rejects inconsistent prices
        raise DataFault(f"{venue} candle of {symbol} at {candle.open_time_us} us: {error}") from error
