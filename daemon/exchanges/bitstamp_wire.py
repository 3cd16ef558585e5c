"""The shapes of Bitstamp's frames and answers, with the bounds beyond which a value is no market data.

Field names are the venue's own.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from daemon.exchanges.candles import VenueCandle
from daemon.exchanges.decoding import EARLIEST_MS, LATEST_MS, Id, NotNegative, Positive, TimeS

_TimeUs = Annotated[int, msgspec.Meta(ge=EARLIEST_MS * 1000, lt=LATEST_MS * 1000)]


class LiveTrade(msgspec.Struct, gc=False):
    """``type``: the taker's side, 0 buys and 1 sells. The same price and amount come as rounded numbers, too.

    ``trade_id`` and ``time`` are the venue's ``id`` and ``microtimestamp``.
    """

    trade_id: Id = msgspec.field(name="id")
    price_str: Positive
    amount_str: Positive
    time: _TimeUs = msgspec.field(name="microtimestamp")
    type: Literal[0, 1]


class TradeFrame(msgspec.Struct, gc=False):
    event: Literal["trade"]
    channel: str
    data: LiveTrade


class Envelope(msgspec.Struct):
    """The part of any frame that says what it is."""

    event: str
    channel: str = ""


class ErrorWords(msgspec.Struct):
    message: str = ""


class ErrorFrame(msgspec.Struct):
    """How an error is nested is not documented: the words are looked for in both places."""

    message: str = ""
    data: ErrorWords | str | None = None

    @property
    def reason(self) -> str:
        nested = self.data.message if isinstance(self.data, ErrorWords) else self.data
        return nested or self.message or "bts:error without words"


class Transaction(msgspec.Struct, gc=False):
    """``date``: whole seconds. ``tid`` is the ``id`` of the stream."""

    date: TimeS
    tid: Id
    price: Positive
    amount: Positive
    type: Literal[0, 1]


class CandleRow(msgspec.Struct, gc=False):
    timestamp: TimeS
    open: NotNegative
    high: NotNegative
    low: NotNegative
    close: NotNegative
    volume: NotNegative

    def to_candle(self) -> VenueCandle:
        return VenueCandle(self.timestamp * 1_000_000, self.open, self.high, self.low, self.close, self.volume)


class Candles(msgspec.Struct):
    ohlc: list[CandleRow]


class CandlesAnswer(msgspec.Struct):
    data: Candles


class Pair(msgspec.Struct):
    name: str
    url_symbol: str
    trading: str


class ErrorAnswer(msgspec.Struct):
    """What an answer looks like that is an error; a good one has none of this."""

    status: str = ""
    reason: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    code: str = ""
