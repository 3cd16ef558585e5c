"""Calls that wait for the store's thread, bounded in bytes for each kind of record."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum

from daemon.errors import Retryable

_MIB = 1024 * 1024


class Record(StrEnum):
    """What a call writes; OTHER are reads and small values."""

    TRADES = "trades"
    BARS = "bars"
    FORECASTS = "forecasts"
    SCORES = "scores"
    OTHER = "other"


# While nothing can be written: forecasts of 300 instruments for a day of hours, trades for minutes of a busy market (a
# restart fetches later ones from the venue), bars and scores for days. OTHER has a bound on its number only.
CAPACITY_BYTES: Mapping[Record, int] = {
    Record.TRADES: 64 * _MIB,
    Record.BARS: 16 * _MIB,
    Record.FORECASTS: 64 * _MIB,
    Record.SCORES: 32 * _MIB,
}
_CAPACITY = 100_000


class BacklogFull(Retryable):
    """A call was refused: as much waits as the backlog may hold."""


@dataclass(frozen=True, slots=True)
class StoreCall:
    """A call that waits. reads: it changes nothing, and may overtake writes that wait for room on the disk."""

    perform: Callable[[], object]
    future: Future[object]
    record: Record
    size_bytes: int
    reads: bool


class Backlog:
    """The waiting calls, oldest first. What does not fit is refused, so that what waits stays in order and whole."""

    def __init__(self) -> None:
        self._calls: deque[StoreCall] = deque()
        self._bytes: Counter[Record] = Counter()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def capacity(self) -> int:
        return _CAPACITY

    def size_bytes(self, record: Record) -> int:
        return self._bytes[record]

    def add(self, call: StoreCall) -> None:
        """Raises BacklogFull where ``call`` does not fit; one call fits whatever its size while nothing else waits."""
        waiting_bytes = self._bytes[call.record]
        capacity_bytes = CAPACITY_BYTES.get(call.record)
        if capacity_bytes is not None and waiting_bytes and waiting_bytes + call.size_bytes > capacity_bytes:
            raise BacklogFull(f"{waiting_bytes // _MIB} MiB of {call.record} wait for the store")
        if len(self._calls) >= _CAPACITY:
            raise BacklogFull(f"{len(self._calls)} writes wait for the store")
        self._calls.append(call)
        self._bytes[call.record] += call.size_bytes

    def take(self) -> StoreCall:
        """Removes the oldest call. Raises IndexError where none waits."""
        call = self._calls.popleft()
        self._bytes[call.record] -= call.size_bytes
        return call

    def take_reads(self) -> list[StoreCall]:
        """Removes all calls that only read."""
        reads = [call for call in self._calls if call.reads]
        if reads:
            self._calls = deque(call for call in self._calls if not call.reads)
            for call in reads:
                self._bytes[call.record] -= call.size_bytes
        return reads
