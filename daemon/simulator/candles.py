"""Candles of a tape in exact integers: from the bars themselves, several bars together, or from their trades.

The dialect decides how they are written, and which are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.reconstruct import BarFigures
from daemon.simulator.tape import Tape, TapeTrade


class SimulatedCandle(NamedTuple):
    """``figures.trades`` counts raw trades, ``records`` aggregate ones; ``closed`` is False for the running candle."""

    open_us: int
    figures: BarFigures
    records: int
    closed: bool


class CandleMaker:
    """Candles of any interval that is a multiple or a whole part of the played bars.

    enlarged: by symbol, a time and the false volume of the candles that cover it, in units of the base currency.
    """

    def __init__(self, tape: Tape) -> None:
        self.enlarged: dict[str, tuple[int, int]] = {}
        self._tape = tape

    def serves(self, interval_us: int) -> bool:
        """Whether the interval is a multiple or a whole part of the played bars."""
        played_us = self._tape.timeline.interval_us
        return interval_us % played_us == 0 or played_us % interval_us == 0

    def closed(
        self, symbol: str, interval_us: int, *, start_us: int | None, end_us: int | None, limit: int, now_us: int
    ) -> list[SimulatedCandle]:
        """Finished candles at ``now_us`` with an open time from ``start_us`` to ``end_us``, both included.

        The first ``limit`` from ``start_us`` on; without a start the last ``limit``. Oldest first.
        """
        opens = self._opens(interval_us, start_us, end_us, self._over_us(interval_us, now_us))
        chosen = opens[:limit] if start_us is not None else opens[max(len(opens) - limit, 0) :]
        return list(self._made(symbol, interval_us, chosen, now_us))

    def newest(
        self,
        symbol: str,
        interval_us: int,
        *,
        start_us: int | None,
        end_us: int | None,
        limit: int,
        now_us: int,
        running: bool,
    ) -> list[SimulatedCandle]:
        """The last ``limit`` candles of that span, oldest first; with ``running`` the unfinished one is included."""
        opens = self._opens(interval_us, start_us, end_us, self._over_us(interval_us, now_us) + running * interval_us)
        return list(self._made(symbol, interval_us, opens[max(len(opens) - limit, 0) :], now_us))

    def _over_us(self, interval_us: int, now_us: int) -> int:
        """Open time of the last finished candle."""
        return min(now_us, self._tape.end_us) // interval_us * interval_us - interval_us

    def _opens(self, interval_us: int, start_us: int | None, end_us: int | None, newest_us: int) -> range:
        first_us = -(-self._tape.timeline.start_us // interval_us) * interval_us
        if start_us is not None:
            first_us = max(first_us, -(-start_us // interval_us) * interval_us)
        # The data may end inside a candle: one without later trades is not served.
        last_us = min(newest_us, (self._tape.end_us - 1) // interval_us * interval_us)
        if end_us is not None:
            last_us = min(last_us, end_us // interval_us * interval_us)
        return range(first_us, last_us + 1, interval_us)

    def _made(self, symbol: str, interval_us: int, opens: range, now_us: int) -> Iterator[SimulatedCandle]:
        series = self._tape.data.series[symbol]
        made = self._joined if interval_us >= self._tape.timeline.interval_us else self._cut
        candles = made(series, interval_us, opens, now_us)
        return candles if symbol not in self.enlarged else self._with_false_volume(series, interval_us, candles)

    def _with_false_volume(
        self, series: RecordedSeries, interval_us: int, candles: Iterator[SimulatedCandle]
    ) -> Iterator[SimulatedCandle]:
        time_us, units = self.enlarged[series.symbol]
        volume = units * 10**series.size_decimals
        for candle in candles:
            covered = candle.open_us <= time_us < candle.open_us + interval_us
            yield candle._replace(figures=candle.figures._replace(volume=volume)) if covered else candle

    def _joined(self, series: RecordedSeries, interval_us: int, opens: range, now_us: int) -> Iterator[SimulatedCandle]:
        """Candles of one or several whole bars; of the open bar, the trades so far."""
        timeline = self._tape.timeline
        bars = interval_us // timeline.interval_us
        under_way = timeline.index_at(now_us)
        for open_us in opens:
            first = timeline.index_at(open_us)
            last = min(first + bars, len(self._tape.data))
            if not series.present[first:last].any():
                continue
            whole = range(first, min(last, under_way))
            figures = [series.figures(at) for at in whole]
            records = self._tape.records(series.symbol, whole.start, max(whole.stop, whole.start))
            if first <= under_way < last:
                trades = self._so_far(series.symbol, under_way, now_us)
                figures.append(_of_trades(trades, _close_before(series, under_way)))
                records += len(trades)
            yield SimulatedCandle(open_us, _together(figures), records, open_us + interval_us <= now_us)

    def _cut(self, series: RecordedSeries, interval_us: int, opens: range, now_us: int) -> Iterator[SimulatedCandle]:
        """Several candles for each bar, from its trades; flat and empty without trades."""
        timeline = self._tape.timeline
        trades: dict[int, list[TapeTrade]] = {}
        held, last_price = -1, 0
        for open_us in opens:
            index = timeline.index_at(open_us)
            if not series.present[index]:
                continue
            if index != held:
                trades, held = self._by_candle(series.symbol, index, interval_us, now_us), index
                earlier = [at for at in trades if at < open_us]
                last_price = trades[max(earlier)][-1].price if earlier else _close_before(series, index)
            own = trades.get(open_us, [])
            figures = _of_trades(own, last_price)
            last_price = figures.close
            yield SimulatedCandle(open_us, figures, len(own), open_us + interval_us <= now_us)

    def _so_far(self, symbol: str, index: int, now_us: int) -> list[TapeTrade]:
        return [trade for trade in self._tape.bar(symbol, index) if trade.time_ms * 1000 <= now_us]

    def _by_candle(self, symbol: str, index: int, interval_us: int, now_us: int) -> dict[int, list[TapeTrade]]:
        found: dict[int, list[TapeTrade]] = {}
        for trade in self._so_far(symbol, index, now_us):
            found.setdefault(trade.time_ms * 1000 // interval_us * interval_us, []).append(trade)
        return found


def _close_before(series: RecordedSeries, index: int) -> int:
    return int(series.close[index - 1] if index else series.open[0])


def _together(bars: Iterable[BarFigures]) -> BarFigures:
    """Several bars as one; prices are those of the bars with trades."""
    every = list(bars)
    traded = [bar for bar in every if bar.trades] or every
    sums = np.array(every, dtype=np.int64)[:, 4:].sum(axis=0).tolist()
    return BarFigures(
        traded[0].open, max(bar.high for bar in traded), min(bar.low for bar in traded), traded[-1].close, *sums
    )


def _of_trades(trades: Sequence[TapeTrade], last_price: int) -> BarFigures:
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
