"""The bounds of every value that a venue decodes; a value beyond them is not market data."""

from __future__ import annotations

import math

from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    Listed,
    Message,
    Refused,
    RestRequest,
    TradesBatch,
    TradesMessage,
    TradesPage,
    Venue,
)
from features.market import Bar, Trade

YEAR_2009_US = 1_230_768_000_000_000
YEAR_2100_US = 4_102_444_800_000_000
IDS = 2**63


def check_trade(trade: Trade) -> None:
    """One trade that happened."""
    assert type(trade.price) is float, trade
    assert type(trade.size) is float, trade
    assert 0 < trade.price < 1e24, trade
    assert 0 < trade.size < 1e24, trade
    assert trade.count >= 1, trade
    check_record(trade)


def check_record(trade: Trade) -> None:
    """The bounds of every record, with a trade or without."""
    assert type(trade.trade_id) is int, trade
    assert type(trade.time_us) is int, trade
    assert type(trade.taker_buys) is bool, trade
    assert 0 <= trade.trade_id < IDS, trade
    assert 1 <= trade.span <= trade.trade_id + 1, trade
    assert YEAR_2009_US <= trade.time_us < YEAR_2100_US, trade


def check_message(message: Message) -> None:
    """A frame's message is of a known kind, and each of its trades is within bounds."""
    if isinstance(message, TradesBatch):
        assert message.messages
        for part in message.messages:
            check_message(part)
    elif isinstance(message, TradesMessage):
        assert isinstance(message.symbol, str)
        assert message.trades
        for trade in message.trades:
            check_trade(trade)
    else:
        assert isinstance(message, Acknowledged | Listed | Refused | ClosingSoon | Heartbeat), message


def check_page(venue: Venue, page: TradesPage) -> None:
    """A page of trades by REST: records in bounds, and a next request within the venue's budget."""
    for trade in page.trades:
        if trade.count == 0:
            assert trade.size == 0.0, trade
            check_record(trade)
        else:
            check_trade(trade)
    if page.next is not None:
        check_request(venue, page.next)


def check_request(venue: Venue, request: RestRequest) -> None:
    """A request that can be sent: a path, plain values, and a weight that its budget can hold."""
    assert request.path.startswith("/")
    assert "?" not in request.path
    assert all(type(value) in {str, int} for value in request.query.values()), request
    assert 0 < request.weight <= venue.limits.rest_burst
    assert isinstance(request.pace, str)


def check_bar(bar: Bar, *, symbol: str, interval_us: int, known_at_us: int) -> None:
    """A candle of the requested symbol and interval, on the grid, ended, with finite values."""
    assert (bar.symbol, bar.interval_us, bar.known_at_us) == (symbol, interval_us, known_at_us)
    assert bar.open_time_us % interval_us == 0, bar
    assert bar.open_time_us >= YEAR_2009_US, bar
    assert bar.close_time_us <= known_at_us, bar
    for price in (bar.open, bar.high, bar.low, bar.close):
        assert price is None or 0 < price < 1e24, bar
    for amount in (bar.volume, bar.quote_volume, bar.taker_buy_volume, bar.taker_buy_quote_volume):
        assert amount is None or (math.isfinite(amount) and amount >= 0), bar
    assert bar.trades is None or bar.trades >= 0, bar
