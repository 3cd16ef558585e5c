"""What every venue must say about itself: subscribe messages, bytes to trades, REST requests and answers.

A venue file does no I/O. Frames come in as bytes and leave as the messages below; REST requests leave as
``RestRequest`` and their answers come back as bytes. Adding a venue is one new file and its tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from features.market import Bar, Trade


class TradesMessage(msgspec.Struct, gc=False):
    """Trades of one symbol (BASE-QUOTE), oldest first."""

    symbol: str
    trades: list[Trade]


class Acknowledged(msgspec.Struct, frozen=True):
    """The venue confirmed the request with this id."""

    request_id: int


class Listed(msgspec.Struct, frozen=True):
    """The venue's own list of what this connection is subscribed to, as BASE-QUOTE symbols."""

    request_id: int
    symbols: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True):
    """The venue refused a request; ``reason`` is its own text."""

    request_id: int | None
    reason: str


class ClosingSoon(msgspec.Struct, frozen=True):
    """The venue announced that it will close this connection."""

    reason: str


class Heartbeat(msgspec.Struct, frozen=True):
    """A frame that proves the transport and nothing else."""


Message = TradesMessage | Acknowledged | Listed | Refused | ClosingSoon | Heartbeat


class RestRequest(msgspec.Struct, frozen=True):
    """A GET below the venue's REST address. ``weight`` counts against ``Limits.rest_weight_per_minute``."""

    path: str
    query: Mapping[str, str | int]
    weight: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue allows, per connection and per address. ``math.inf`` where it names no lifetime."""

    streams_per_connection: int
    messages_per_second: float
    connection_lifetime_s: float
    connections_per_5_minutes: int
    rest_weight_per_minute: int
    trades_per_page: int
    candles_per_page: int


class Venue(Protocol):
    """One venue's wire knowledge. ``symbol`` is always BASE-QUOTE, ``native`` the venue's own spelling."""

    name: str
    default_ws_url: str
    default_rest_url: str
    limits: Limits

    def native(self, symbol: str) -> str:
        """``BTC-USDT`` as the venue spells it in REST calls."""
        ...

    def stream_url(self, ws_url: str) -> str:
        """The address to open for a connection that subscribes by message."""
        ...

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str: ...

    def list_subscriptions(self, request_id: int) -> str: ...

    def decode(self, frame: bytes | str) -> Message:
        """Raises DataFault for anything malformed; never another exception."""
        ...

    def trades_from_id(self, symbol: str, from_id: int) -> RestRequest:
        """Trades with id >= ``from_id``, ascending, up to a page."""
        ...

    def trades_from_time(self, symbol: str, from_time_us: int) -> RestRequest:
        """Trades at or after a time, ascending, up to a page."""
        ...

    def latest_trade(self, symbol: str) -> RestRequest: ...

    def decode_trades(self, body: bytes) -> list[Trade]:
        """Oldest first. A ``count`` of 0 (then ``size`` is 0.0 too) means: the id is accounted for, nothing traded."""
        ...

    def candle_interval(self, interval_us: int) -> int | None:
        """The largest candle interval (us) of the venue that divides ``interval_us``; None where none does."""
        ...

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        """Candles with open time in ``[start_us, end_us)``, ascending, up to a page."""
        ...

    def decode_candles(self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int) -> list[Bar]:
        """Only candles whose interval has ended at ``known_at_us``."""
        ...

    def instruments(self) -> RestRequest: ...

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        """BASE-QUOTE symbol to ``TRADING``, or to the venue's own word for why it is not trading."""
        ...

    def server_time(self) -> RestRequest: ...

    def decode_server_time(self, body: bytes) -> int: ...
