"""StreamListener, the receiver of a venue's stream, and StreamSettings, the timeouts of its connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from daemon.errors import DataFault
from daemon.exchanges.base import TradeRecord


class StreamListener(Protocol):
    """Receives the trades and events of a stream.

    The stream calls these methods on the event loop, one at a time; they must not block.
    """

    def trades_received(self, symbol: str, records: Sequence[TradeRecord]) -> None:
        """At least one trade of ``symbol``, oldest first; trades repeat while two connections overlap.

        Raises DataFault for records that are no valid trades; the listener may have accepted those before them.
        """
        ...

    def frame_malformed(self, frame: bytes, error: DataFault) -> None:
        """A frame could not be decoded and was skipped; the connection stays open."""
        ...

    def subscribed(self, symbol: str) -> None:
        """The venue confirmed the subscription of a symbol, on any connection: its trades are received from now on."""
        ...

    def refused(self, symbol: str, reason: str) -> None:
        """The venue refused the symbol; the stream repeats the subscription request indefinitely."""
        ...

    def connected(self, symbols: Sequence[str]) -> None:
        """A verified connection now delivers these symbols; before, an older connection or none did."""
        ...

    def disconnected(self, symbols: Sequence[str], reason: str, next_try_s: float, complete_until_us: int) -> None:
        """No connection delivers these symbols; the next attempt begins in ``next_try_s`` wall seconds.

        complete_until_us: market time up to which no trade is lost, as every received frame was read.
        """
        ...


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Timeouts of the stream, all in wall seconds."""

    open_timeout_s: float = 10.0
    answer_timeout_s: float = 10.0
    close_timeout_s: float = 2.0
    # Binance pings every 20 s; pings from this side detect a half-open connection.
    ping_interval_s: float = 15.0
    ping_timeout_s: float = 15.0
    # After this long without a frame the venue is asked for its subscriptions: a quiet market still gets an answer.
    quiet_s: float = 60.0
    resubscribe_s: float = 30.0
    settled_s: float = 30.0
    backoff_first_s: float = 0.5
    backoff_cap_s: float = 30.0
    # The shortest wait after a refusal of the region or an untrusted certificate, which seldom pass by themselves.
    refused_retry_s: float = 15.0
    # The age at which a connection is replaced; None means the venue's limit.
    lifetime_s: float | None = None
    overlap_s: float = 2.0
    symbols_per_request: int = 100
