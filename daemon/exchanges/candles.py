"""Conversion of candles to bars, for the venues that publish no taker volume."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

import msgspec

from daemon.errors import DataFault
from features.market import Bar, Completeness


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
    candles: Iterable[VenueCandle], *, venue: str, symbol: str, interval_us: int, known_at_us: int
) -> list[Bar]:
    """The candles that had ended at ``known_at_us`` as bars, oldest first; those off the interval grid are skipped.

    A candle without volume repeats an earlier price: its bar has no prices.
    Raises DataFault for inconsistent prices.
    """
    return sorted(
        (
            _bar(candle, venue=venue, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us)
            for candle in candles
            if candle.open_time_us % interval_us == 0 and candle.open_time_us + interval_us <= known_at_us
        ),
        key=attrgetter("open_time_us"),
    )


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
        raise DataFault(f"{venue} candle: {error}") from error
