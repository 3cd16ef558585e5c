"""Message types of Bybit's frames and answers, with bounds that reject implausible values.

Field names are the venue's own, but for what every stream's records have: ``trade_id`` and ``time``. ``I`` is the type
of trade ids: numbers on spot, UUIDs on linear.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from daemon.exchanges.candles import VenueCandle
from daemon.exchanges.decoding import EARLIEST_MS, LATEST_MS, Id, NotNegative, Positive, TimeMs

# Kept as text: decoding a UUID takes as long as the rest of the record.
Uuid = Annotated[str, msgspec.Meta(min_length=32, max_length=36)]
I = TypeVar("I", Id, Uuid)  # noqa: E741  # the venue's name

_TimeNs = Annotated[int, msgspec.Meta(ge=EARLIEST_MS * 1_000_000, lt=LATEST_MS * 1_000_000)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Record(msgspec.Struct, Generic[I], gc=False):
    """``s``: symbol, ``S``: the taker's side, ``v``: size, ``p``: price."""

    time: TimeMs = msgspec.field(name="T")
    s: str
    S: Literal["Buy", "Sell"]
    v: Positive
    p: Positive
    trade_id: I = msgspec.field(name="i")


class TradesPush(msgspec.Struct, Generic[I], gc=False):
    topic: str
    data: Annotated[list[Record[I]], msgspec.Meta(min_length=1)]


class Envelope(msgspec.Struct):
    """Every frame without trades: the answer to a request, or a push of another topic."""

    topic: str | None = None
    op: str | None = None
    success: bool | None = None
    ret_msg: str = ""
    req_id: str | None = None


class AnswerStatus(msgspec.Struct):
    """The status of every REST answer; 0 is success."""

    code: int = msgspec.field(name="retCode")
    message: str = msgspec.field(name="retMsg", default="")


class RestRecord(msgspec.Struct, Generic[I], rename="camel", gc=False):
    """``seq`` is shared by the fills of one match; older answers lack it."""

    exec_id: I
    symbol: str
    price: Positive
    size: Positive
    side: Literal["Buy", "Sell"]
    time: TimeMs
    seq: _Number = 0


class TradesList(msgspec.Struct, Generic[I]):
    records: list[RestRecord[I]] = msgspec.field(name="list")


class TradesAnswer(msgspec.Struct, Generic[I]):
    result: TradesList[I]


class CandleRow(msgspec.Struct, array_like=True, gc=False):
    start: TimeMs
    open: NotNegative
    high: NotNegative
    low: NotNegative
    close: NotNegative
    volume: NotNegative
    turnover: NotNegative

    def to_candle(self) -> VenueCandle:
        return VenueCandle(self.start * 1000, self.open, self.high, self.low, self.close, self.volume, self.turnover)


class CandlesList(msgspec.Struct):
    """``rows``: a ``CandleRow`` each."""

    rows: list[msgspec.Raw] = msgspec.field(name="list")


class CandlesAnswer(msgspec.Struct):
    result: CandlesList


class InstrumentInfo(msgspec.Struct):
    symbol: str
    status: str
    base: str = msgspec.field(name="baseCoin")
    quote: str = msgspec.field(name="quoteCoin")


class InstrumentsList(msgspec.Struct):
    instruments: list[InstrumentInfo] = msgspec.field(name="list")


class InstrumentsAnswer(msgspec.Struct):
    result: InstrumentsList


class ServerTime(msgspec.Struct):
    time_ns: _TimeNs = msgspec.field(name="timeNano")


class TimeAnswer(msgspec.Struct):
    result: ServerTime
