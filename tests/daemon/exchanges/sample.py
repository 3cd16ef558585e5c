"""What the contract suite and the fuzzer need of a venue: bytes as it sends them, with their meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daemon.errors import ForecastdError
from daemon.exchanges.base import Message, TradesWanted, Venue
from features.market import Bar, Trade


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One venue's recorded or documented bytes. ``make`` is called with symbols, or with None for an open venue.

    native: the venue's spelling of ``symbol`` in REST calls.
    trade_frame: one frame that holds exactly ``trades`` of ``symbol``.
    price, size, time, id, name: the value tokens of the frame's trade, with their quotes, each occurring once.
    seconds_time: 1970-01-01T00:00:01 in the encoding of ``time``; None where no such token can be written.
    other_frames: answers, errors, heartbeats and other channels, and the message that each one is.
    acknowledgement: the frames with which the venue confirms ``subscribe(symbols, request_id)``.
    trades_page: the trades in ``trades_body``, read as the first answer to ``trades_wanted``.
    candles: the bars in ``candles_body``, read with ``candle_interval_us`` at ``candles_known_at_us``.
    time_date: the Date header that came with ``time_body``; together they mean ``time_us``.
    complaints: answers with HTTP 200 that are errors all the same.
    """

    make: Callable[[Sequence[str] | None], Venue]
    symbol: str
    native: str

    trade_frame: bytes
    trades: tuple[Trade, ...]
    price: bytes
    size: bytes
    time: bytes
    id: bytes
    name: bytes
    seconds_time: bytes | None
    other_frames: tuple[tuple[bytes, Message], ...]
    acknowledgement: Callable[[int, Sequence[str]], Sequence[bytes]]

    trades_body: bytes
    trades_wanted: TradesWanted
    trades_page: tuple[Trade, ...]

    candles_body: bytes
    candle_interval_us: int
    candles: tuple[Bar, ...]
    candles_known_at_us: int

    instruments_body: bytes
    instruments: Mapping[str, str]
    time_body: bytes
    time_date: str
    time_us: int
    complaints: tuple[tuple[bytes, type[ForecastdError]], ...] = ()

    def with_token(self, old: bytes, new: bytes) -> bytes:
        """The trade frame with one value token replaced."""
        assert self.trade_frame.count(old) == 1, old
        return self.trade_frame.replace(old, new)
