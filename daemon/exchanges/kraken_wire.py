"""Message types of Kraken's frames and answers, with bounds that reject implausible values.

Field names are the venue's own. Frames hold numbers as numbers, answers mostly as strings.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Literal, TypeVar

import msgspec

from daemon.errors import DataFault
from daemon.exchanges.candles import VenueCandle
from daemon.exchanges.decoding import EARLIEST_MS, LATEST_MS, Id, NotNegative, Positive, TimeS
from features.market import Trade

T = TypeVar("T")

_MICROSECOND = Decimal("0.000001")


class StreamTrade(msgspec.Struct, gc=False):
    """``side``: the taker's. ``time_text``: the venue's ``timestamp``. ``time``: in microseconds, set later."""

    symbol: str
    side: Literal["buy", "sell"]
    price: Positive
    qty: Positive
    trade_id: Id
    time_text: str = msgspec.field(name="timestamp")
    time: int = msgspec.field(default=0, name="")


class TradesFrame(msgspec.Struct, gc=False):
    """``type``: "snapshot", the last 50 trades of each symbol, or "update"; both are decoded alike."""

    channel: Literal["trade"]
    type: Literal["snapshot", "update"]
    data: list[StreamTrade]


class Subscribed(msgspec.Struct):
    channel: str = ""
    symbol: str = ""


class Envelope(msgspec.Struct):
    """Every frame without trades: of another channel, or an answer."""

    channel: str | None = None
    method: str | None = None
    req_id: int | None = None
    success: bool | None = None
    error: str | None = None
    symbol: str | None = None
    result: Subscribed | None = None


class AnswerStatus(msgspec.Struct):
    """The errors of every REST answer: each a letter for its severity, its category and its text."""

    error: list[str]


class TradeRow(msgspec.Struct, array_like=True, gc=False):
    """``side``: the taker's, "b" or "s"; ``order``: "m" for market, "l" for limit."""

    price: Positive
    volume: Positive
    time: Decimal  # a float of this size has a resolution of a quarter of a microsecond
    side: Literal["b", "s"]
    order: str
    miscellaneous: str
    trade_id: Id

    def to_trade(self) -> Trade:
        """Digits beyond the microsecond are cut. Raises DataFault for an impossible time."""
        time = self.time
        if not time.is_finite() or not EARLIEST_MS // 1000 <= time < LATEST_MS // 1000:
            raise DataFault(f"kraken trade {self.trade_id} has an impossible time")
        time_us = int(time.quantize(_MICROSECOND, ROUND_FLOOR).scaleb(6))
        return Trade(self.trade_id, time_us, self.price, self.volume, self.side == "b")


class TradesAnswer(msgspec.Struct):
    """``result``: the rows under Kraken's own name of the pair, and the next ``since`` in ns under "last"."""

    result: dict[str, list[TradeRow] | str | int]

    @property
    def rows(self) -> list[TradeRow]:
        return _only_rows(self.result)

    @property
    def last_ns(self) -> int:
        last = str(self.result.get("last"))
        if not (last.isascii() and last.isdecimal() and len(last) < 20):
            raise DataFault(f"kraken's trades continue at {last[:40]!r}, which is no time")
        return int(last)


class CandleRow(msgspec.Struct, array_like=True, gc=False):
    """``vwap`` is rounded to the price's digits, too coarse to derive the quote volume."""

    time: TimeS
    open: NotNegative
    high: NotNegative
    low: NotNegative
    close: NotNegative
    vwap: NotNegative
    volume: NotNegative
    count: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

    def to_candle(self) -> VenueCandle:
        return VenueCandle(
            self.time * 1_000_000, self.open, self.high, self.low, self.close, self.volume, trades=self.count
        )


class CandlesAnswer(msgspec.Struct):
    """``result``: the rows under Kraken's own name of the pair, see ``CandleRow``."""

    result: dict[str, list[msgspec.Raw] | str | int]

    @property
    def rows(self) -> list[msgspec.Raw]:
        return _only_rows(self.result)


class AssetPair(msgspec.Struct):
    """``wsname``: base and quote with a slash, in the names of the first websocket; dark pools have none."""

    status: str
    wsname: str = ""


class AssetPairsAnswer(msgspec.Struct):
    result: dict[str, AssetPair]


class ServerTime(msgspec.Struct):
    unixtime: TimeS


class TimeAnswer(msgspec.Struct):
    result: ServerTime


def _only_rows(result: Mapping[str, list[T] | str | int]) -> list[T]:
    """The rows of an answer for one pair; their key is not the name in the request. Raises DataFault."""
    found = [value for value in result.values() if isinstance(value, list)]
    if len(found) != 1:
        raise DataFault(f"kraken was asked for one pair and answered with {len(found)}")
    return found[0]
