"""CaptureConnections: which symbols each connection of a capture delivers, and when a stream is lost. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.recordings.base import StreamLost, StreamRestored


class CaptureConnections:
    """Derives lost and restored streams from the lines of a capture.

    A subscription is uninterrupted until its connection is opened again. Recorders with several connections name
    them; lines without a name belong to the connection opened last.
    """

    def __init__(self) -> None:
        self._opened_us: dict[str | None, int | None] = {}
        self._received_us: dict[str | None, int | None] = {}
        self._carriers: dict[str, set[str | None]] = {}
        self._last_trades_us: dict[str, int] = {}
        self._lost_on: dict[str, set[str | None]] = {}

    def opened(self, connection: str | None, at_us: int | None) -> list[StreamLost]:
        """The lost streams: symbols that only this connection delivered before it was opened again."""
        reopened = {connection, None}
        streams = []
        for symbol, carriers in self._carriers.items():
            lost = carriers & reopened
            carriers.difference_update(lost)
            if lost and not carriers:
                self._lost_on[symbol] = reopened
                ends = [self._received_us.get(each) or self._last_trades_us[symbol] for each in lost]
                streams.append(StreamLost(symbol, max(ends)))
        self._opened_us |= dict.fromkeys(reopened, at_us)
        return streams

    def frame_received(self, connection: str | None, at_us: int | None) -> int | None:
        """Records a received frame; returns when its connection was opened."""
        self._received_us[connection] = at_us
        return self._opened_us.setdefault(connection, at_us)

    def acknowledged(self, connection: str | None, symbols: Iterable[str], at_us: int | None) -> list[StreamRestored]:
        """Confirmed subscriptions: of ``symbols``, or if there are none of all symbols that the connection lost."""
        if at_us is None:
            return []  # the next trades restore the stream
        named = list(symbols) or [symbol for symbol, lost in self._lost_on.items() if connection in lost]
        return [self._restored(connection, symbol, at_us) for symbol in named if symbol in self._lost_on]

    def trades_received(
        self, connection: str | None, symbol: str, *, first_us: int, last_us: int
    ) -> StreamRestored | None:
        """Records received trades, which may arrive before their subscription is acknowledged, or without that.

        first_us: time of receipt of the first trade, or its event time. last_us: event time of the last trade.
        """
        self._last_trades_us[symbol] = last_us
        self._carriers.setdefault(symbol, set()).add(connection)
        return self._restored(connection, symbol, first_us) if symbol in self._lost_on else None

    def _restored(self, connection: str | None, symbol: str, at_us: int) -> StreamRestored:
        del self._lost_on[symbol]
        self._carriers[symbol].add(connection)
        return StreamRestored(symbol, at_us)
