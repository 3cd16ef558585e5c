"""What a recording is: what happened in it, in its order, and why one cannot be replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from daemon.errors import EXIT_USAGE, Fatal
from features.market import Trade


class RecordingRefused(Fatal):
    """A file that cannot be replayed; the message names file, row or line, and the cure."""

    exit_code = EXIT_USAGE


def bare(name: str) -> str:
    """``BTC-USDT``, ``BTC/USDT`` and ``btcusdt`` alike."""
    return "".join(filter(str.isalnum, name)).upper()


class Recorded(NamedTuple):
    """Trades of one symbol that came together, oldest first, at least one.

    received_us: when they came, by the recorder's clock. since_us: when the connection that brought them was opened;
    what happened before was repeated by the venue, not heard. Both None where the recording does not say.
    """

    symbol: str
    trades: Sequence[Trade]
    received_us: int | None = None
    since_us: int | None = None


class Unheard(NamedTuple):
    """The recorder lost the only connection that brought a symbol's trades; it was heard until ``heard_until_us``."""

    symbol: str
    heard_until_us: int


class Heard(NamedTuple):
    """A symbol that was ``Unheard`` is heard again from ``at_us`` on."""

    symbol: str
    at_us: int


Happening = Recorded | Unheard | Heard


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that was looked through once; each iteration reads it anew, so that no capture fills the memory.

    symbols: those with trades, in the order of their first.
    """

    symbols: tuple[str, ...]
    happenings: Callable[[], Iterator[Happening]]

    def __iter__(self) -> Iterator[Happening]:
        return self.happenings()
