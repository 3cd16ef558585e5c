"""The true bar: the trades of the tape, summed without rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from daemon.simulator.tape import Tape, TapeTrade


class TradeIds(NamedTuple):
    """A trade as the venue counts it: first and last id, None where ids are no numbers, and the number of trades."""

    first_id: int | None
    last_id: int | None
    trades: int = 1


class Truth(NamedTuple):
    """One bar of one symbol. Prices are None without trades; every figure is the exact one as a double.

    trades, first_id, last_id: as the venue counts and numbers them; ids are None without trades and where the venue's
    are no numbers.
    """

    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float
    quote_volume: float
    taker_buy_volume: float
    taker_buy_quote_volume: float
    trades: int
    first_id: int | None
    last_id: int | None


def bar_trade_ids(
    tape: Tape, symbol: str, open_us: int, interval_us: int, ids_of: Callable[[str, TapeTrade], TradeIds]
) -> list[TradeIds]:
    """The trades of the bar ``[open_us, open_us + interval_us)`` as the venue counts them, oldest first."""
    return [ids_of(symbol, trade) for trade in _trades(tape, symbol, open_us, interval_us)]


def truth(
    tape: Tape, symbol: str, open_us: int, interval_us: int, ids_of: Callable[[str, TapeTrade], TradeIds]
) -> Truth:
    """The bar ``[open_us, open_us + interval_us)``, also before it has been played."""
    trades = _trades(tape, symbol, open_us, interval_us)
    series = tape.data.series[symbol]
    price, size = 10**series.price_decimals, 10**series.size_decimals
    prices = [trade.price for trade in trades]
    numbers = [ids_of(symbol, trade) for trade in trades]
    bought = [trade for trade in trades if not trade.buyer_is_maker]
    return Truth(
        open=prices[0] / price if prices else None,
        high=max(prices) / price if prices else None,
        low=min(prices) / price if prices else None,
        close=prices[-1] / price if prices else None,
        volume=sum(trade.size for trade in trades) / size,
        quote_volume=sum(trade.price * trade.size for trade in trades) / (price * size),
        taker_buy_volume=sum(trade.size for trade in bought) / size,
        taker_buy_quote_volume=sum(trade.price * trade.size for trade in bought) / (price * size),
        trades=sum(each.trades for each in numbers),
        first_id=numbers[0].first_id if numbers else None,
        last_id=numbers[-1].last_id if numbers else None,
    )


def _trades(tape: Tape, symbol: str, open_us: int, interval_us: int) -> list[TapeTrade]:
    return list(tape.upwards(symbol, -(-open_us // 1000), open_us + interval_us - 1))
