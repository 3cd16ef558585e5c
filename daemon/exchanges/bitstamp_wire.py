"""Message types of Bitstamp's frames and answers, with bounds that reject implausible values.

Field names are the venue's own.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from daemon.exchanges.candles import VenueCandle
from daemon.exchanges.decoding import EARLIEST_MS, LATEST_MS, Id, NotNegative, Positive, TimeS

_TimeUs = Annotated[int, msgspec.Meta(ge=EARLIEST_MS * 1000, lt=LATEST_MS * 1000)]


class LiveTrade(msgspec.Struct, gc=False):
    """``type``: the taker's side, 0 buys and 1 sells. Frames also hold rounded price and amount as numbers.

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
    """The event and channel of any frame."""

    event: str
    channel: str = ""


class ErrorText(msgspec.Struct):
    message: str = ""


class ErrorFrame(msgspec.Struct):
    """The nesting of the error text is not documented: it is read from either place."""

    message: str = ""
    data: ErrorText | str | None = None

    @property
    def reason(self) -> str:
        nested = self.data.message if isinstance(self.data, ErrorText) else self.data
        return nested or self.message or "bts:error without a text"


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
    """``ohlc``: a ``CandleRow`` each."""

    ohlc: list[msgspec.Raw]


class CandlesAnswer(msgspec.Struct):
    data: Candles


class Pair(msgspec.Struct):
    name: str
    url_symbol: str
    trading: str


class ErrorAnswer(msgspec.Struct):
    """The fields of an error answer; a good answer has none of them."""

    status: str = ""
    reason: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    code: str = ""
