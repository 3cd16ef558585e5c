"""Message types of Coinbase's frames and answers: Advanced Trade and Exchange, which use the same trade ids.

Field names are the venue's own. ``side`` is the MAKER's everywhere: where the maker sells, the taker buys.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from daemon.exchanges.candles import VenueCandle
from daemon.exchanges.decoding import Id, NotNegative, Positive, TimeS, cut_microseconds
from features.market import Trade


class AdvancedTrade(msgspec.Struct, gc=False):
    """``time_text``: RFC 3339 with any number of fraction digits, zeros at the end left out.

    ``time``: the same in microseconds, set later.
    """

    product_id: str
    trade_id: Id
    price: Positive
    size: Positive
    side: Literal["BUY", "SELL"]
    time_text: str = msgspec.field(name="time")
    time: int = msgspec.field(default=0, name="")


class TradesEvent(msgspec.Struct, gc=False):
    """``type``: "snapshot", the last 100 trades of each product, or "update"; both are decoded alike."""

    type: Literal["snapshot", "update"]
    trades: list[AdvancedTrade]


class MarketTrades(msgspec.Struct, gc=False):
    channel: Literal["market_trades"]
    events: list[TradesEvent]


class RestTrade(msgspec.Struct, gc=False):
    """``time_text``, ``time``: see ``AdvancedTrade``."""

    trade_id: Id
    price: Positive
    size: Positive
    side: Literal["buy", "sell"]
    time_text: str = msgspec.field(name="time")
    time: int = msgspec.field(default=0, name="")

    def to_trade(self) -> Trade:
        time_us = cut_microseconds(self.time_text)
        return Trade(self.trade_id, time_us, self.price, self.size, self.side == "sell")


class Match(RestTrade, gc=False, kw_only=True):
    """A trade of the Exchange feed. ``last_match`` repeats the newest trade after a subscription."""

    type: Literal["match", "last_match"]
    product_id: str


class Envelope(msgspec.Struct):
    """The kind of a frame: ``channel`` in the Advanced Trade feed, ``type`` in the Exchange feed."""

    channel: str | None = None
    type: str | None = None
    message: str = ""
    reason: str = ""


class SubscriptionsEvent(msgspec.Struct):
    subscriptions: dict[str, list[str]]


class Subscriptions(msgspec.Struct):
    """All current subscriptions of the connection: products by channel."""

    events: list[SubscriptionsEvent]

    def products(self) -> list[str]:
        return [product for event in self.events for product in event.subscriptions.get("market_trades", ())]


class ExchangeChannel(msgspec.Struct):
    name: str
    product_ids: list[str] = []


class ExchangeSubscriptions(msgspec.Struct):
    """All current subscriptions of a connection to the Exchange feed."""

    channels: list[ExchangeChannel]

    def products(self) -> list[str]:
        return [product for each in self.channels if each.name == "matches" for product in each.product_ids]


class CandleRow(msgspec.Struct, array_like=True, gc=False):
    """Low and high come before open and close."""

    time: TimeS
    low: NotNegative
    high: NotNegative
    open: NotNegative
    close: NotNegative
    volume: NotNegative

    def to_candle(self) -> VenueCandle:
        return VenueCandle(self.time * 1_000_000, self.open, self.high, self.low, self.close, self.volume)


class Product(msgspec.Struct):
    status: str
    base: str = msgspec.field(name="base_currency")
    quote: str = msgspec.field(name="quote_currency")
    trading_disabled: bool = False


class ServerTime(msgspec.Struct):
    iso: str
