"""Klines as Binance words them: from the bars themselves, several bars together, or from their trades."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from daemon.records import parse_interval
from daemon.simulator.market_data import Series
from daemon.simulator.reconstruct import BarFigures
from daemon.simulator.tape import AggregateTrade, Tape

# Binance's intervals up to a day; its 3d, 1w and 1M are not simulated.
INTERVALS = {
    name: parse_interval(name)
    for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
}
PUBLISHED_DECIMALS = 8

Kline = list[int | str]


class _Candle(NamedTuple):
    open_us: int
    figures: BarFigures


def fixed(value: int, decimals: int) -> str:
    """``value * 10**-decimals`` with the 8 decimals that Binance prints, more where exactness needs them."""
    whole, fraction = divmod(value, 10**decimals)
    digits = f"{fraction:0{decimals}d}" if decimals else ""
    return f"{whole}.{digits:0<{PUBLISHED_DECIMALS}}"


class Candles:
    """Closed candles of a tape: a running one is never served."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def serves(self, interval_us: int) -> bool:
        """Whether the interval is a multiple or a whole part of the played bars."""
        played_us = self._tape.timeline.interval_us
        return interval_us % played_us == 0 or played_us % interval_us == 0

    def klines(
        self, symbol: str, interval_us: int, *, start_us: int | None, end_us: int | None, limit: int, now_us: int
    ) -> list[Kline]:
        """Candles with an open time from ``start_us`` to ``end_us``, both included, that are over at ``now_us``.

        The first ``limit`` from ``start_us`` on; without a start the last ``limit``.
        """
        timeline = self._tape.timeline
        first_us = -(-timeline.start_us // interval_us) * interval_us
        closed_us = min(now_us, self._tape.end_us) // interval_us * interval_us - interval_us
        last_us = closed_us if end_us is None else min(closed_us, end_us // interval_us * interval_us)
        if start_us is None:
            opens = range(max(first_us, last_us - (limit - 1) * interval_us), last_us + 1, interval_us)
        else:
            opens = range(max(first_us, -(-start_us // interval_us) * interval_us), last_us + 1, interval_us)[:limit]
        series = self._tape.data.series[symbol]
        made = self._joined if interval_us >= timeline.interval_us else self._cut
        return [_worded(series, interval_us, candle) for candle in made(series, interval_us, opens)]

    def _joined(self, series: Series, interval_us: int, opens: range) -> Iterator[_Candle]:
        """One or several whole bars a candle."""
        bars = interval_us // self._tape.timeline.interval_us
        for open_us in opens:
            first = self._tape.timeline.index_at(open_us)
            if series.present[first : first + bars].any():
                yield _Candle(open_us, _together(series.figures(at) for at in range(first, first + bars)))

    def _cut(self, series: Series, interval_us: int, opens: range) -> Iterator[_Candle]:
        """Several candles a bar, from its trades; flat and empty where there were none."""
        timeline = self._tape.timeline
        trades: dict[int, list[AggregateTrade]] = {}
        held, last_price = -1, 0
        for open_us in opens:
            index = timeline.index_at(open_us)
            if not series.present[index]:
                continue
            if index != held:
                trades, held = self._by_candle(series.symbol, index, interval_us), index
                earlier = [at for at in trades if at < open_us]
                before = int(series.close[index - 1] if index else series.open[index])
                last_price = trades[max(earlier)][-1].price if earlier else before
            figures = _of_trades(trades.get(open_us, []), last_price)
            last_price = figures.close
            yield _Candle(open_us, figures)

    def _by_candle(self, symbol: str, index: int, interval_us: int) -> dict[int, list[AggregateTrade]]:
        found: dict[int, list[AggregateTrade]] = {}
        for trade in self._tape.bar(symbol, index):
            found.setdefault(trade.time_ms * 1000 // interval_us * interval_us, []).append(trade)
        return found


def _together(bars: Iterable[BarFigures]) -> BarFigures:
    """Several bars as one; prices are those of the bars in which somebody traded."""
    every = list(bars)
    traded = [bar for bar in every if bar.trades] or every
    sums = np.array(every, dtype=np.int64)[:, 4:].sum(axis=0).tolist()
    return BarFigures(
        traded[0].open, max(bar.high for bar in traded), min(bar.low for bar in traded), traded[-1].close, *sums
    )


def _of_trades(trades: list[AggregateTrade], last_price: int) -> BarFigures:
    if not trades:
        return BarFigures(last_price, last_price, last_price, last_price, 0, 0, 0, 0, 0)
    prices = [trade.price for trade in trades]
    bought = [trade for trade in trades if not trade.buyer_is_maker]
    return BarFigures(
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(trade.size for trade in trades),
        quote_volume=sum(trade.price * trade.size for trade in trades),
        trades=trades[-1].last_id - trades[0].first_id + 1,
        taker_buy_volume=sum(trade.size for trade in bought),
        taker_buy_quote_volume=sum(trade.price * trade.size for trade in bought),
    )


def _worded(series: Series, interval_us: int, candle: _Candle) -> Kline:
    """Binance's twelve columns."""
    figures = candle.figures
    prices = (fixed(price, series.price_decimals) for price in figures[:4])
    return [
        candle.open_us // 1000,
        *prices,
        fixed(figures.volume, series.size_decimals),
        (candle.open_us + interval_us) // 1000 - 1,
        fixed(figures.quote_volume, series.quote_decimals),
        figures.trades,
        fixed(figures.taker_buy_volume, series.size_decimals),
        fixed(figures.taker_buy_quote_volume, series.quote_decimals),
        "0",
    ]
