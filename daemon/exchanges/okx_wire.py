"""Message types of OKX's frames and answers, with bounds that reject implausible values.

Field names are the venue's own, which writes them in camel case.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from daemon.errors import DataFault
from daemon.exchanges.candles import VenueCandle
from daemon.exchanges.decoding import Id, NotNegative, Positive, TimeMs
from features.market import Trade

# Bounded by an implausible number of fills of one order at one price.
_Count = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class Record(msgspec.Struct, rename="camel", gc=False):
    """``trade_id``: the last of ``count`` merged trades, ``side``: the taker's, ``sz``: contracts except on spot.
    ``time`` is the venue's ``ts``.

    Only the merged stream has ``count``, and in 2022 it had none, either: a record without it is one trade.
    """

    inst_id: str
    trade_id: Id
    px: Positive
    sz: Positive
    side: Literal["buy", "sell"]
    time: TimeMs = msgspec.field(name="ts")
    count: _Count = 1

    def to_trade(self) -> Trade:
        trade_id, count = self.trade_id, self.count
        if count > trade_id + 1:
            raise DataFault(f"okx trade {trade_id} cannot be the last of {count}")
        return Trade(trade_id, self.time * 1000, self.px, self.sz, self.side == "buy", count, count)


class TradesArg(msgspec.Struct, rename="camel", gc=False):
    channel: Literal["trades", "trades-all"]
    inst_id: str


class TradesPush(msgspec.Struct, gc=False):
    arg: TradesArg
    data: Annotated[list[Record], msgspec.Meta(min_length=1)]


class Arg(msgspec.Struct, rename="camel"):
    channel: str
    inst_id: str = ""


class Envelope(msgspec.Struct):
    """Every frame without trades: an event, or a push of another channel."""

    event: str | None = None
    id: str | None = None
    arg: Arg | None = None
    code: str = ""
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw()  # empty where there is none


class AnswerStatus(msgspec.Struct):
    """The status of every REST answer; ``"0"`` is success."""

    code: str
    msg: str = ""


class TradesAnswer(msgspec.Struct):
    data: list[Record]


class CandleRow(msgspec.Struct, array_like=True, gc=False):
    ts: TimeMs
    open: NotNegative
    high: NotNegative
    low: NotNegative
    close: NotNegative
    volume: NotNegative
    volume_in_currency: NotNegative
    quote_volume: NotNegative
    confirm: Literal["0", "1"]

    def to_candle(self) -> VenueCandle:
        return VenueCandle(self.ts * 1000, self.open, self.high, self.low, self.close, self.volume, self.quote_volume)


class CandlesAnswer(msgspec.Struct):
    """``data``: a ``CandleRow`` each."""

    data: list[msgspec.Raw]


class SpotInstrument(msgspec.Struct):
    state: str
    base: str = msgspec.field(name="baseCcy")
    quote: str = msgspec.field(name="quoteCcy")


class InstrumentsAnswer(msgspec.Struct):
    data: list[SpotInstrument]


class ServerTime(msgspec.Struct):
    ts: TimeMs


class TimeAnswer(msgspec.Struct):
    data: Annotated[list[ServerTime], msgspec.Meta(min_length=1, max_length=1)]
