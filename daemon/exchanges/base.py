"""What every venue must say about itself: subscribe messages, bytes to trades, REST requests and answers.

A venue file does no I/O. Frames come in as bytes and leave as the messages below; REST requests leave as
``RestRequest`` and their answers come back as bytes. Adding a venue is one new file and its tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from features.market import Bar, Trade


class TradeRecord(Protocol):
    """A trade as the venue's frame tells it. Making a ``Trade`` of it costs as much as taking it: that can wait.

    trade_id: as ``Trade.trade_id``, or what that number is made of. time: in the venue's own unit, see
    ``Venue.to_record_time``. count: only where ``Venue.merges``.
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
    """Trades of several symbols that came in one frame."""

    messages: Sequence[TradesMessage[T]]


class Acknowledged(msgspec.Struct, frozen=True):
    """The venue confirmed subscriptions: those of ``symbols``, or where it names none all of the request.

    request_id: None where the venue does not repeat it; the answer is then to the one request under way.
    """

    request_id: int | None = None
    symbols: tuple[str, ...] = ()


class Listed(msgspec.Struct, frozen=True):
    """The venue's own list of what this connection is subscribed to, as BASE-QUOTE symbols."""

    request_id: int
    symbols: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True):
    """The venue refused ``symbols``, or where it names none the whole request; ``reason`` is its own text."""

    request_id: int | None
    reason: str
    symbols: tuple[str, ...] = ()


class ClosingSoon(msgspec.Struct, frozen=True):
    """The venue announced that it will close this connection."""

    reason: str


class Heartbeat(msgspec.Struct, frozen=True):
    """A frame that only proves the transport: a pong, a status, or another channel."""


Control = Acknowledged | Listed | Refused | ClosingSoon | Heartbeat
ParsedFrame = TradesMessage[TradeRecord] | TradesBatch[TradeRecord] | Control
Message = TradesMessage[Trade] | TradesBatch[Trade] | Control


class Ids(Enum):
    """What a venue's trade ids can prove.

    CONTIGUOUS: no number is left out per instrument: what is missing is known exactly.
    ORDERED: later trades have larger numbers, but there are holes. IDENTITY: they only tell trades apart.
    """

    CONTIGUOUS = "contiguous"
    ORDERED = "ordered"
    IDENTITY = "identity"


class KeepAlive(msgspec.Struct, frozen=True):
    """A text frame that the venue wants to hear every ``every_s`` wall seconds, and answers."""

    text: str
    every_s: float


class RestRequest(msgspec.Struct, frozen=True):
    """A GET below the venue's REST address. ``weight`` is taken from the budget of ``pace`` (see ``Limits``).

    Requests of one ``pace`` share a budget, e.g. the pair at a venue that counts per pair.
    """

    path: str
    query: Mapping[str, str | int]
    weight: float = 1.0
    pace: str = ""


class TradesWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Trades that are asked for by REST.

    from_id: the first wanted; None where they are wanted by time. until_id: the last wanted; None for the newest.
    from_time_us: no wanted trade is older, and a trade at this very time may be wanted.
    asked_at_us: market time of the question.
    """

    symbol: str
    from_id: int | None
    from_time_us: int
    until_id: int | None
    asked_at_us: int


class TradesPage(msgspec.Struct):
    """One answer with trades, oldest first; it may hold more than was wanted.

    next: the request for the next page, None where the walk is over. whole: False where the walk is over although
    older wanted trades exist that the venue does not give.

    A ``count`` of 0 on a trade (then ``size`` is 0.0 too) means: the id is accounted for, nothing traded.
    """

    trades: list[Trade]
    next: RestRequest | None = None
    complete: bool = True


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue allows, per connection and per address. ``math.inf`` where it names no lifetime.

    rest_burst, rest_per_s: the budget of each ``RestRequest.pace``: so much at once, refilled so fast. Their sum
    over the venue's own window stays below what it allows.
    candles_reach: how many of the newest candles it serves; None where it serves all there are.
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

    A venue is made for given symbols; with None, for recordings, it accepts every symbol, spelt BASE-QUOTE where the
    spelling can be derived and as the venue spells it elsewhere.

    ids: what its trade ids prove. newest_first: whether a walk over pages of trades begins at the newest.
    decimals: digits behind the point of its sizes and volumes, at most.
    opens_at_previous_close: whether its candles open at the close of the candle before, traded or not.
    merges: whether a record of the stream may merge several trades, with as many ids as its ``count``.
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
    keep_alive: KeepAlive | None

    def native(self, symbol: str) -> str:
        """``BTC-USDT`` as the venue spells it in REST calls."""
        ...

    # The stream

    def stream_url(self, ws_url: str) -> str:
        """The address to open for a connection that subscribes by message."""
        ...

    def opening(self) -> Sequence[str]:
        """What to send first on every connection, before any subscription; often nothing."""
        ...

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:
        """One request for at most ``limits.symbols_per_request`` symbols."""
        ...

    def list_subscriptions(self, request_id: int) -> str | None:
        """The question for a ``Listed``; None where the venue has none and an acknowledgement is all there is."""
        ...

    def read(self, frame: bytes | str) -> ParsedFrame:
        """Trades as the venue's records. Raises DataFault for anything malformed; never another exception."""
        ...

    def to_trades(self, records: Sequence[Any]) -> list[Trade]:
        """Trades of the stream's records. Raises DataFault for a time that cannot be, or for ids that cannot."""
        ...

    def to_record_time(self, time_us: int) -> Any:
        """A time as the stream's records spell it, rounded down to their unit."""
        ...

    def decode(self, frame: bytes | str) -> Message:
        """``read`` and ``to_trades`` in one."""
        ...

    # Trades by REST

    def trades(self, wanted: TradesWanted) -> RestRequest:
        """The first page. ``from_id`` is always given where ids are contiguous and the start is known."""
        ...

    def decode_trades(self, body: bytes, wanted: TradesWanted, request: RestRequest) -> TradesPage:
        """The page that answers ``request``, which belongs to the walk for ``wanted``."""
        ...

    def latest_trade(self, symbol: str) -> RestRequest:
        """A page that ends with the newest trade."""
        ...

    def last_trade_before(self, symbol: str, time_us: int) -> RestRequest | None:
        """A page that ends with the last trade before a time; None where the venue cannot be asked that."""
        ...

    # Candles

    def candle_interval(self, interval_us: int) -> int | None:
        """The largest candle interval (us) of the venue that divides ``interval_us``; None where none does."""
        ...

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        """Candles with open time in ``[start_us, end_us)``, up to a page."""
        ...

    def decode_candles(self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int) -> list[Bar]:
        """Oldest first; only candles whose interval has ended at ``known_at_us`` and that are final."""
        ...

    # Symbols, time and complaints

    def instruments(self) -> RestRequest: ...

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        """BASE-QUOTE symbol to ``TRADING``, or to the venue's own word for why it is not trading."""
        ...

    def server_time(self) -> RestRequest: ...

    def decode_server_time(self, body: bytes, date: str) -> int:
        """The venue's time in us. ``date``: the answer's Date header, for a venue that says it nowhere else."""
        ...

    def check_answer(self, body: bytes) -> None:
        """Raises RateLimited, Retryable or DataFault where an answer with HTTP 200 is a complaint."""
        ...


class Traits(NamedTuple):
    """What the bars of a venue need to know of it; see ``Venue``."""

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
