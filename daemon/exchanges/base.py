"""The Venue protocol: wire format, limits and id guarantees of one venue, and the messages that it decodes to.

Venue modules do no I/O. They decode frames (bytes) to the messages below, return REST requests as ``RestRequest``
and decode the bytes of the answers. A new venue is one new module and its tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from daemon.errors import DataFault
from features.market import Bar, Trade


class TradeRecord(Protocol):
    """A trade in the venue's own format, converted to a ``Trade`` only when needed, as the conversion is expensive.

    trade_id: as ``Trade.trade_id``, or the text that this number is derived from. time: in the venue's own unit, see
    ``Venue.to_record_time``. A record also has a ``count`` where ``Venue.merges``.
    """

    @property
    def trade_id(self) -> Any: ...

    @property
    def time(self) -> Any: ...


T = TypeVar("T")


class TradesMessage(msgspec.Struct, Generic[T], gc=False):
    """Trades of one symbol (BASE-QUOTE), oldest first, at least one."""

    symbol: str
    trades: Sequence[T]


class TradesBatch(msgspec.Struct, Generic[T], gc=False):
    """Trades of several symbols from one frame."""

    messages: Sequence[TradesMessage[T]]


class Acknowledged(msgspec.Struct, frozen=True):
    """The venue confirmed the subscriptions to ``symbols``, or if it names none to all symbols of the request.

    request_id: None where the venue does not repeat it; the answer then belongs to the pending request.
    """

    request_id: int | None = None
    symbols: tuple[str, ...] = ()


class Listed(msgspec.Struct, frozen=True):
    """The venue's list of the subscriptions of this connection, as BASE-QUOTE symbols."""

    request_id: int
    symbols: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True):
    """The venue refused ``symbols``, or if it names none the whole request; ``reason`` is the venue's text."""

    request_id: int | None
    reason: str
    symbols: tuple[str, ...] = ()


class ClosingSoon(msgspec.Struct, frozen=True):
    """The venue announced that it will close this connection."""

    reason: str


class Heartbeat(msgspec.Struct, frozen=True):
    """A frame that only shows that the connection works: a pong, a status, or another channel."""


Control = Acknowledged | Listed | Refused | ClosingSoon | Heartbeat
ParsedFrame = TradesMessage[TradeRecord] | TradesBatch[TradeRecord] | Control
Message = TradesMessage[Trade] | TradesBatch[Trade] | Control


class Ids(Enum):
    """What a venue's trade ids guarantee.

    CONTIGUOUS: ids of an instrument have no holes, so that missing trades are known exactly.
    ORDERED: later trades have larger ids, with holes. IDENTITY: ids only distinguish trades.
    """

    CONTIGUOUS = "contiguous"
    ORDERED = "ordered"
    IDENTITY = "identity"


class KeepAlive(msgspec.Struct, frozen=True):
    """A text frame that is sent every ``every_s`` wall seconds, and that the venue answers."""

    text: str
    every_s: float


class RestRequest(msgspec.Struct, frozen=True):
    """A GET request, relative to the venue's REST address.

    weight: its cost, taken from the budget of ``pace`` (see ``Limits``). pace: requests with the same value share a
    budget, e.g. the pair at a venue that limits per pair.
    """

    path: str
    query: Mapping[str, str | int]
    weight: float = 1.0
    pace: str = ""


class TradesWanted(msgspec.Struct, frozen=True, kw_only=True):
    """A range of trades to request by REST.

    from_id: the first wanted id; None where the range begins at a time. until_id: the last wanted id; None for the
    newest. from_time_us: no wanted trade is older; a trade at exactly this time may be wanted.
    asked_at_us: market time of the request.
    """

    symbol: str
    from_id: int | None
    from_time_us: int
    until_id: int | None
    asked_at_us: int


class TradesPage(msgspec.Struct):
    """One page of trades, oldest first; it may contain unwanted trades.

    next: the request for the next page, None after the last one. complete: False where this is the last page although
    the venue has older wanted trades that it does not serve.

    A trade with a ``count`` of 0 (and ``size`` 0.0) accounts for its id, but nothing was traded.
    """

    trades: list[Trade]
    next: RestRequest | None = None
    complete: bool = True


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's limits, per connection and per address.

    connection_lifetime_s: ``math.inf`` where the venue documents none. rest_burst, rest_per_s: capacity and refill
    rate of the budget of each ``RestRequest.pace``; their sum over the venue's window stays below its limit.
    candles_reach: number of the newest candles that it serves; None where it serves all candles.
    """

    streams_per_connection: int
    symbols_per_request: int
    messages_per_second: float
    connection_lifetime_s: float
    connections_per_5_minutes: int
    rest_burst: float
    rest_per_s: float
    candles_per_page: int
    candles_reach: int | None = None


class Venue(Protocol):
    """The wire protocol of one venue. ``symbol`` is always BASE-QUOTE, ``native`` the venue's own spelling.

    An instance accepts the given symbols only; with None, for recordings, it accepts every symbol, spelt BASE-QUOTE
    where that can be derived and otherwise as the venue spells it.

    ids: the guarantee of its trade ids. newest_first: whether pages of trades begin at the newest trade.
    decimals: the maximum number of decimals of its sizes and volumes.
    opens_at_previous_close: whether a candle opens at the close of the previous candle instead of its first trade.
    merges: whether a record of the stream may merge several trades, with as many ids as its ``count``.
    time_resolution_us: the smallest step of the time that ``decode_server_time`` returns.
    """

    name: str
    default_ws_url: str
    default_rest_url: str
    limits: Limits
    ids: Ids
    newest_first: bool
    decimals: int
    opens_at_previous_close: bool
    merges: bool
    time_resolution_us: int
    keep_alive: KeepAlive | None

    def native(self, symbol: str) -> str:
        """``BTC-USDT`` as the venue spells it in REST calls."""
        ...

    # The stream

    def stream_url(self, ws_url: str) -> str:
        """The websocket address to connect to."""
        ...

    def opening(self) -> Sequence[str]:
        """The frames to send on every connection before the first subscription; often none."""
        ...

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:
        """The frame that subscribes to at most ``limits.symbols_per_request`` symbols."""
        ...

    def list_subscriptions(self, request_id: int) -> str | None:
        """The frame that requests a ``Listed``; None where the venue only acknowledges subscriptions."""
        ...

    def read(self, frame: bytes | str) -> ParsedFrame:
        """Parses a frame; trades stay the venue's records. Raises DataFault for any malformed frame, nothing else."""
        ...

    def to_trades(self, records: Sequence[Any]) -> list[Trade]:
        """Converts the stream's records to trades. Raises DataFault for an impossible time or id."""
        ...

    def to_record_time(self, time_us: int) -> Any:
        """A time in the unit of the stream's records, rounded down."""
        ...

    def decode(self, frame: bytes | str) -> Message:
        """``read`` followed by ``to_trades``."""
        ...

    # Trades by REST

    def trades(self, wanted: TradesWanted) -> RestRequest:
        """The request for the first page; ``from_id`` is set where ids are contiguous and the start is known."""
        ...

    def decode_trades(self, body: bytes, wanted: TradesWanted, request: RestRequest) -> TradesPage:
        """Decodes the answer to ``request``, one of the pages of ``wanted``. Raises DataFault."""
        ...

    def latest_trade(self, symbol: str) -> RestRequest:
        """The request for a page that ends with the newest trade."""
        ...

    def last_trade_before(self, symbol: str, time_us: int) -> RestRequest | None:
        """The request for a page that ends with the last trade before a time; None where the venue has none."""
        ...

    # Candles

    def candle_interval(self, interval_us: int) -> int | None:
        """The venue's largest candle interval (us) that divides ``interval_us``; None if there is none."""
        ...

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        """The request for one page of candles with open times in ``[start_us, end_us)``."""
        ...

    def decode_candles(
        self,
        body: bytes,
        *,
        symbol: str,
        interval_us: int,
        known_at_us: int,
        reject: Callable[[DataFault], None] = ...,
    ) -> list[Bar]:
        """The final candles whose interval had ended at ``known_at_us``, oldest first.

        The fault of an impossible candle goes to ``reject``, by default raised. Raises DataFault for another body.
        """
        ...

    # Symbols, time and errors

    def instruments(self) -> RestRequest:
        """The request for all symbols of the venue."""
        ...

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        """BASE-QUOTE symbol to ``TRADING``, or to the venue's status where it is not trading. Raises DataFault."""
        ...

    def server_time(self) -> RestRequest:
        """The request for the venue's time."""
        ...

    def decode_server_time(self, body: bytes, date: str) -> int:
        """The venue's time in us, from the body or from ``date``, the answer's Date header. Raises DataFault."""
        ...

    def check_answer(self, body: bytes) -> None:
        """Raises RateLimited, Retryable or DataFault for an error response with HTTP 200."""
        ...


class Traits(NamedTuple):
    """The properties of a venue that sequencing and bars depend on; see ``Venue``."""

    ids: Ids
    decimals: int
    opens_at_previous_close: bool
    merges: bool
    to_trades: Callable[[Sequence[Any]], list[Trade]]
    to_record_time: Callable[[int], Any]


def traits(venue: Venue) -> Traits:
    return Traits(
        venue.ids, venue.decimals, venue.opens_at_previous_close, venue.merges, venue.to_trades, venue.to_record_time
    )
