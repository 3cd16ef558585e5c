"""Candles as bars: only complete, ended and plausible ones."""

from __future__ import annotations

import msgspec
import pytest

from daemon.errors import DataFault
from daemon.exchanges.candles import VenueCandle, finished_bars
from features.market import Bar, Completeness

HOUR_US = 3_600_000_000
START_US = 1_634_943_600_000_000
CANDLE = VenueCandle(START_US, open=10.0, high=12.0, low=9.0, close=11.0, volume=3.0, quote_volume=30.0, trades=5)


def bars(*candles: VenueCandle, known_at_us: int = START_US + 100 * HOUR_US) -> list[Bar]:
    return finished_bars(candles, venue="a venue", symbol="BTC-USDT", interval_us=HOUR_US, known_at_us=known_at_us)


def changed(**values: float) -> VenueCandle:
    return msgspec.structs.replace(CANDLE, **values)


def test_a_candle() -> None:
    """Prices and amounts are the venue's; taker volumes are unknown."""
    (bar,) = bars(CANDLE)
    assert (bar.venue, bar.symbol, bar.interval_us, bar.open_time_us) == ("a venue", "BTC-USDT", HOUR_US, START_US)
    assert (bar.open, bar.high, bar.low, bar.close) == (10.0, 12.0, 9.0, 11.0)
    assert (bar.volume, bar.quote_volume, bar.trades) == (3.0, 30.0, 5)
    assert (bar.taker_buy_volume, bar.taker_buy_quote_volume) == (None, None)
    assert (bar.completeness, bar.known_at_us) == (Completeness.VENUE_CANDLE, START_US + 100 * HOUR_US)


def test_oldest_first() -> None:
    """Candles come out oldest first for every order of the answer."""
    times = [START_US + hours * HOUR_US for hours in (2, 0, 1)]
    assert [bar.open_time_us for bar in bars(*(changed(open_time_us=time) for time in times))] == sorted(times)


def test_unfinished_and_askew_candles_are_left_out() -> None:
    """A candle counts once its interval has ended, and only if it opens on the grid."""
    assert bars(CANDLE, known_at_us=START_US + HOUR_US - 1) == []
    assert len(bars(CANDLE, known_at_us=START_US + HOUR_US)) == 1
    assert bars(changed(open_time_us=START_US + HOUR_US // 2)) == []


def test_a_candle_without_trades_has_no_prices() -> None:
    """Venues repeat the last close, or write zeros; the bar has no prices."""
    for candle in (changed(volume=0.0), changed(volume=0.0, open=0.0, high=0.0, low=0.0, close=0.0)):
        (bar,) = bars(candle)
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (None, None, None, None, 0.0)


@pytest.mark.parametrize(
    "candle",
    [
        changed(low=0.0),
        changed(open=0.0, high=0.0, low=0.0, close=0.0),
        changed(high=10.5),
        changed(low=10.5),
        changed(open=13.0),
    ],
    ids=repr,
)
def test_prices_that_cannot_be(candle: VenueCandle) -> None:
    """A price of zero, or one outside the candle's low and high, is a DataFault."""
    with pytest.raises(DataFault, match="a venue candle"):
        bars(candle)
