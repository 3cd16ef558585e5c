"""Recordings: their events in order, and the error for files that cannot be replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from daemon.errors import EXIT_USAGE, Fatal
from features.market import Trade


class RecordingRefused(Fatal):
    """A file that cannot be replayed; the message names file, row or line, and the cure."""

    exit_code = EXIT_USAGE


def letters_and_digits(name: str) -> str:
    """``BTC-USDT``, ``BTC/USDT`` and ``btcusdt`` alike."""
    return "".join(filter(str.isalnum, name)).upper()


class RecordedTrades(NamedTuple):
    """Trades of one symbol that arrived together, oldest first, at least one.

    received_us: their receipt by the recorder's clock. since_us: when their connection was opened; trades from before
    were repeated by the venue. Both None where the recording does not say.
    """

    symbol: str
    trades: Sequence[Trade]
    received_us: int | None = None
    since_us: int | None = None


class StreamLost(NamedTuple):
    """The recorder lost the only connection with a symbol's trades; they are complete until ``complete_until_us``."""

    symbol: str
    complete_until_us: int


class StreamRestored(NamedTuple):
    """A symbol's lost stream is received again from ``at_us`` on."""

    symbol: str
    at_us: int


RecordedEvent = RecordedTrades | StreamLost | StreamRestored


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that was scanned once; each iteration reads it again, so that no capture fills the memory.

    symbols: those with trades, in the order of their first.
    """

    symbols: tuple[str, ...]
    events: Callable[[], Iterator[RecordedEvent]]

    def __iter__(self) -> Iterator[RecordedEvent]:
        return self.events()
