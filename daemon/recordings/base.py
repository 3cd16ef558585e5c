"""Recording: the events of a recorded file in order, and RecordingRefused for unusable files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from daemon.errors import EXIT_USAGE, Fatal
from features.market import Trade


class RecordingRefused(Fatal):
    """A file that cannot be replayed; the message names the file, the row or line, and the cure."""

    exit_code = EXIT_USAGE


class RecordedTrades(NamedTuple):
    """Trades of one symbol that arrived together, oldest first, at least one.

    received_us: time of receipt by the recorder's clock. since_us: when their connection was opened; the venue
    repeated trades from before. Both are None where the recording does not have them.
    """

    symbol: str
    trades: Sequence[Trade]
    received_us: int | None = None
    since_us: int | None = None


class StreamLost(NamedTuple):
    """The recorder lost the only connection of a symbol; trades are complete until ``complete_until_us``."""

    symbol: str
    complete_until_us: int


class StreamRestored(NamedTuple):
    """The trades of a symbol are received again from ``at_us`` on."""

    symbol: str
    at_us: int


RecordedEvent = RecordedTrades | StreamLost | StreamRestored


@dataclass(frozen=True, slots=True)
class Recording:
    """The events of one file; each iteration reads the file again, so that a large capture needs little memory.

    symbols: the symbols with trades, in the order of their first trade.
    """

    symbols: tuple[str, ...]
    events: Callable[[], Iterator[RecordedEvent]]

    def __iter__(self) -> Iterator[RecordedEvent]:
        return self.events()
