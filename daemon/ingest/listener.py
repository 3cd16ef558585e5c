"""The port of the websocket edge: who hears of the stream, and how patient the stream is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from daemon.errors import DataFault
from daemon.exchanges.base import TradeRecord


class StreamListener(Protocol):
    """Who hears of the stream. Called on the event loop, one call at a time; nothing here may block or wait."""

    def trades_received(self, symbol: str, records: Sequence[TradeRecord]) -> None:
        """Trades as they came, oldest first, never none; twice while two connections overlap.

        Raises DataFault for records that make no trades; those before them may have been taken.
        """
        ...

    def frame_malformed(self, frame: bytes, error: DataFault) -> None:
        """A frame could not be read and was left out; the connection lives on."""
        ...

    def subscribed(self, symbol: str) -> None:
        """The venue confirmed the symbol, on a first or on a later connection: its trades are received from now on."""
        ...

    def refused(self, symbol: str, reason: str) -> None:
        """The venue did not take the symbol; it is asked again for ever."""
        ...

    def connected(self, symbols: Sequence[str]) -> None:
        """A verified connection now serves these symbols, where none or an older one did before."""
        ...

    def disconnected(self, symbols: Sequence[str], reason: str, next_try_s: float, complete_until_us: int) -> None:
        """No connection serves these symbols; the next attempt begins in ``next_try_s`` wall seconds.

        complete_until_us: market time up to which every received frame was read: no trade before it is lost.
        """
        ...


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Timeouts of the stream, all in wall seconds."""

    open_timeout_s: float = 10.0
    answer_timeout_s: float = 10.0
    close_timeout_s: float = 2.0
    # The venue's own ping comes every 20 s at Binance; ours notices a half-open connection from this side.
    ping_interval_s: float = 15.0
    ping_timeout_s: float = 15.0
    # A quiet market is no dead feed: after this long without a frame the venue is asked, and must answer.
    quiet_s: float = 60.0
    resubscribe_s: float = 30.0
    settled_s: float = 30.0
    backoff_first_s: float = 0.5
    backoff_cap_s: float = 30.0
    # How long a connection may live; None takes the venue's own limit.
    lifetime_s: float | None = None
    overlap_s: float = 2.0
    symbols_per_request: int = 100
