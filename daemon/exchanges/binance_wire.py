"""Message types of Binance's frames and answers, with bounds that reject implausible values.

Field names are the venue's own, but for what every stream's records have: ``trade_id`` and ``time``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from daemon.errors import DataFault
from daemon.exchanges.decoding import Id, NotNegative, Positive, TimeMs
from features.market import Trade

MOST_FILLS = 10_000_000  # an implausible number of fills of one order at one price


class AggregateTrade(msgspec.Struct, gc=False):
    """``e``: kind, ``s``: symbol, ``f``, ``l``: raw ids, ``m``: the buyer is the maker."""

    e: Literal["aggTrade"]
    s: str
    trade_id: Id = msgspec.field(name="a")
    p: Positive
    q: Positive
    f: Id
    l: Id  # noqa: E741  # the venue's name
    time: TimeMs = msgspec.field(name="T")
    m: bool


class CombinedTrade(msgspec.Struct, gc=False):
    data: AggregateTrade


class RawTrade(msgspec.Struct, gc=False):
    """A fill of the raw ``trade`` stream, otherwise as in ``AggregateTrade``."""

    e: Literal["trade"]
    s: str
    trade_id: Id = msgspec.field(name="t")
    p: Positive
    q: Positive
    time: TimeMs = msgspec.field(name="T")
    m: bool


class RestTrade(msgspec.Struct, gc=False):
    a: Id
    p: NotNegative
    q: NotNegative
    f: int
    l: int  # noqa: E741  # the venue's name
    T: TimeMs
    m: bool

    def to_trade(self) -> Trade:
        count = self.l - self.f + 1
        if self.p > 0 and self.q > 0 and self.f >= 0 and 0 < count <= MOST_FILLS:
            return Trade(self.a, self.T * 1000, self.p, self.q, not self.m, count)
        if self.p == self.q == 0 and self.f == self.l == -1:
            # Since its audit of 2022-04-12 Binance marks invalidated duplicates like this; the id stays in sequence.
            return Trade(self.a, self.T * 1000, 0.0, 0.0, not self.m, 0)
        raise DataFault(f"binance aggTrade {self.a} is inconsistent: p={self.p} q={self.q} f={self.f} l={self.l}")


class Kline(msgspec.Struct, array_like=True, gc=False):
    open_ms: TimeMs
    open: NotNegative
    high: NotNegative
    low: NotNegative
    close: NotNegative
    volume: NotNegative
    close_ms: TimeMs
    quote_volume: NotNegative
    trades: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    taker_buy_volume: NotNegative
    taker_buy_quote_volume: NotNegative


class Event(msgspec.Struct):
    """The event type of a payload; book tickers have none."""

    e: str | None = None


class ErrorDetail(msgspec.Struct):
    code: int
    msg: str


class Envelope(msgspec.Struct):
    """Every frame other than an aggregate trade: of another stream, an answer, an error or an announcement.

    Books and book tickers of a single stream have no ``e``: ``book`` and ``ticker`` are their update ids.
    """

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()  # empty where there is none
    e: str | None = None
    result: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: ErrorDetail | None = None
    book: int | None = msgspec.field(name="lastUpdateId", default=None)
    ticker: int | None = msgspec.field(name="u", default=None)


class Symbol(msgspec.Struct):
    status: str
    base: str = msgspec.field(name="baseAsset")
    quote: str = msgspec.field(name="quoteAsset")


class ExchangeInfo(msgspec.Struct):
    symbols: list[Symbol]


class ServerTime(msgspec.Struct):
    time_ms: TimeMs = msgspec.field(name="serverTime")
